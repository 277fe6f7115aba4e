"""Avro container files, a few blocks at a time.

https://avro.apache.org/docs/1.12.0/specification/#object-container-files: a header, and blocks that are each
readable with it alone.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

import polars as pl
import pyarrow as pa

from flight_core.adapters.parsers.formats.columnar import ColumnarFile, damage_of, write_batches
from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.options import ColumnarOptions
from flight_core.adapters.parsers.output import Target
from flight_core.domain.errors import UnreadableData, UnsupportedType

MAGIC = b"Obj\x01"

_WHAT = "an Avro file"
_CODECS = ("null", "deflate", "snappy")
_SYNC_BYTES = 16
_GROUP_BYTES = 4 << 20
_GROUP_ROWS = 1 << 18


def parse_avro(files: Sequence[ColumnarFile], options: ColumnarOptions, target: Target, meter: Meter) -> None:
    """Write the rows of all files to `target`. Raises as `parse_parquet`."""
    with ExitStack() as opened, damage_of(files[0], _WHAT):
        schemas, parts = [], []
        start_bytes = 0
        for file in files:
            with damage_of(file, _WHAT):
                container = Container(opened.enter_context(file.path.open("rb")), file.label)
                schemas.append(container.schema)
            parts.append(_metered(container, meter, start_bytes))
            start_bytes += file.path.stat().st_size
        write_batches(files, schemas, chain.from_iterable(parts), options, target, meter)


def first_rows(file: ColumnarFile) -> tuple[pa.Schema, pa.RecordBatch | None]:
    """The schema and the rows of the first block."""
    with damage_of(file, _WHAT), file.path.open("rb") as source:
        container = Container(source, file.label)
        return container.schema, next(container.batches(group_bytes=1), None)


def _metered(container: "Container", meter: Meter, start_bytes: int) -> Iterator[pa.RecordBatch]:
    for batch in container.batches():
        meter.reached(start_bytes + container.position)
        yield batch


@dataclass(frozen=True, slots=True)
class _Block:
    rows: int
    content: bytes  # with its counts before it, and the mark after it


class Container:
    """An open file, whose header has been read.

    Raises:
        UnreadableData: truncated or damaged, or of a codec that is not known.
        UnsupportedType: naming the column.
    """

    def __init__(self, source: BinaryIO, label: str) -> None:
        self._source = source
        self._label = label
        if self._exactly(len(MAGIC)) != MAGIC:
            raise self._damaged()
        metadata = self._metadata()
        self._sync = self._exactly(_SYNC_BYTES)
        header_bytes = source.tell()
        source.seek(0)
        self._header = source.read(header_bytes)
        self._check(metadata)
        plain = _header(metadata["avro.schema"])  # of other codecs Polars reads nothing without blocks
        self.schema: pa.Schema = _read(plain).schema

    @property
    def position(self) -> int:
        return self._source.tell()

    def batches(self, group_bytes: int = _GROUP_BYTES) -> Iterator[pa.RecordBatch]:
        """All rows, those of several blocks in one batch."""
        group: list[_Block] = []
        for block in self._blocks():
            group.append(block)
            full = sum(len(each.content) for each in group) >= group_bytes
            if full or sum(each.rows for each in group) >= _GROUP_ROWS:
                yield from self._rows_of(group)
                group = []
        if group:
            yield from self._rows_of(group)

    def _rows_of(self, group: Sequence[_Block]) -> list[pa.RecordBatch]:
        table = _read(self._header + b"".join(block.content for block in group))
        if table.num_rows != sum(block.rows for block in group):
            raise self._damaged()
        return table.combine_chunks().to_batches()

    def _blocks(self) -> Iterator[_Block]:
        while True:
            start = self._source.tell()
            if not self._source.read(1):
                return
            self._source.seek(start)
            rows, size_bytes = self._long(), self._long()
            if rows < 0 or size_bytes < 0:
                raise self._damaged()
            head_bytes = self._source.tell() - start
            self._source.seek(start)
            content = self._exactly(head_bytes + size_bytes + _SYNC_BYTES)
            if not content.endswith(self._sync):
                raise self._damaged()
            yield _Block(rows, content)

    def _metadata(self) -> Mapping[str, bytes]:
        found: dict[str, bytes] = {}
        while count := self._long():
            if count < 0:  # the size in bytes comes with it
                self._long()
            for _ in range(abs(count)):
                name = self._exactly(self._long()).decode()
                found[name] = self._exactly(self._long())
        return found

    def _long(self) -> int:
        """Reads a variable-length zigzag integer: seven bits per byte, the lowest first."""
        value = shift = 0
        while True:
            byte = self._exactly(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            if shift > 63:
                raise self._damaged()

    def _exactly(self, size_bytes: int) -> bytes:
        content = self._source.read(size_bytes) if size_bytes >= 0 else b""
        if len(content) != size_bytes:
            raise self._damaged()
        return content

    def _damaged(self) -> UnreadableData:
        return UnreadableData(f"{self._label} cannot be read as {_WHAT}: it is truncated or damaged")

    def _check(self, metadata: Mapping[str, bytes]) -> None:
        codec = metadata.get("avro.codec", b"null").decode()
        if codec not in _CODECS:
            raise UnreadableData(
                f"{self._label} is compressed with {codec[:40]}; Avro can be read with {', '.join(_CODECS)}"
            )
        try:
            schema = json.loads(metadata["avro.schema"])
        except (KeyError, ValueError):
            raise self._damaged() from None
        if not isinstance(schema, dict) or schema.get("type") != "record" or not schema.get("fields"):
            raise UnreadableData(f"{self._label} holds no records with fields, so it is no table")
        for field in schema["fields"]:
            lacking = _lacking(field["type"])
            if lacking is not None:
                raise UnsupportedType(
                    f"column '{field['name']}' of {self._label} has the Avro type {lacking}, which cannot be"
                    " read; write it as records, text or another type",
                    column=str(field["name"]),
                    type=lacking,
                )


def _read(content: bytes) -> pa.Table:
    frame = pl.read_avro(io.BytesIO(content))
    words = frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))
    return words.to_arrow(compat_level=pl.CompatLevel.oldest())


def _header(schema: bytes) -> bytes:
    """The header of an uncompressed file with that schema."""
    name = b"avro.schema"
    return b"".join(
        (
            MAGIC,
            _written(1),
            _written(len(name)),
            name,
            _written(len(schema)),
            schema,
            b"\0" * (1 + _SYNC_BYTES),
        )
    )


def _written(value: int) -> bytes:
    rest, found = value << 1, bytearray()
    while rest >= 0x80:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*found, rest])


def _lacking(type: Any) -> str | None:
    """What an Avro type contains that cannot be read."""
    if isinstance(type, list):
        choices = [choice for choice in type if choice != "null"]
        if len(choices) != 1 or len(type) > 2:
            return "union of " + ", ".join(str(choice)[:40] for choice in type)
        return _lacking(choices[0])
    if not isinstance(type, dict):
        return "null" if type == "null" else None
    if type.get("logicalType") == "duration":
        return "duration"
    match type.get("type"):
        case "map":
            return "map"
        case "array":
            return _lacking(type["items"])
        case "record":
            found = (_lacking(field["type"]) for field in type["fields"])
            return next((each for each in found if each is not None), None)
        case "null":
            return "null"
    return None
