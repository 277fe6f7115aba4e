"""Parquet and Arrow IPC, files and streams.

Everything is written anew: what engines get to read was made here. IPC batches are validated in full
before anything touches them, because offsets that lie crash whoever follows them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pat

from flight_core.adapters.parsers.alignment import aligned
from flight_core.adapters.parsers.column_types.floats import WHOLE
from flight_core.adapters.parsers.column_types.shared import (
    check_types,
    common_schema,
    polars_types,
    shared,
    widened,
)
from flight_core.adapters.parsers.formats.hive import partitions
from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.options import ColumnarOptions
from flight_core.adapters.parsers.output import RowCounter, Target, write_parquet
from flight_core.domain.arrow import MAX_PRECISION
from flight_core.domain.errors import SchemaMismatch, UnreadableData, UnsupportedType
from flight_core.domain.system_errors import system_failure

_FILE_MAGIC = b"ARROW1"

_DAMAGE = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    pa.ArrowException,
    OSError,
    UnicodeError,  # in names
)


@dataclass(frozen=True, slots=True)
class ColumnarFile:
    path: Path
    label: str


def parse_parquet(
    files: Sequence[ColumnarFile], options: ColumnarOptions, target: Target, meter: Meter
) -> None:
    """Write the rows of all files to `target`.

    Raises:
        UnreadableData: truncated or damaged.
        SchemaMismatch: columns of the same name, or that differ between files.
        UnsupportedType: naming a column that cannot be kept in Parquet.
    """
    with ExitStack() as opened, damage_of(files[0], "a Parquet file"):
        readers = []
        for file in files:
            with damage_of(file, "a Parquet file"):
                readers.append(opened.enter_context(pq.ParquetFile(file.path)))
        schemas = [reader.schema_arrow for reader in readers]
        labels = [file.label for file in files]
        schema = common_schema(labels, schemas, options.columns)
        rows = sum(reader.metadata.num_rows for reader in readers)
        target.row_bytes = _decoded_bytes(readers) / max(1, rows)
        counter = RowCounter(meter, bytes_per_row=meter.total_bytes / max(1, rows))
        if all(_plain(schema) for schema in schemas):
            check_types(labels, schemas, widened)
            write_parquet(_scanned(files, schemas, schema, target), target, counter)
        else:
            check_types(labels, schemas, shared)
            batches = (batch for reader in readers for batch in reader.iter_batches(target.group_rows))
            _write(batches, schema, _label(files), target, counter)
        if counter.rows != rows:
            raise UnreadableData(f"{files[0].label} promises {rows} rows and holds {counter.rows}")


def parse_arrow(
    files: Sequence[ColumnarFile], options: ColumnarOptions, target: Target, meter: Meter
) -> None:
    """As `parse_parquet`, for Arrow IPC files and streams."""
    with ExitStack() as opened, damage_of(files[0], "Arrow IPC data"):
        schemas, parts = [], []
        start_bytes = 0
        for file in files:
            with damage_of(file, "Arrow IPC data"):
                source = opened.enter_context(pa.OSFile(str(file.path), "r"))
                schema, batches = _open_arrow(source)
            schemas.append(schema)
            parts.append(_validated(source, batches, meter, start_bytes))
            start_bytes += source.size()
        write_batches(files, schemas, chain.from_iterable(parts), options, target, meter)


def write_batches(
    files: Sequence[ColumnarFile],
    schemas: Sequence[pa.Schema],
    batches: Iterator[pa.RecordBatch],
    options: ColumnarOptions,
    target: Target,
    meter: Meter,
) -> None:
    """Write the record batches of all files, in order. The iterator `batches` has to move the meter."""
    labels = [file.label for file in files]
    schema = common_schema(labels, schemas, options.columns)
    check_types(labels, schemas, shared)
    _write(batches, schema, _label(files), target, RowCounter(meter, bytes_per_row=0))


def first_batch(file: ColumnarFile) -> tuple[pa.Schema, pa.RecordBatch | None]:
    """The first record batch of Arrow IPC data, validated; it owns its memory."""
    with damage_of(file, "Arrow IPC data"), pa.OSFile(str(file.path), "r") as source:
        schema, batches = _open_arrow(source)
        batch = next(batches, None)
        if batch is not None:
            batch.validate(full=True)
        return schema, batch


def _decoded_bytes(readers: Sequence[pq.ParquetFile]) -> int:
    """What the rows take when they are no longer compressed; less than in memory where values repeat."""
    footers = [reader.metadata for reader in readers]
    return sum(
        footer.row_group(i).total_byte_size for footer in footers for i in range(footer.num_row_groups)
    )


def _label(files: Sequence[ColumnarFile]) -> str:
    return files[0].label if len(files) == 1 else f"{files[0].label} and {len(files) - 1} more"


def _scanned(
    files: Sequence[ColumnarFile], schemas: Sequence[pa.Schema], schema: pa.Schema, target: Target
) -> pl.LazyFrame:
    told = partitions([file.label for file in files], schema.names)
    types = polars_types(schemas)
    frames = [
        target.marked(
            aligned(_read(file, own, types), own.names, schema.names).with_columns(folders.values()),
            file.label,
        )
        for file, own, folders in zip(files, schemas, told, strict=True)
    ]
    return pl.concat(frames, how="vertical_relaxed")


def _read(file: ColumnarFile, schema: pa.Schema, types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Polars reads a date64 that was written to Parquet as a timestamp."""
    days = [field.name for field in schema if pat.is_date32(field.type)]
    frame = pl.scan_parquet(file.path, glob=False, hive_partitioning=False)
    exact = [
        _exactly(pl.col(name), schema.field(name).type, type)
        for name, type in types.items()
        if name in schema.names
    ]
    return frame.with_columns(pl.col(days).cast(pl.Date), *exact)


def _exactly(column: pl.Expr, own: pa.DataType, type: pl.DataType) -> pl.Expr:
    """A cast that fails when it runs if a value does not fit the type."""
    if type == pl.Float64 and pat.is_int64(own):
        fits = column.is_between(-WHOLE, WHOLE) | column.is_null()
        column = column + pl.when(fits).then(0).otherwise(column).cast(pl.Int8)
    return column.cast(type)


def _open_arrow(source: pa.NativeFile) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    is_file = source.read(len(_FILE_MAGIC)) == _FILE_MAGIC
    source.seek(0)
    if is_file:
        file = pa.ipc.open_file(source)
        return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
    stream = pa.ipc.open_stream(source)
    return stream.schema, iter(stream)


def _validated(
    source: pa.NativeFile, batches: Iterator[pa.RecordBatch], meter: Meter, start_bytes: int
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        batch.validate(full=True)
        meter.reached(start_bytes + source.tell())
        yield batch


def _write(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, label: str, target: Target, counter: RowCounter
) -> None:
    """Write through Polars, which encodes on all cores; types that it lacks are replaced."""
    kept = pa.schema([pa.field(field.name, _kept_type(field.type, field.name)) for field in schema])
    first = next(batches, None)
    if first is not None:
        target.row_bytes = max(target.row_bytes, _row_bytes(first))
    replaced = (
        pa.RecordBatch.from_arrays(
            [_replaced(_column(batch, field), type) for field, type in zip(schema, kept.types, strict=True)],
            schema=kept,
        )
        for batch in (batches if first is None else chain([first], batches))
    )
    frame = pl.scan_arrow_c_stream(pa.RecordBatchReader.from_batches(kept, replaced))
    write_parquet(target.marked(frame, label), target, counter)


def _row_bytes(batch: pa.RecordBatch) -> float:
    """Without dictionaries, which do not grow with the rows."""
    columns: list[Any] = batch.columns
    sizes = ((each.indices if pat.is_dictionary(each.type) else each).nbytes for each in columns)
    return float(sum(sizes) / max(1, batch.num_rows))


def _column(batch: pa.RecordBatch, field: "pa.Field[Any]") -> Any:
    place = batch.schema.get_field_index(field.name)
    return pa.nulls(batch.num_rows, field.type) if place < 0 else batch.column(place)


def _plain(schema: pa.Schema) -> bool:
    return all(_kept_type(field.type, field.name) == field.type for field in schema)


def _kept_type(type: pa.DataType, column: str) -> pa.DataType:
    """What stands for `type` on the way through Polars and Parquet, holding the same values.

    Raises:
        UnsupportedType
    """
    if isinstance(type, pa.BaseExtensionType):
        return _kept_type(type.storage_type, column)
    if pat.is_run_end_encoded(type):
        return _kept_type(type.value_type, column)
    if pat.is_list_view(type) or pat.is_large_list_view(type):
        return pa.large_list(_kept_type(type.value_type, column))
    if pat.is_date64(type):
        return pa.date32()
    if pat.is_decimal(type):
        return _kept_decimal(type, column)
    if pat.is_nested(type) and not pat.is_union(type):
        return _kept_nested(type, column)
    if pat.is_interval(type) or pat.is_union(type):
        raise _not_kept(type, column)
    return type


def _kept_nested(type: Any, column: str) -> pa.DataType:
    parts = [_kept_child(type.field(number), column) for number in range(type.num_fields)]
    if pat.is_struct(type) and parts:
        return pa.struct(parts)
    if pat.is_list(type):
        return pa.list_(parts[0])
    if pat.is_large_list(type):
        return pa.large_list(parts[0])
    if pat.is_fixed_size_list(type):
        return pa.list_(parts[0], int(type.list_size))
    if pat.is_struct(type) or parts != [type.field(0)]:  # of a map
        raise _not_kept(type, column)
    return type  # type: ignore[no-any-return]


def _kept_decimal(type: Any, column: str) -> pa.DataType:
    """An equivalent decimal type with a scale between 0 and the precision."""
    scale = max(type.scale, 0)
    precision = max(type.precision + scale - type.scale, scale)
    if precision > MAX_PRECISION:
        raise _not_kept(type, column)
    unusual = pat.is_decimal256(type) or (precision, scale) != (type.precision, type.scale)
    return pa.decimal128(precision, scale) if unusual else type


def _kept_child(field: "pa.Field[Any]", column: str) -> "pa.Field[Any]":
    """The replacement for a field of a nested type, which is cast as a whole."""
    if (
        pat.is_run_end_encoded(field.type)
        or pat.is_list_view(field.type)
        or pat.is_large_list_view(field.type)
    ):
        raise _not_kept(field.type, column)
    return field.with_type(_kept_type(field.type, column))


def _not_kept(type: pa.DataType, column: str) -> UnsupportedType:
    return UnsupportedType(
        f"column '{column}' has type {type}, which cannot be kept; cast it or leave it out",
        column=column,
        type=str(type),
    )


def _replaced(array: Any, type: pa.DataType) -> "pa.Array[Any]":
    if pat.is_null(array.type):
        nulls: pa.Array[Any] = pa.nulls(len(array), type)  # type: ignore[call-overload]  # it takes any type
        return nulls
    if isinstance(array.type, pa.BaseExtensionType):
        return _replaced(array.storage, type)
    if pat.is_run_end_encoded(array.type):
        return _replaced(pc.call_function("run_end_decode", [array]), type)
    if pat.is_list_view(array.type) or pat.is_large_list_view(array.type):
        return _from_view(array, type)
    replaced: pa.Array[Any] = array if array.type == type else array.cast(type)
    return replaced


def _from_view(array: Any, type: Any) -> "pa.Array[Any]":
    """Arrow's own cast leaves decreasing offsets at nulls."""
    lengths: Any = pc.fill_null(pc.list_value_length(array).cast(pa.int64()), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
    values = _replaced(pc.list_flatten(array), type.value_type)
    return pa.LargeListArray.from_arrays(offsets, values, mask=array.is_null())


@contextmanager
def damage_of(file: ColumnarFile, what: str) -> Iterator[None]:
    """Translate all errors of the libraries: the file is at fault."""
    try:
        yield
    except (pl.exceptions.SchemaError, pl.exceptions.InvalidOperationError) as error:
        raise SchemaMismatch(
            f"{file.label} and the other files differ in the types of columns; ingest them one by one"
        ) from error
    except _DAMAGE as error:
        if system_failure(error):
            raise
        raise UnreadableData(f"{file.label} cannot be read as {what}: it is truncated or damaged") from error
