"""Copies of the beginnings of files, for previews."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flight_core.adapters.parsers.formats.avro import first_rows
from flight_core.adapters.parsers.formats.columnar import ColumnarFile, first_batch
from flight_core.adapters.parsers.formats.json_records import records
from flight_core.adapters.parsers.formats.json_tables import with_path
from flight_core.adapters.parsers.options import DelimitedOptions, Format, FormatOptions, JsonOptions
from flight_core.adapters.parsers.sniffing import Content, head
from flight_core.adapters.parsers.text import end_of_lines, fresh_file
from flight_core.adapters.parsers.unpacking import Unpacked, UnpackLimits, packing_of, unpack
from flight_core.domain.errors import LimitExceeded, UnreadableData

HEAD_BYTES = 8 << 20
HEAD_FILES = 5
HEAD_RECORDS = 10_000

# The schema of a file, and its first rows, if there are any.
_FirstRows = Callable[[ColumnarFile], tuple[pa.Schema, pa.RecordBatch | None]]
_FIRST_ROWS: Mapping[Format, _FirstRows] = {"arrow": first_batch, "avro": first_rows}


class Heads:
    """Writes them to the folder `scratch`. `cut` says whether anything was left out."""

    def __init__(self, scratch: Path, limits: UnpackLimits, members: str | None) -> None:
        self.cut = False
        self._scratch = scratch
        self._limits = limits
        self._members = members
        self._paths: list[str] = []  # of records, in documents

    def told(self, options: FormatOptions) -> FormatOptions:
        """The options, completed by what was detected."""
        return with_path(options, self._paths) if isinstance(options, JsonOptions) else options

    def unpacked(self, files: Sequence[Unpacked], *, whole: bool) -> list[Unpacked]:
        """The first files, or the first members of archives, decompressed as far as necessary."""
        self.cut |= len(files) > HEAD_FILES or not whole
        found: list[Unpacked] = []
        for file in files[:HEAD_FILES]:
            if (compression := packing_of(file.path, head(file.path))) is None:
                found.append(file)
                continue
            folder = fresh_file(self._scratch)
            folder.mkdir()
            with suppress(EOFError):
                found += unpack(
                    file.path,
                    file.label,
                    compression,
                    folder,
                    self._limits,
                    members=self._members,
                    enough_bytes=HEAD_BYTES,
                )
        self.cut |= len(found) > HEAD_FILES or any(
            file.path.is_relative_to(self._scratch) and file.path.stat().st_size >= HEAD_BYTES
            for file in found
        )
        return found[:HEAD_FILES]

    def shortened(
        self, file: Unpacked, content: Content, options: FormatOptions, rows: int
    ) -> tuple[Unpacked, Content]:
        """A file with the first rows, and its content type."""
        match content.format:
            case "excel":
                return file, content
            case "parquet":
                return Unpacked(self._parquet(file, rows), file.label), Content("arrow")
            case format if read := _FIRST_ROWS.get(format):
                self.cut = True
                schema, batch = read(ColumnarFile(file.path, file.label))
                batches = [] if batch is None else [batch.slice(0, rows)]
                return Unpacked(self._as_arrow(batches, schema), file.label), Content("arrow")
            case "json":
                assert isinstance(options, JsonOptions)
                return Unpacked(self._records(file, content, options), file.label), Content("ndjson", "utf-8")
        quote = options.quote if isinstance(options, DelimitedOptions) else None
        size_bytes = file.path.stat().st_size
        if size_bytes <= HEAD_BYTES and not self.cut:
            return file, content
        self.cut |= size_bytes > HEAD_BYTES
        lines = fresh_file(self._scratch)
        lines.write_bytes(_whole_lines(_text_of(file.path, content), quote))
        return Unpacked(lines, file.label), Content(content.format, "utf-8")

    def _parquet(self, file: Unpacked, rows: int) -> Path:
        try:
            with pq.ParquetFile(file.path) as reader:
                self.cut |= reader.metadata.num_rows > rows
                batches = list(islice(reader.iter_batches(rows), 1))
                return self._as_arrow(batches, reader.schema_arrow)
        except (pa.ArrowException, OSError) as error:
            raise UnreadableData(
                f"{file.label} cannot be read as a Parquet file: it is truncated or damaged"
            ) from error

    def _as_arrow(self, batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> Path:
        target = fresh_file(self._scratch)
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return target

    def _records(self, file: Unpacked, content: Content, options: JsonOptions) -> Path:
        target = fresh_file(self._scratch)
        found = records(
            file.path, file.label, content.encoding or "utf-8", options.record_path, self._paths.append
        )
        count = 0
        with target.open("w", encoding="utf-8") as out:
            try:
                for record in islice(found, HEAD_RECORDS):
                    out.write(json.dumps(record, ensure_ascii=False) + "\n")
                    count += 1
            except UnreadableData:
                if not (self.cut and count):
                    raise
        self.cut |= count == HEAD_RECORDS
        return target


def _text_of(path: Path, content: Content) -> bytes:
    """The beginning of the file, in UTF-8 if it can be decoded."""
    with path.open("rb") as file:
        text = file.read(HEAD_BYTES)
    encoding = content.encoding or "utf-8"
    return text if encoding == "utf-8" else text.decode(encoding, errors="ignore").encode()


def _whole_lines(text: bytes, quote: str | None) -> bytes:
    """The text up to the last end of a line outside of quotes, or of any line if a quote is not closed."""
    end = end_of_lines(text, quote.encode() if quote else None) or end_of_lines(text, None)
    if not end:
        raise LimitExceeded(
            f"the first line is longer than {HEAD_BYTES >> 20} MiB; is it a table?", limit=HEAD_BYTES
        )
    return text[:end]
