"""Parquet and Arrow IPC: every type, and files that are truncated or damaged."""

import io
import random
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_core.adapters.parsers.output import ROW_GROUP_ROWS
from flight_core.domain.errors import SchemaMismatch, UnreadableData, UnsupportedType
from tests.adapters.parsing import format_of, parsed, types

NUMBERS = pa.table({"n": pa.array(range(1000), pa.int64()), "t": [f"row {n}" for n in range(1000)]})


def parquet(table: pa.Table, **options) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def stream(table: pa.Table, rows: int = 100) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return out.getvalue()


def file(table: pa.Table, rows: int = 100) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return out.getvalue()


WRITERS = [parquet, stream, file]


def typed(values, type: pa.DataType) -> pa.Table:
    return pa.table({"c": pa.array(values, type)})


@pytest.mark.parametrize("write", WRITERS)
def test_rows_come_back_as_they_were_in_order(write):
    table = pa.table({"n": pa.array(range(200_000), pa.int64()), "x": [n / 8 for n in range(200_000)]})
    assert parsed(write(table)).equals(table)


@pytest.mark.parametrize("write", WRITERS)
def test_no_rows_are_a_table_all_the_same(write):
    table = parsed(write(NUMBERS.slice(0, 0)))
    assert (table.num_rows, types(table)) == (0, {"n": "int64", "t": "string"})


@pytest.mark.parametrize(("write", "format"), [(parquet, "parquet"), (stream, "arrow"), (file, "arrow")])
def test_the_format_is_told(write, format):
    assert format_of(write(NUMBERS)) == format


def test_row_groups_have_the_size_that_scans_best(tmp_path):
    from tests.adapters.parsing import LIMITS, Meter, Request, Unpacked, parse

    path = tmp_path / "in"
    path.write_bytes(parquet(pa.table({"n": range(150_000)}), row_group_size=1000))
    answer = parse(Request([Unpacked(path, "in")], tmp_path, None, {}, LIMITS), Meter(io.StringIO()))
    metadata = pq.read_metadata(tmp_path / answer["files"][0])
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [
        ROW_GROUP_ROWS,
        ROW_GROUP_ROWS,
        150_000 - 2 * ROW_GROUP_ROWS,
    ]
    assert metadata.row_group(0).column(0).compression == "ZSTD"


MOMENT = datetime(2026, 1, 31, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("type", "values"),
    [
        (pa.int8(), [1, -2, None]),
        (pa.uint64(), [2**64 - 1, 0, None]),
        (pa.float32(), [1.5, float("inf"), None]),
        (pa.decimal128(38, 10), [Decimal("1.5"), None]),
        (pa.timestamp("ns"), [MOMENT.replace(tzinfo=None), None]),
        (pa.timestamp("us", "UTC"), [MOMENT, None]),
        (pa.date32(), [date(2026, 1, 31), None]),
        (pa.date64(), [date(2026, 1, 31), None]),
        (pa.binary(), [b"\x00\xff", None]),
        (pa.binary(3), [b"xyz", None]),
        (pa.large_string(), ["x", None]),
        (pa.dictionary(pa.int32(), pa.string()), ["x", "y", "x", None]),
        (pa.list_(pa.int32()), [[1, None], [], None]),
        (pa.list_view(pa.int32()), [[1, None], [], None]),
        (pa.list_(pa.int32(), 2), [[1, 2], None]),
        (pa.struct({"a": pa.int32(), "b": pa.string()}), [{"a": 1, "b": "x"}, None]),
        (pa.map_(pa.string(), pa.int32()), [[("a", 1)], [], None]),
        (pa.bool_(), [True, None]),
        (pa.null(), [None, None]),
    ],
    ids=str,
)
def test_values_of_every_type_survive(type, values, write):
    assert parsed(write(typed(values, type)))["c"].to_pylist() == values
    nothing = write(typed([None], pa.null()))
    assert parsed(nothing, write(typed(values, type)), nothing)["c"].to_pylist() == [None, *values, None]


@pytest.mark.parametrize("write", [stream, file])
def test_run_ends_and_extensions_become_what_they_stand_for(write):
    runs = pa.RunEndEncodedArray.from_arrays([2, 3], [5, 7])
    ids = pa.array([b"0123456789abcdef"] * 3, pa.uuid())
    table = parsed(write(pa.table({"runs": runs, "ids": ids})))
    assert table.to_pydict() == {"runs": [5, 5, 7], "ids": [b"0123456789abcdef"] * 3}


@pytest.mark.parametrize(
    ("one", "other", "kept"), [("ms", "us", "us"), ("us", "ns", "ns"), ("ns", "ms", "ns")]
)
@pytest.mark.parametrize("type", [pa.timestamp, lambda unit: pa.timestamp(unit, "UTC"), pa.duration])
def test_times_keep_the_finest_unit_of_all_files(type, one, other, kept):
    files = [pa.table({"t": pa.array([1001, None], type(unit))}) for unit in (one, other)]
    expected = [cell for table in files for cell in table["t"].cast(type(kept)).to_pylist()]
    assert parsed(*map(parquet, files))["t"].cast(type(kept)).to_pylist() == expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (pa.array([7], pa.int64()), pa.array([0.5]), [7.0, 0.5]),
        (pa.array([2**60 + 1, None], pa.int64()), pa.array([0.5]), None),
        (pa.array([-(2**63)], pa.int64()), pa.array([0.5]), None),
        (pa.array([1], pa.uint64()), pa.array([1], pa.int64()), None),
        (pa.array([1], pa.uint64()), pa.array([2], pa.uint8()), [1, 2]),
        (pa.array([1], pa.timestamp("ns")), pa.array([253402214400000], pa.timestamp("ms")), None),
        (pa.array([1], pa.timestamp("us", "UTC")), pa.array([1], pa.timestamp("us", "Europe/Berlin")), None),
    ],
)
def test_types_of_several_files_meet_where_nothing_is_lost(one, other, expected):
    files = [parquet(pa.table({"c": one})), parquet(pa.table({"c": other}))]
    if expected is None:
        with pytest.raises(SchemaMismatch, match="ingest them one by one"):
            parsed(*files)
    else:
        assert parsed(*files)["c"].to_pylist() == expected


def test_parts_of_what_is_nested_become_what_they_stand_for():
    ids = pa.ListArray.from_arrays([0, 1, 2], pa.array([b"0123456789abcdef", None], pa.uuid()))
    days = pa.array([{"day": date(2026, 1, 31)}, None], pa.struct({"day": pa.date64()}))
    table = parsed(stream(pa.table({"ids": ids, "days": days})))
    assert types(table)["days"] == "struct<day: date32[day]>"
    assert table.to_pydict() == {"ids": [[b"0123456789abcdef"], [None]], "days": days.to_pylist()}


@pytest.mark.parametrize(
    ("type", "value", "kept"),
    [
        (pa.decimal128(5, -2), Decimal("12300"), "decimal128(7, 0)"),
        (pa.decimal128(3, 5), Decimal("0.00123"), "decimal128(5, 5)"),
        (pa.decimal256(38, 2), Decimal("1.25"), "decimal128(38, 2)"),
        (pa.decimal32(5, 2), Decimal("1.25"), "decimal128(5, 2)"),
    ],
    ids=str,
)
def test_decimals_get_a_usual_precision_and_scale(type, value, kept):
    table = parsed(stream(pa.table({"c": pa.array([value, None]).cast(type)})))
    assert (types(table)["c"], table["c"].to_pylist()) == (kept, [value, None])


@pytest.mark.parametrize("write", WRITERS)
def test_decimals_of_several_files_get_the_smallest_type_that_holds_them(write):
    given = [("1234.5", 5, 1), (None, 3, 3), ("0.123", 3, 3), ("99", 2, 0)]
    files = [
        write(typed([value and Decimal(value)], pa.decimal128(precision, scale)))
        for value, precision, scale in given
    ]
    table = parsed(*files)
    assert types(table)["c"] == "decimal128(7, 3)"
    assert table["c"].to_pylist() == [value and Decimal(value) for value, *_ in given]


@pytest.mark.parametrize("write", WRITERS)
def test_decimals_without_a_type_that_holds_all_are_refused(write):
    files = [write(typed([], pa.decimal128(*size))) for size in ((10, 5), (33, 0), (38, 20))]
    with pytest.raises(SchemaMismatch, match=r"decimal128\(38, 20\) in f2 and decimal128\(10, 5\) in f0"):
        parsed(*files)


@pytest.mark.parametrize(
    "type",
    [
        pa.month_day_nano_interval(),
        pa.decimal256(60, 2),
        pa.decimal128(38, -1),
        pa.struct({"a": pa.list_view(pa.int8())}),
        pa.map_(pa.string(), pa.date64()),
    ],
    ids=str,
)
def test_a_type_that_cannot_be_kept_is_refused_with_its_column(type):
    with pytest.raises(UnsupportedType, match="column 'c' has type"):
        parsed(stream(typed([None], type)))


@pytest.mark.parametrize("write", WRITERS)
def test_columns_of_the_same_name_are_refused(write):
    twins = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(SchemaMismatch, match="two columns named 'a'"):
        parsed(write(twins))


def test_data_without_columns_is_refused():
    with pytest.raises(UnreadableData, match="no columns"):
        parsed(stream(pa.table({})))


@pytest.mark.parametrize("write", WRITERS)
def test_several_files_become_one_table(write):
    table = parsed(write(NUMBERS.slice(0, 300)), write(NUMBERS.slice(300)))
    assert table.cast(NUMBERS.schema).equals(NUMBERS)


@pytest.mark.parametrize("write", WRITERS)
def test_files_with_other_columns_are_refused(write):
    with pytest.raises(SchemaMismatch, match=r"f1 lacks 'n' and has 'm' besides, compared"):
        parsed(write(pa.table({"n": [1]})), write(pa.table({"m": [1]})))


@pytest.mark.parametrize("write", WRITERS)
def test_files_with_other_types_are_refused(write):
    with pytest.raises(SchemaMismatch):
        parsed(write(pa.table({"n": [1]})), write(pa.table({"n": ["x"]})))


def test_parquet_files_may_differ_in_the_width_of_numbers():
    narrow, wide = typed([1], pa.int32()), typed([2**40], pa.int64())
    assert parsed(parquet(narrow), parquet(wide))["c"].to_pylist() == [1, 2**40]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_truncated_file_is_refused(write, share):
    content = write(NUMBERS)
    with pytest.raises(UnreadableData, match="f0"):
        parsed(content[: int(len(content) * share)])


def test_an_ipc_batch_whose_offsets_lie_is_refused():
    """Slots two and three overlap: only a validation in full sees it."""
    offsets = pa.array([0, 60, 10, 64], pa.int32()).buffers()[1]
    lying = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"x" * 64)])
    with pytest.raises(UnreadableData, match="truncated or damaged"):
        parsed(stream(pa.table({"c": lying})))


def test_a_parquet_file_that_promises_more_rows_than_it_has_is_refused():
    """The footer of one file, the pages of another."""
    whole, half = parquet(NUMBERS, compression="none"), parquet(NUMBERS.slice(0, 500), compression="none")
    footer_bytes = int.from_bytes(whole[-8:-4], "little") + 8
    with pytest.raises(UnreadableData):
        parsed(half[: len(half) - footer_bytes] + whole[-footer_bytes:])


@pytest.mark.parametrize("write", WRITERS)
def test_a_name_that_is_no_text_is_refused(write):
    content = write(pa.table({"zyxwvu": [1]}))
    with pytest.raises(UnreadableData, match="f0"):
        parsed(content.replace(b"zyxwvu", b"zyx\xffvu"))


def test_bit_flips_in_a_parquet_footer_are_refused_or_harmless():
    content = bytearray(parquet(NUMBERS))
    footer = len(content) - int.from_bytes(content[-8:-4], "little") - 8
    flip = random.Random(1)
    for _ in range(10):
        damaged = bytearray(content)
        damaged[flip.randrange(footer, len(content) - 8)] ^= 1 << flip.randrange(8)
        with suppress(UnreadableData, SchemaMismatch, UnsupportedType):
            parsed(bytes(damaged))
