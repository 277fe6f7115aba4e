"""The type rule: what is stored casts back to what came in, exactly, or is refused by name.

DuckDB is the judge: it reads the original Arrow data and the stored Parquet, and compares.
"""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight_core.adapters.storage.casts import cast
from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.adapters.storage.types import stored_type
from flight_core.domain.arrow import ipc_stream
from flight_core.domain.dataset import WriteMode, WriteRule
from flight_core.domain.errors import LossyType, SchemaMismatch, UnsupportedType

MICRO = 1_000_000
INT64 = 2**63
naive = datetime.fromisoformat


@pytest.fixture
def store(tmp_path):
    return DeltaTableStore(tmp_path / "lake")


def write(store, data, *, allow_lossy=False, mode=WriteMode.REPLACE):
    staged = store.stage("d", data.schema, WriteRule(mode, allow_lossy=allow_lossy))
    try:
        for batch in data.to_batches():
            staged.write(batch)
        return staged.commit()
    finally:
        staged.close()


def stored(store, array, **options):
    """The column as plain pyarrow reads it from the files."""
    version = write(store, pa.table({"c": array}), **options)
    return read_back(store, version)["c"].combine_chunks()


def read_back(store, version):
    files = list(store.files(version.ref).uris)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql(f"SELECT * FROM read_parquet({files!r})").to_arrow_table()


# The rule, type by type

AS_IT_IS = [
    pa.bool_(),
    pa.int8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.float32(),
    pa.float64(),
    pa.string(),
    pa.binary(),
    pa.date32(),
    pa.timestamp("us"),
    pa.timestamp("us", "UTC"),
    pa.decimal128(38, 10),
    pa.list_(pa.int64()),
    pa.struct([("a", pa.int8()), ("b", pa.list_(pa.string()))]),
    pa.map_(pa.string(), pa.float64()),
]
WIDER = [
    (pa.uint8(), pa.int16()),
    (pa.uint16(), pa.int32()),
    (pa.uint32(), pa.int64()),
    (pa.uint64(), pa.decimal128(20, 0)),
    (pa.float16(), pa.float32()),
    (pa.date64(), pa.date32()),
    (pa.timestamp("s"), pa.timestamp("us")),
    (pa.timestamp("ms"), pa.timestamp("us")),
    (pa.timestamp("ns"), pa.timestamp("us")),
    (pa.timestamp("ns", "Europe/Prague"), pa.timestamp("us", "UTC")),
    (pa.timestamp("us", "+05:30"), pa.timestamp("us", "UTC")),
    (pa.decimal32(5, 2), pa.decimal128(5, 2)),
    (pa.decimal64(12, 2), pa.decimal128(12, 2)),
    (pa.decimal256(38, 2), pa.decimal128(38, 2)),
    (pa.decimal128(5, -2), pa.decimal128(7, 0)),
    (pa.decimal128(2, 4), pa.decimal128(4, 4)),
    (pa.null(), pa.string()),
    (pa.large_string(), pa.string()),
    (pa.string_view(), pa.string()),
    (pa.large_binary(), pa.binary()),
    (pa.binary_view(), pa.binary()),
    (pa.binary(3), pa.binary()),
    (pa.uuid(), pa.binary()),
    (pa.json_(), pa.string()),
    (pa.dictionary(pa.int8(), pa.uint8()), pa.int16()),
    (pa.run_end_encoded(pa.int32(), pa.string()), pa.string()),
    (pa.list_(pa.uint8(), 2), pa.list_(pa.int16())),
    (pa.large_list(pa.uint8()), pa.list_(pa.int16())),
    (pa.list_view(pa.uint8()), pa.list_(pa.int16())),
    (pa.large_list_view(pa.uint8()), pa.list_(pa.int16())),
    (pa.map_(pa.uint8(), pa.time32("s")), pa.map_(pa.int16(), pa.string())),
    (
        pa.struct([("a", pa.struct([("b", pa.uint64())]))]),
        pa.struct([("a", pa.struct([("b", pa.decimal128(20, 0))]))]),
    ),
]
AS_TEXT = [
    pa.time32("s"),
    pa.time32("ms"),
    pa.time64("us"),
    pa.time64("ns"),
    pa.duration("s"),
    pa.duration("ms"),
    pa.duration("us"),
    pa.duration("ns"),
    pa.month_day_nano_interval(),
]


@pytest.mark.parametrize(
    ("type", "expected"),
    [*((type, type) for type in AS_IT_IS), *WIDER, *((type, pa.string()) for type in AS_TEXT)],
    ids=str,
)
def test_each_type_is_stored_as_the_rule_says_and_the_source_is_remembered(store, type, expected):
    version = write(store, pa.table({"c": pa.array([None, None], type)}))
    field = version.schema.field("c")
    assert field.type == expected
    remembered = {} if type == expected else {b"skein.source_type": str(type).encode()}
    assert (field.metadata or {}) == remembered
    assert read_back(store, version)["c"].null_count == 2


@pytest.mark.parametrize(
    "type",
    [
        pa.sparse_union([pa.field("a", pa.int8())]),
        pa.dense_union([pa.field("a", pa.int8())]),
        pa.struct([]),
        pa.list_(pa.struct([("x", pa.dense_union([pa.field("a", pa.int8())]))])),
    ],
    ids=str,
)
def test_a_type_without_any_place_is_refused_with_the_column_named(store, type):
    with pytest.raises(UnsupportedType, match="column 'c"):
        store.stage("d", pa.schema([("c", type)]), WriteRule(WriteMode.CREATE, allow_lossy=True))
    assert store.latest("d") is None


@pytest.mark.parametrize("values", [pa.array(["x"]).dictionary_encode(), pa.array(["x"], pa.string_view())])
def test_values_that_arrow_cannot_decode_are_refused_with_the_column_named(store, values):
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([1]), values)
    with pytest.raises(UnsupportedType, match="column 'c' has type run_end_encoded"):
        write(store, pa.table({"c": runs}))
    assert store.latest("d") is None


def test_fields_of_a_struct_need_different_names(store):
    with pytest.raises(SchemaMismatch, match="column 's'"):
        store.stage(
            "d",
            pa.schema([("s", pa.struct([("a", pa.int8()), ("A", pa.int8())]))]),
            WriteRule(WriteMode.CREATE),
        )


# Values at the edges


def exported_by_duckdb(value: str) -> pa.Array:
    with duckdb.connect() as connection:
        return connection.sql(f"SELECT {value} AS c").to_arrow_table()["c"].combine_chunks()


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([2**64 - 1, 0], pa.uint64()), [Decimal(2**64 - 1), Decimal(0)]),
        (pa.array([65504.0, -0.5], pa.float16()), [65504.0, -0.5]),
        (pa.array([-86_400_000], pa.date64()), [date(1969, 12, 31)]),
        (pa.array([-1], pa.timestamp("s")), [naive("1969-12-31T23:59:59")]),
        (pa.array([-1000], pa.timestamp("ns")), [naive("1969-12-31T23:59:59.999999")]),
        (pa.array([86_399], pa.time32("s")), ["23:59:59"]),
        (pa.array([1], pa.time32("ms")), ["00:00:00.001"]),
        (pa.array([86_399_999_999], pa.time64("us")), ["23:59:59.999999"]),
        (pa.array([0, 86_400_000_000], pa.time64("us")), ["00:00:00.000000", "24:00:00.000000"]),
        (pa.array([1], pa.time64("ns")), ["00:00:00.000000001"]),
        (pa.array([-90_061], pa.duration("s")), ["-25:01:01.000000"]),
        (
            pa.array([-INT64, INT64 - 1], pa.duration("us")),
            ["-2562047788:00:54.775808", "2562047788:00:54.775807"],
        ),
        (pa.array([-1000, 999_000], pa.duration("ns")), ["-00:00:00.000001", "00:00:00.000999"]),
        (
            pa.array([pa.MonthDayNano([-14, 3, -3_600_000_001_000]), None], pa.month_day_nano_interval()),
            ["-14 months 3 days -01:00:00.000001", None],
        ),
        (pa.array([b"ab", None], pa.binary(2)), [b"ab", None]),
        (pa.array([Decimal("-1200")], pa.decimal128(5, -2)), [Decimal(-1200)]),
        (exported_by_duckdb("MAP {}"), [[]]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_values_at_the_edges_are_stored_exactly(store, array, expected):
    assert stored(store, array).to_pylist() == expected


LOSSY = [
    (pa.array([1001], pa.timestamp("ns")), naive("1970-01-01T00:00:00.000001")),
    (pa.array([-1], pa.timestamp("ns")), naive("1969-12-31T23:59:59.999999")),
    (pa.array([-1001], pa.duration("ns")), "-00:00:00.000001"),
    (pa.array([86_400_001], pa.date64()), date(1970, 1, 2)),
    (pa.array([-1], pa.date64()), date(1969, 12, 31)),
    (pa.array([pa.MonthDayNano([1, 2, 1001])]), "1 months 2 days 00:00:00.000001"),
    (pa.array([Decimal("-1.239")], pa.decimal256(39, 3)), Decimal("-1.23")),
]


@pytest.mark.parametrize(("array", "shortened"), LOSSY, ids=lambda value: str(getattr(value, "type", "")))
def test_a_value_that_would_lose_digits_is_refused_unless_that_was_asked_for(store, array, shortened):
    with pytest.raises(LossyType, match="column 'c'"):
        write(store, pa.table({"c": array}))
    assert store.latest("d") is None
    assert stored(store, array, allow_lossy=True).to_pylist() == [shortened]


@pytest.mark.parametrize(
    "nest",
    [
        lambda array: pa.array([array.to_pylist()], pa.list_(array.type)),
        lambda array: pa.array([{"x": array[0].as_py()}], pa.struct([("x", array.type)])),
        lambda array: pa.array([[("k", array[0].as_py())]], pa.map_(pa.string(), array.type)),
        lambda array: array.dictionary_encode(),
    ],
    ids=["list", "struct", "map", "dictionary"],
)
def test_the_rule_holds_inside_nested_types(store, nest):
    with pytest.raises(LossyType, match="column 'c'"):
        write(store, pa.table({"c": nest(pa.array([1001], pa.timestamp("ns")))}))


@pytest.mark.parametrize(
    "array",
    [
        pa.array([INT64 // MICRO + 1], pa.timestamp("s")),
        pa.array([INT64 // 1000 + 1], pa.timestamp("ms")),
        pa.array([-(INT64 // MICRO) - 1], pa.duration("s")),
        pa.array([Decimal("9" * 39)], pa.decimal256(39, 0)),
        exported_by_duckdb("(-170141183460469231731687303715884105728)::HUGEINT"),
        exported_by_duckdb("[{'h': 170141183460469231731687303715884105727::HUGEINT}]"),
    ],
    ids=lambda array: str(array.type),
)
def test_a_value_that_has_no_place_at_all_is_refused_even_if_losses_are_allowed(store, array):
    with pytest.raises(LossyType, match="column 'c'"):
        write(store, pa.table({"c": array}), allow_lossy=True)
    assert store.latest("d") is None


def test_the_same_instant_is_stored_whatever_the_zone(store):
    instant = pa.array([1_700_000_000 * MICRO], pa.timestamp("us", "America/New_York"))
    version = write(store, pa.table({"c": instant}))
    assert read_back(store, version)["c"].cast(pa.int64()).to_pylist() == [1_700_000_000 * MICRO]
    unknown = pa.array([5], pa.timestamp("us", "Mars/Olympus"))
    assert write(store, pa.table({"c": unknown})).schema.field("c").type == pa.timestamp("us", "UTC")


# Any table there is


def leaf(type: pa.DataType, values: st.SearchStrategy) -> st.SearchStrategy:
    return st.just((type, st.none() | values))


def integers(bits: int, *, signed: bool) -> st.SearchStrategy:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high)


def ticks(per_second: int) -> st.SearchStrategy:
    """Moments of the years 1 to 9999, and durations as long."""
    return st.integers(-62_135_596_800 * per_second, 253_402_300_799 * per_second)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
PER_SECOND = {"s": 1, "ms": 1000, "us": MICRO, "ns": 1000 * MICRO}
NS_RANGE = st.integers(-9_223_372_036_854_775, 9_223_372_036_854_775).map(lambda number: number * 1000)
MOMENTS = {unit: NS_RANGE if unit == "ns" else ticks(PER_SECOND[unit]) for unit in PER_SECOND}
INTERVALS = st.builds(
    lambda months, days, us: pa.MonthDayNano([months, days, us * 1000]),
    st.integers(-10_000, 10_000),
    st.integers(-100_000, 100_000),
    st.integers(-9_000_000_000_000_000, 9_000_000_000_000_000),
)
FLAT = st.one_of(
    leaf(pa.bool_(), st.booleans()),
    *(leaf(getattr(pa, f"int{bits}")(), integers(bits, signed=True)) for bits in (8, 16, 32, 64)),
    *(leaf(getattr(pa, f"uint{bits}")(), integers(bits, signed=False)) for bits in (8, 16, 32, 64)),
    leaf(pa.float32(), st.floats(width=32)),
    leaf(pa.float64(), st.floats()),
    *(leaf(type, TEXT) for type in (pa.string(), pa.large_string(), pa.string_view())),
    *(leaf(type, st.binary(max_size=20)) for type in (pa.binary(), pa.large_binary(), pa.binary_view())),
    leaf(pa.binary(3), st.binary(min_size=3, max_size=3)),
    leaf(pa.date32(), st.dates()),
    leaf(pa.date64(), st.dates()),
    *(leaf(pa.timestamp(unit), moments) for unit, moments in MOMENTS.items()),
    *(leaf(pa.timestamp(unit, "Asia/Kolkata"), MOMENTS[unit]) for unit in ("us", "ns")),
    leaf(pa.time32("s"), st.integers(0, 86_399)),
    leaf(pa.time32("ms"), st.integers(0, 86_399_999)),
    leaf(pa.time64("us"), st.integers(0, 86_399_999_999)),
    leaf(pa.time64("ns"), st.integers(0, 86_399_999_999_999)),
    *(leaf(pa.duration(unit), moments) for unit, moments in MOMENTS.items()),
    leaf(pa.month_day_nano_interval(), INTERVALS),
    leaf(pa.decimal128(38, 6), st.decimals(-(10**31), 10**31, places=6)),
    leaf(pa.decimal64(9, 3), st.decimals(-100_000, 100_000, places=3)),
)
DICTIONARY = leaf(pa.dictionary(pa.int32(), pa.string()), TEXT)  # DuckDB cannot read all nested ones


def nested(inner: st.SearchStrategy) -> st.SearchStrategy:
    def lists(make: Callable[[pa.DataType], pa.DataType], **sizes) -> st.SearchStrategy:
        return inner.map(lambda one: (make(one[0]), st.none() | st.lists(one[1], **sizes)))

    return st.one_of(
        lists(pa.list_, max_size=3),
        lists(pa.large_list, max_size=3),
        lists(pa.list_view, max_size=3),
        lists(lambda inner: pa.list_(inner, 2), min_size=2, max_size=2),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda fields: (
                pa.struct([(f"f{number}", type) for number, (type, _values) in enumerate(fields)]),
                st.none()
                | st.fixed_dictionaries(
                    {f"f{number}": values for number, (_type, values) in enumerate(fields)}
                ),
            )
        ),
        inner.map(
            lambda one: (
                pa.map_(pa.string(), one[0]),
                st.none() | st.dictionaries(TEXT, one[1], max_size=3).map(lambda pairs: list(pairs.items())),
            )
        ),
    )


COLUMN = DICTIONARY | st.recursive(FLAT, nested, max_leaves=4)


@st.composite
def tables(draw):
    """A table of a few columns, in batches that are slices of larger ones."""
    rows = draw(st.integers(1, 12))
    columns = {}
    for number in range(draw(st.integers(1, 4))):
        type, values = draw(COLUMN)
        columns[f"c{number}"] = pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), type)
    whole = pa.RecordBatch.from_pydict(columns)
    cuts = sorted(draw(st.sets(st.integers(1, rows), max_size=3)) | {0, rows})
    return pa.Table.from_batches([whole.slice(start, stop - start) for start, stop in pairwise(cuts)])


@given(tables())
@settings(max_examples=150)
def test_whatever_is_stored_casts_back_to_what_came_in(original):
    with TemporaryDirectory() as folder, duckdb.connect() as connection:
        store = DeltaTableStore(Path(folder) / "lake")
        version = write(store, original)
        assert version.row_count == original.num_rows
        files = list(store.files(version.ref).uris)
        connection.execute("SET TimeZone = 'UTC'")
        # DuckDB refuses slices of structs, which do not begin with their columns.
        connection.register("original", pa.ipc.open_stream(ipc_stream(original)).read_all())
        connection.execute(f"CREATE VIEW stored AS SELECT * FROM read_parquet({files!r})")
        for name, type in connection.execute(
            "SELECT column_name, column_type FROM (DESCRIBE original)"
        ).fetchall():
            if type == '"NULL"':
                continue
            different = connection.execute(
                f"SELECT o.{name}::VARCHAR, s.{name}::VARCHAR FROM original o POSITIONAL JOIN stored s"
                f" WHERE CAST(s.{name} AS {type}) IS DISTINCT FROM o.{name}"
                f" OR CAST(s.{name} AS {type})::VARCHAR IS DISTINCT FROM o.{name}::VARCHAR"
            ).fetchall()
            assert different == [], type


@pytest.mark.parametrize("value_type", [pa.string_view(), pa.binary_view()], ids=str)
def test_categories_whose_values_are_views_are_stored(value_type):
    values = pa.array(["a", None, "longer than a view holds"], pa.string()).cast(pa.binary()).cast(value_type)
    array = pa.DictionaryArray.from_arrays(pa.array([0, 2, None, 1], pa.uint32()), values)
    for piece in (array, array.slice(1)):
        stored = cast(piece, stored_type(array.type, "c"), "c", allow_lossy=False)
        assert stored.to_pylist() == piece.to_pylist()
