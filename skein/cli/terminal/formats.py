"""Results as files: CSV, JSON, Arrow and Parquet, written as they come."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from control_api.formats import Encode, ResultHead, encode_arrow, encode_csv, encode_json_array, encode_ndjson
from control_api.json_text import unique
from flight_core.domain.errors import InvalidOption, UnsupportedType
from skein.cli.terminal.output import Output

# Of a row group: what readers of Parquet like, and what may be in memory.
_GROUP_ROWS = 122_880
_GROUP_BYTES = 64 << 20

Write = Callable[[pa.Schema, Iterable[pa.RecordBatch], Output], None]

SUFFIXES = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "ndjson",
    ".ndjson": "ndjson",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".arrows": "arrow",
    ".parquet": "parquet",
}


def format_of(path: Path) -> str:
    """
    Raises:
        InvalidOption: the name's ending is none of SUFFIXES.
    """
    format = SUFFIXES.get(path.suffix.lower())
    if format is None:
        raise InvalidOption(
            f"the name '{path.name}' tells no format; end it with {', '.join(SUFFIXES)}, or add --format"
        )
    return format


def _chunks(encode: Encode) -> Write:
    def write(schema: pa.Schema, batches: Iterable[pa.RecordBatch], output: Output) -> None:
        for chunk in encode(ResultHead(schema, query_id=""), batches):
            output.write(chunk)

    return write


def _arrow_file(schema: pa.Schema, batches: Iterable[pa.RecordBatch], output: Output) -> None:
    writer = pa.ipc.new_file(pa.PythonFile(output, mode="w"), schema)
    for batch in batches:
        writer.write_batch(batch)
    writer.close()


def _parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch], output: Output) -> None:
    _check_parquet(schema)
    names = unique(schema.names)
    fields = [field.with_name(name) for name, field in zip(names, schema, strict=True)]
    writer = pq.ParquetWriter(pa.PythonFile(output, mode="w"), pa.schema(fields), compression="zstd")
    for group in _row_groups(batches):
        writer.write_table(group.rename_columns(names))
    writer.close()


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    group: list[pa.RecordBatch] = []
    rows = size_bytes = 0
    for batch in batches:
        group.append(batch)
        rows += batch.num_rows
        size_bytes += batch.nbytes
        if rows >= _GROUP_ROWS or size_bytes >= _GROUP_BYTES:
            yield pa.Table.from_batches(group)
            group, rows, size_bytes = [], 0, 0
    if group:
        yield pa.Table.from_batches(group)


def _check_parquet(schema: pa.Schema) -> None:
    """
    Raises:
        UnsupportedType: Parquet has no form for a column's type.
    """
    for field in schema:
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
        except pa.ArrowNotImplementedError:
            raise UnsupportedType(
                f"column '{field.name}' is {field.type}, which Parquet cannot hold; cast it to VARCHAR in the"
                " SQL, or use --format arrow"
            ) from None


WRITERS: Mapping[str, Write] = {
    "csv": _chunks(encode_csv),
    "json": _chunks(encode_json_array),
    "ndjson": _chunks(encode_ndjson),
    "arrow": _arrow_file,
    "arrows": _chunks(encode_arrow),
    "parquet": _parquet,
}
