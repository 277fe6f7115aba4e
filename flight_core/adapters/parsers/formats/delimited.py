"""CSV and TSV.

The fast way reads the files with Polars and parses the columns as they flow, with types seen in a
sample. Where that fails, or may have gone wrong, the careful way finds out: types over the whole
file, encodings, ragged rows, odd quoting.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from flight_core.adapters.parsers.alignment import aligned, common_columns
from flight_core.adapters.parsers.column_types.floats import watched
from flight_core.adapters.parsers.column_types.inference import (
    Inference,
    Reading,
    kinds_of,
    plain_number_text,
)
from flight_core.adapters.parsers.formats.codes import may_hold_codes, may_hold_points
from flight_core.adapters.parsers.formats.dialects import Table, Type, open_table, used_options
from flight_core.adapters.parsers.formats.mending import fields_are_missing, mend, stays_open
from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.options import DelimitedOptions
from flight_core.adapters.parsers.output import RowCounter, Target, write_parquet
from flight_core.adapters.parsers.text import TextFile
from flight_core.domain.contract import RAGGED_MARK
from flight_core.domain.errors import UnreadableData
from flight_core.domain.system_errors import system_failure

SAMPLE_ROWS = 10_000

_SAMPLE_FILES = 20


class _Malformed(Exception):
    """The fast reader does not support the structure of the file."""


class _Misfit(Exception):
    """A value does not have the type that was detected from the sample."""


def parse_delimited(
    files: Sequence[TextFile], options: DelimitedOptions, target: Target, scratch: Path, meter: Meter
) -> DelimitedOptions:
    """Write the rows of all files to `target`; the options, with what was found out.

    Raises:
        UnreadableData: ragged rows, odd quoting, another encoding; names the line.
        SchemaMismatch: columns of the same name, or that differ between files.
        LimitExceeded: more than 10,000 columns, or a line of more than 16 MiB.
    """
    tables = [open_table(file, options, scratch) for file in files]
    common_columns([table.label for table in tables], [table.columns for table in tables], options.columns)
    try:
        if any(table.spaced or table.mixed or stays_open(table) for table in tables):
            raise _Malformed
        _write(tables, options, target, meter)
        if not fields_are_missing(tables, target):
            return used_options(tables, options)
    except _Malformed:
        pass
    checked = target.inspection is not None
    mended = [mend(table, options, scratch, checked=checked) for table in tables]
    try:
        _write(mended, options, target, meter)
    except _Malformed as error:
        raise UnreadableData(f"{tables[0].label} cannot be read as CSV") from error
    return used_options(mended, options)


def _write(tables: Sequence[Table], options: DelimitedOptions, target: Target, meter: Meter) -> None:
    target.row_bytes = max(table.row_bytes for table in tables)
    scale = meter.total_bytes / max(1, sum(table.path.stat().st_size for table in tables))
    for attempt in _attempts(tables, options, target):
        try:
            with _translated():
                counter = RowCounter(meter, bytes_per_row=tables[0].row_bytes * scale)
                return write_parquet(attempt.frame, target, counter)
        except _Misfit:
            pass
        except _Malformed:
            if not attempt.native:
                raise
    raise AssertionError("text fits everything")


@dataclass(frozen=True, slots=True)
class _Attempt:
    """`native`: numbers are read without making text of them first. That is faster, but what is
    wrong with a value then looks like what is wrong with a row."""

    frame: pl.LazyFrame
    native: bool = False


def _attempts(tables: Sequence[Table], options: DelimitedOptions, target: Target) -> Iterator[_Attempt]:
    """Types that fit a sample, types that fit everything, text. Columns to which the request or a
    contract gives a type are not guessed at: they are numbers if the sample has nothing else, or text
    until it is checked."""
    columns = list(dict.fromkeys(column for table in tables for column in table.columns))
    given = target.typed_columns(columns)
    free = [column for column in columns if column not in given and column != RAGGED_MARK]
    numeric = [column for column, type in given.items() if type.is_numeric()]
    texts: dict[str, Type] = dict.fromkeys(columns, pl.String)
    parts = [
        _plain_numbers(
            aligned(_nulled(table, options), table.columns, columns, texts), numeric, table, options
        )
        for table in tables
    ]
    text = pl.concat([target.marked(part, table.label) for part, table in zip(parts, tables, strict=True)])
    inference = Inference(free, kinds_of(tables[0].decimal, options.thousands))
    numbers = {column: type for column, type in given.items() if type.is_integer() or type.is_float()}
    with _translated():
        for part in parts[:_SAMPLE_FILES]:
            sample = part.head(SAMPLE_ROWS).collect(engine="streaming")
            inference.look(sample.select(free))
            numbers = {column: type for column, type in numbers.items() if _all_are(sample[column], type)}
        if inference.empty:
            inference.look_at_all(text, inference.empty)
        readings = inference.readings
        text_first = options.null_values or options.thousands or any(map(may_hold_points, tables))
        guessed_numbers = any(reading.native != pl.String for reading in readings.values())
        native = not text_first and not (guessed_numbers and any(map(may_hold_codes, tables)))
    if native:
        types = texts | {column: reading.native for column, reading in readings.items()} | numbers
        unread = [column for column in numeric if column not in numbers]
        parts = [
            _plain_numbers(
                watched(aligned(table.frame(types), table.columns, columns, types)),
                unread,
                table,
                options,
            )
            for table in tables
        ]
        frame = pl.concat(
            [target.marked(part, table.label) for part, table in zip(parts, tables, strict=True)]
        )
        yield _Attempt(_typed(frame, readings, native=True), native=True)
    else:
        yield _Attempt(_typed(text, readings))
    with _translated():
        inference.look_at_all(text, inference.typed)
    yield _Attempt(_typed(text, inference.readings))
    yield _Attempt(text)


def _all_are(text: pl.Series, type: pl.DataType) -> bool:
    return text.cast(type, strict=False).null_count() == text.null_count()


def _typed(frame: pl.LazyFrame, readings: Mapping[str, Reading], *, native: bool = False) -> pl.LazyFrame:
    """Parse the columns that were read as text; leave the others as they are."""
    return frame.with_columns(
        reading.typed(column)
        for column, reading in readings.items()
        if not (native and reading.native != pl.String)
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except pl.exceptions.InvalidOperationError as error:
        raise _Misfit from error
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError, pl.exceptions.NoDataError) as error:
        if system_failure(error):
            raise
        raise _Malformed from error


def _nulled(table: Table, options: DelimitedOptions) -> pl.LazyFrame:
    frame = table.frame()
    if not options.null_values:
        return frame
    return frame.with_columns(
        pl.when(pl.col(column).is_in(options.null_values)).then(None).otherwise(pl.col(column)).alias(column)
        for column in table.columns
    )


def _plain_numbers(
    frame: pl.LazyFrame, columns: Sequence[str], table: Table, options: DelimitedOptions
) -> pl.LazyFrame:
    """Rewrite the numbers of these columns in the usual notation."""
    if table.decimal == "." and options.thousands is None:
        return frame
    return frame.with_columns(
        plain_number_text(pl.col(column), table.decimal, options.thousands).alias(column)
        for column in columns
    )
