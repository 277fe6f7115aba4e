"""Tickets: sealed, stable from release to release, and exact about parameters."""

import datetime as dt
import math
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_core.application.queries.parameters import pack, unpack
from flight_core.domain.errors import InvalidParameters
from schemas.tickets import BadTicket, InlineTicket, QueryTicket, TicketSealer

KEY = b"0123456789abcdef0123456789abcdef"
NOW = 1_700_000_000
LATER = NOW + 60

QUERY = QueryTicket("q1", "SELECT ?", b"ipc", {"sales": ("d1", 3)}, 10)
GOLDEN_QUERY = (
    b"SKT\x01"
    + bytes.fromhex("2d83ae4c86c7200bd283937fc2b60e02cde1e4644efc5d58c6d4220023b04041")
    + b"\x00\x00\x00\x72"
    + b'{"expires_at":1700000060,"kind":"query","pins":{"sales":["d1",3]},'
    + b'"query_id":"q1","row_limit":10,"sql":"SELECT ?"}'
    + b"ipc"
)
GOLDEN_INLINE = (
    b"SKT\x01"
    + bytes.fromhex("b922c08d001669a08eb16dcb46ecfcdbe4ff170670766a339eed6bf0773d9bba")
    + b'\x00\x00\x00\x29{"expires_at":1700000060,"kind":"inline"}ipc'
)


def sealer(*, key: bytes = KEY, now: int = NOW) -> TicketSealer:
    return TicketSealer(key, lambda: now)


def test_the_bytes_of_a_query_ticket_never_change():
    assert sealer().seal(QUERY, expires_at=LATER) == GOLDEN_QUERY


def test_the_bytes_of_an_inline_ticket_never_change():
    assert sealer().seal(InlineTicket(b"ipc"), expires_at=LATER) == GOLDEN_INLINE


def test_a_ticket_of_an_earlier_release_still_opens():
    assert sealer().open(GOLDEN_QUERY) == QUERY
    assert sealer().open(GOLDEN_INLINE) == InlineTicket(b"ipc")


texts = st.text(st.characters(exclude_categories=["Cs"]))
tickets = st.one_of(
    st.builds(InlineTicket, st.binary()),
    st.builds(
        QueryTicket,
        texts,
        texts,
        st.binary(),
        st.dictionaries(texts, st.tuples(texts, st.integers(0, 2**63))),
        st.none() | st.integers(0, 2**63),
        st.booleans(),
    ),
)


@given(tickets)
def test_a_ticket_opens_as_it_was_sealed(ticket):
    assert sealer().open(sealer().seal(ticket, expires_at=LATER)) == ticket


@given(tickets, st.data())
def test_a_ticket_with_any_bit_changed_is_refused(ticket, data):
    sealed = bytearray(sealer().seal(ticket, expires_at=LATER))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(BadTicket):
        sealer().open(bytes(sealed))


@given(tickets, st.data())
def test_a_ticket_cut_short_is_refused(ticket, data):
    sealed = sealer().seal(ticket, expires_at=LATER)
    with pytest.raises(BadTicket):
        sealer().open(sealed[: data.draw(st.integers(0, len(sealed) - 1))])


@given(st.binary())
def test_foreign_bytes_are_refused(data):
    with pytest.raises(BadTicket):
        sealer().open(data)


def test_another_server_refuses_the_ticket_unless_it_has_the_key():
    with pytest.raises(BadTicket, match="another key"):
        sealer(key=b"another").open(GOLDEN_QUERY)


def test_a_ticket_of_a_later_format_says_so():
    with pytest.raises(BadTicket, match="another version"):
        sealer().open(GOLDEN_QUERY[:3] + b"\x02" + GOLDEN_QUERY[4:])


def test_a_ticket_opens_until_its_time_is_over():
    assert sealer(now=LATER).open(GOLDEN_QUERY) == QUERY
    with pytest.raises(BadTicket, match="expired"):
        sealer(now=LATER + 1).open(GOLDEN_QUERY)


def _unfolded(time):
    """SQL does not know which of two equal hours is meant."""
    return time.replace(fold=0)


plain_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    texts,
    st.binary(),
    st.dates(),
    st.datetimes().map(_unfolded),
    st.times().map(_unfolded),
    st.timedeltas(dt.timedelta(days=-100_000), dt.timedelta(days=100_000)),
    st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**20), max_value=10**20),
    st.uuids(),
    st.recursive(
        st.integers() | texts | st.none() | st.floats(allow_nan=False),
        lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
        max_leaves=4,
    ),
)


@given(st.lists(plain_values, min_size=1).map(tuple) | st.dictionaries(texts, plain_values, min_size=1))
def test_parameters_survive_exactly(parameters):
    restored = unpack(pack(parameters))
    assert restored == parameters
    assert str(restored) == str(parameters)  # 1 is not 1.0, and -0.0 is not 0.0


SCALARS = [
    pa.scalar(1, pa.int8()),
    pa.scalar(1.5, pa.float32()),
    pa.scalar(None, pa.timestamp("ns", "Europe/Berlin")),
    pa.scalar(1_700_000_000_123_456_789, pa.timestamp("ns")),
    pa.scalar(2**62, pa.timestamp("us", "UTC")),
    pa.scalar(123_456_789, pa.time64("ns")),
    pa.scalar([("a", 1), ("b", None)], pa.map_(pa.string(), pa.int32())),
    pa.scalar(pa.MonthDayNano([1, -2, 3]), pa.month_day_nano_interval()),
    pa.scalar(Decimal("1.10"), pa.decimal128(38, 10)),
    pa.scalar("x", pa.dictionary(pa.int8(), pa.string())),
    pa.scalar({"a": [1, None]}, pa.struct([("a", pa.list_(pa.int16()))])),
]


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: str(scalar.type))
def test_an_arrow_scalar_keeps_its_type(scalar):
    (restored,) = unpack(pack((scalar,)))
    assert restored.type == scalar.type
    assert restored.equals(scalar)


def test_not_a_number_stays_not_a_number():
    (restored,) = unpack(pack((math.nan,)))
    assert math.isnan(restored)


@pytest.mark.parametrize(
    "value", [object(), Decimal("NaN"), "\ud800"], ids=lambda value: type(value).__name__
)
def test_a_value_without_an_arrow_type_is_refused_by_name(value):
    with pytest.raises(InvalidParameters, match="parameter 'weight'"):
        pack({"weight": value})
