"""Results on the wire: Arrow, Parquet, JSON, NDJSON and CSV, a batch at a time, chosen by `Accept`."""

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import pyarrow as pa
from pyarrow import csv, parquet

from control_api.json_text import json_rows, json_text, plain_text, unique
from control_api.scalar_text import TEXT, Array

ARROW_STREAM = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"

Codec = Literal["lz4", "zstd"]
_CODECS: tuple[Codec, ...] = ("lz4", "zstd")
_LISTED = re.compile(r'(?:[^,"]|"[^"]*")+')  # a comma within quotes does not count

# Of one chunk, before encoding; text can be a few times larger.
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ResultHead:
    """What is known of a result before its first row. `datasets` maps names, as in SQL, to versions."""

    schema: pa.Schema
    query_id: str
    datasets: Mapping[str, int] = field(default_factory=dict)
    affected_rows: int | None = None
    cache: str | None = None  # what the result cache did for it


# The first chunk holds the first rows, so that a failure before them can still be told by a status.
Encode = Callable[[ResultHead, Iterable[pa.RecordBatch]], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Format:
    """`torn` is no valid end: sent last where a result breaks off, it spoils what was saved of it."""

    name: str
    media_type: str  # as announced
    aliases: frozenset[str]  # all the types it answers to
    encode: Encode
    torn: bytes = b""


def encode_arrow(
    head: ResultHead, batches: Iterable[pa.RecordBatch], codec: Codec | None = None
) -> Iterator[bytes]:
    """An Arrow IPC stream, with its end-of-stream marker."""
    sink = Sink()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), head.schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield sink.take()
    yield sink.take()


def encode_parquet(head: ResultHead, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """A Parquet file, each batch a row group, zstd within. Its end says what is in it: a part is no file."""
    sink = Sink()
    names = unique(head.schema.names)
    fields = zip(names, head.schema, strict=True)
    schema = pa.schema([pa.field(name, _parquet_type(column.type)) for name, column in fields])
    with parquet.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(_as_text_where_it_differs(batch, schema))
            yield sink.take()
    yield sink.take()


def encode_json(head: ResultHead, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """One object; `row_count` comes last, so that a result without it is incomplete."""
    opening = _opening(head, unique(head.schema.names))
    row_count = 0
    for rows, count in _listed(head, batches):
        yield opening + rows
        row_count, opening = row_count + count, b",\n"
    yield (b"" if row_count else opening) + b'\n],"row_count":%d}\n' % row_count


def encode_json_array(head: ResultHead, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """The rows alone: an array with an object a line."""
    opening = b"[\n"
    for rows, _ in _listed(head, batches):
        yield opening + rows
        opening = b",\n"
    yield b"[]\n" if opening == b"[\n" else b"\n]\n"


def _listed(head: ResultHead, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[bytes, int]]:
    """Rows as the inside of a JSON array, and how many they are; never none."""
    names = unique(head.schema.names)
    for batch in _cut(batches):
        yield _utf8(json_rows(batch, names, separator=",\n"))[:-2], batch.num_rows


def encode_ndjson(head: ResultHead, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """One object a line."""
    names = unique(head.schema.names)
    for batch in _cut(batches):
        yield _utf8(json_rows(batch, names, separator="\n"))


def encode_csv(head: ResultHead, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """A header line, then one line a row; text is quoted, null is nothing at all."""
    if not head.schema.names:
        return
    fields = zip(unique(head.schema.names), head.schema, strict=True)
    schema = pa.schema([pa.field(name, _csv_type(column.type)) for name, column in fields])
    header = True
    for batch in _cut(batches):
        yield _csv(_as_text_where_it_differs(batch, schema), header=header)
        header = False
    if header:
        yield _csv(schema.empty_table(), header=header)


JSON = Format("json", "application/json", frozenset({"application/json"}), encode_json)
FORMATS = (
    JSON,
    Format(
        "arrow",
        ARROW_STREAM,
        frozenset({ARROW_STREAM, "application/vnd.apache.arrow"}),
        encode_arrow,
        torn=b"\xff\xff\xff\xff\x08\x00\x00\x00",  # a message of 8 bytes, without them
    ),
    Format(
        "ndjson",
        "application/x-ndjson",
        frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"}),
        encode_ndjson,
        torn=b'{"',
    ),
    Format(
        "csv",
        "text/csv; charset=utf-8; header=present",
        frozenset({"text/csv"}),
        encode_csv,
        torn=b'"',
    ),
    Format("parquet", PARQUET, frozenset({PARQUET}), encode_parquet),
)


def negotiate(accept: str) -> Format | None:
    """What a client wants most, by its `Accept` header; JSON where it does not care, None if nothing fits."""
    parts = [part for part in _LISTED.findall(accept) if part.strip()]
    wishes = [_wish(part) for part in parts] or [("*/*", 1.0)]
    scored = [(_quality(format, wishes), -index) for index, format in enumerate(FORMATS)]
    best, position = max(scored)
    format = FORMATS[-position]
    if best <= 0:
        return None
    return format if format.media_type != ARROW_STREAM else _compressed(format, parts)


def _compressed(arrow: Format, parts: list[str]) -> Format:
    """With the first codec of ours in the parameter `codecs` of what the client accepts, if it has one."""
    for part in parts:
        media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        if media_type in arrow.aliases and "codecs" in given:
            wanted = [codec.strip() for codec in given["codecs"].strip('" ').split(",")]
            for codec in _CODECS:
                if codec in wanted:
                    return replace(
                        arrow,
                        media_type=f"{ARROW_STREAM}; codecs={codec}",
                        encode=partial(encode_arrow, codec=codec),
                    )
    return arrow


def _wish(part: str) -> tuple[str, float]:
    media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return media_type, _number(value)
    return media_type, 1.0


def _number(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0


def _quality(format: Format, wishes: list[tuple[str, float]]) -> float:
    """The most specific wish that covers the format decides."""
    exact = [quality for wanted, quality in wishes if wanted in format.aliases]
    family = [quality for wanted, quality in wishes if wanted == f"{format.media_type.partition('/')[0]}/*"]
    anything = [quality for wanted, quality in wishes if wanted == "*/*"]
    return max(exact or family or anything or [0.0])


class Sink(io.RawIOBase):
    """A file that keeps what Arrow writes, without copying, until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[Any] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any, /) -> int:
        self._pieces.append(piece)
        return memoryview(piece).nbytes

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _cut(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in pieces of about a chunk, none empty."""
    for batch in batches:
        if batch.num_rows:
            rows = max(1, batch.num_rows * _CHUNK_BYTES // max(_CHUNK_BYTES, batch.nbytes))
            for offset in range(0, batch.num_rows, rows):
                yield batch.slice(offset, rows)


def _utf8(text: Array) -> bytes:
    """All values of a text array, one after the other."""
    start, stop = text.offset, text.offset + len(text)
    _, offsets, data = text.buffers()
    bounds = memoryview(offsets).cast("q")
    return bytes(memoryview(data)[bounds[start] : bounds[stop]])


def _opening(head: ResultHead, names: list[str]) -> bytes:
    members = {
        "query_id": head.query_id,
        "datasets": dict(head.datasets),
        "affected_rows": head.affected_rows,
        "columns": [
            {"name": name, "type": str(column.type)} for name, column in zip(names, head.schema, strict=True)
        ],
    }
    return json.dumps(members, ensure_ascii=False).encode()[:-1] + b', "rows":[\n'


def _csv(rows: pa.RecordBatch | pa.Table, *, header: bool) -> bytes:
    sink = pa.BufferOutputStream()
    csv.write_csv(rows, sink, csv.WriteOptions(include_header=header))
    return sink.getvalue().to_pybytes()


def _as_text_where_it_differs(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns as they are where the format has a form for their type, else as text."""
    columns = [
        column if column.type == field.type else plain_text(column)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _parquet_type(type: pa.DataType) -> pa.DataType:
    try:
        parquet.write_table(pa.schema([("value", type)]).empty_table(), pa.BufferOutputStream())
    except pa.ArrowException:
        return TEXT
    return type


def _csv_type(type: pa.DataType) -> pa.DataType:
    has_form = (
        pa.types.is_boolean(type)
        or pa.types.is_integer(type)
        or pa.types.is_floating(type)
        or pa.types.is_decimal(type)
        or pa.types.is_string(type)
    )
    return type if has_form else TEXT


def json_objects(table: pa.Table) -> list[dict[str, Any]]:
    """The rows by the rules of `json_text`, as the standard library's `json` takes them."""
    lines = encode_ndjson(ResultHead(table.schema, ""), table.to_batches())
    return [json.loads(line) for chunk in lines for line in chunk.splitlines()]


def json_value(value: object) -> object:
    """A Python value by the rules of `json_text`, as the standard library's `json` takes it."""
    return json.loads(json_text(pa.array([value]))[0].as_py())
