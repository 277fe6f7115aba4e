"""CSV and TSV.

The fast way reads the files with Polars and parses the columns as they flow, with types seen in a
sample. Where that fails, or may have gone wrong, the careful way finds out: types over the whole
file, encodings, ragged rows, odd quoting.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from flight_core.adapters.parsers.dialects import Table, check_columns, open_table, used_options
from flight_core.adapters.parsers.inference import Inference, Reading
from flight_core.adapters.parsers.mending import fields_are_missing, mend
from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.options import DelimitedOptions
from flight_core.adapters.parsers.output import RowCounter, write_parquet
from flight_core.adapters.parsers.text import TextFile, in_parallel, line_chunks
from flight_core.domain.errors import UnreadableData

SAMPLE_ROWS = 10_000

_SAMPLE_FILES = 20


class _Malformed(Exception):
    """The fast way does not get along with the structure of the file."""


class _Misfit(Exception):
    """A value is not of the type that the sample promised."""


def parse_delimited(
    files: Sequence[TextFile], options: DelimitedOptions, target: Path, scratch: Path, meter: Meter
) -> DelimitedOptions:
    """Write the rows of all files to `target`; the options, with what was found out.

    Raises:
        UnreadableData: ragged rows, odd quoting, another encoding; names the line.
        SchemaMismatch: columns of the same name, or that differ between files.
        LimitExceeded: more than 10,000 columns, or a line of more than 16 MiB.
    """
    tables = [open_table(file, options, scratch) for file in files]
    check_columns(tables)
    try:
        _write(tables, options, target, meter)
        if not fields_are_missing(tables, target):
            return used_options(tables[0], options)
    except _Malformed:
        pass
    mended = [mend(table, options, scratch) for table in tables]
    try:
        _write(mended, options, target, meter)
    except _Malformed as error:
        raise UnreadableData(f"{tables[0].label} cannot be read as CSV") from error
    return used_options(mended[0], options)


def _write(tables: Sequence[Table], options: DelimitedOptions, target: Path, meter: Meter) -> None:
    scale = meter.total_bytes / max(1, sum(table.path.stat().st_size for table in tables))
    for attempt in _attempts(tables, options):
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


def _attempts(tables: Sequence[Table], options: DelimitedOptions) -> Iterator[_Attempt]:
    """Types that fit a sample, types that fit everything, text."""
    text = pl.concat([_nulled(table, options) for table in tables])
    inference = Inference(tables[0].columns)
    with _translated():
        for table in tables[:_SAMPLE_FILES]:
            inference.look(_nulled(table, options).head(SAMPLE_ROWS).collect(engine="streaming"))
        if inference.empty:
            inference.look_at_all(text, inference.empty)
        readings = inference.readings
        native = not options.null_values and not _codes_are_possible(tables)
    if native:
        types = {column: reading.native for column, reading in readings.items()}
        frame = pl.concat([table.frame(types) for table in tables])
        yield _Attempt(_typed(frame, readings, native=True), native=True)
    else:
        yield _Attempt(_typed(text, readings))
    with _translated():
        inference.look_at_all(text, inference.typed)
    yield _Attempt(_typed(text, inference.readings))
    yield _Attempt(text)


def _typed(frame: pl.LazyFrame, readings: Mapping[str, Reading], *, native: bool = False) -> pl.LazyFrame:
    return frame.select(
        pl.col(column) if native and reading.native != pl.String else reading.typed(column)
        for column, reading in readings.items()
    )


def _codes_are_possible(tables: Sequence[Table]) -> bool:
    """Whether any field begins as no plain number does: with a zero before another digit, a plus sign
    or a space. Reading such a field as a number would lose that."""
    return any(any(in_parallel(_holds_codes(table), line_chunks(table.path))) for table in tables)


def _holds_codes(table: Table) -> Callable[[bytes], bool]:
    before = {table.delimiter, table.line_end, table.quote or table.line_end}
    code = f"(?:{'|'.join(map(re.escape, before))})(?:0[0-9]|[+ \\t])"

    def holds(chunk: bytes) -> bool:
        text = pl.Series([table.line_end.encode() + chunk]).cast(pl.String)
        return bool(text.str.contains(code).item())

    return holds


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except pl.exceptions.InvalidOperationError as error:
        raise _Misfit from error
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError, pl.exceptions.NoDataError) as error:
        if "No space left" in str(error):
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
