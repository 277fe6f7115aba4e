"""Avro container files: types, codecs, blocks, and what cannot be read."""

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pytest

from flight_core.adapters.parsers.formats.avro import first_rows
from flight_core.adapters.parsers.formats.columnar import ColumnarFile
from flight_core.domain.errors import SchemaMismatch, UnreadableData, UnsupportedType
from tests.adapters.parsing import format_of, parsed, types

SYNC = b"0123456789abcdef"


def long(value):
    rest, found = (value << 1) ^ (value >> 63), bytearray()
    while rest >= 0x80:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*found, rest])


def text(value):
    content = value.encode() if isinstance(value, str) else value
    return long(len(content)) + content


def container(fields, *blocks, codec="null"):
    """A file of these blocks, each a list of rows that are encoded already."""
    schema = {"type": "record", "name": "row", "fields": [{"name": n, "type": t} for n, t in fields.items()]}
    header = [b"Obj\x01", long(2), text("avro.schema"), text(json.dumps(schema))]
    header += [text("avro.codec"), text(codec), long(0), SYNC]
    told = [long(len(rows)) + text(b"".join(rows)) + SYNC for rows in blocks]
    return b"".join([*header, *told])


def logical(type, name, **more):
    return {"type": type, "logicalType": name, **more}


@pytest.mark.parametrize(
    ("type", "encoded", "arrow", "value"),
    [
        ("boolean", b"\x01", "bool", True),
        ("int", long(-5), "int32", -5),
        ("long", long(1 << 62), "int64", 1 << 62),
        ("double", b"\0\0\0\0\0\0\xf8\x3f", "double", 1.5),
        ("string", text("Zürich"), "string", "Zürich"),
        ("bytes", text(b"\0\1"), "binary", b"\0\1"),
        (["null", "string"], long(0), "string", None),
        (["long", "null"], long(0) + long(7), "int64", 7),
        (logical("int", "date"), long(18_263), "date32[day]", date(2020, 1, 2)),
        (
            logical("long", "timestamp-micros"),
            long(1_577_836_800_000_005),
            "timestamp[us, tz=UTC]",
            datetime(2020, 1, 1, 0, 0, 0, 5, UTC),
        ),
        (
            logical("long", "local-timestamp-micros"),
            long(1_577_836_800_000_000),
            "timestamp[us]",
            datetime.fromisoformat("2020-01-01"),
        ),
        (
            logical("bytes", "decimal", precision=10, scale=2),
            text(b"\x04\xd2"),
            "decimal128(10, 2)",
            Decimal("12.34"),
        ),
        ({"type": "enum", "name": "e", "symbols": ["A", "B"]}, long(1), "string", "B"),
        (
            {"type": "array", "items": "long"},
            long(2) + long(1) + long(2) + long(0),
            "list<element: int64>",
            [1, 2],
        ),
    ],
)
def test_types_are_kept(type, encoded, arrow, value):
    table = parsed(container({"k": "long", "v": type}, [long(1) + encoded]))
    assert types(table) == {"k": "int64", "v": arrow}
    assert table["v"].to_pylist() == [value]


@pytest.mark.parametrize("codec", ["uncompressed", "deflate", "snappy"])
def test_each_codec_brings_all_rows_in_order(codec):
    frame = pl.DataFrame({"n": range(100_000), "s": [f"row {n}" for n in range(100_000)]})
    content = io.BytesIO()
    frame.write_avro(content, compression=codec)
    table = parsed(content.getvalue())
    assert table["n"].to_pylist() == list(range(100_000))
    assert format_of(content.getvalue()) == "avro"


def test_many_blocks_are_read_a_few_at_a_time():
    blocks = [[long(n) + text("x" * 10_000) for n in range(100 * b, 100 * b + 100)] for b in range(20)]
    table = parsed(container({"n": "long", "s": "string"}, *blocks))
    assert table["n"].to_pylist() == list(range(2000))


def test_several_files_become_one_table_and_no_rows_are_a_table():
    one = container({"n": "long"}, [long(1)])
    assert parsed(one, container({"n": "long"}), one)["n"].to_pylist() == [1, 1]
    assert types(parsed(container({"n": "long"}, codec="deflate"))) == {"n": "int64"}
    with pytest.raises(SchemaMismatch, match="f1"):
        parsed(one, container({"m": "long"}, [long(1)]))


def test_the_beginning_is_enough_for_a_preview(tmp_path):
    path = tmp_path / "cut.avro"
    path.write_bytes(container({"n": "long"}, [long(1), long(2)], [long(3)])[:-5])
    _, batch = first_rows(ColumnarFile(path, "cut"))
    assert batch.to_pydict() == {"n": [1, 2]}


@pytest.mark.parametrize(
    "type",
    [
        {"type": "map", "values": "long"},
        ["int", "string"],
        ["null", "int", "string"],
        {"type": "array", "items": {"type": "map", "values": "long"}},
        logical({"type": "fixed", "name": "f", "size": 12}, "duration"),
        {"type": "fixed", "name": "f", "size": 12, "logicalType": "duration"},
    ],
)
def test_types_that_cannot_be_read_are_named(type):
    with pytest.raises(UnsupportedType, match="column 'v' of f0 has the Avro type"):
        parsed(container({"k": "long", "v": type}))


def test_other_codecs_are_named():
    with pytest.raises(UnreadableData, match="zstandard; Avro can be read with null, deflate, snappy"):
        parsed(container({"n": "long"}, [long(1)], codec="zstandard"))


WHOLE = container({"n": "long"}, [long(1)], [long(2)])


@pytest.mark.parametrize(
    "content",
    [
        *(WHOLE[:size] for size in range(4, len(WHOLE), 7) if size != len(WHOLE) - 19),
        WHOLE.replace(SYNC, b"X" * 16, 1),
        container({"n": "long"}, [long(1), b""]),
        b"Obj\x01" + b"\xff" * 100,
        b"Obj\x01" + long(1) + text("avro.schema") + text('"long"') + long(0) + SYNC,
    ],
)
def test_truncated_and_damaged_files_are_told(content):
    with pytest.raises(UnreadableData, match="f0"):
        parsed(content)


def test_a_type_can_be_given():
    table = parsed(container({"n": "long"}, [long(1_577_836_800_000)]), types={"n": "timestamp[ms, tz=UTC]"})
    assert table["n"].type == pa.timestamp("us", "UTC")
