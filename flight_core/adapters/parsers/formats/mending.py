"""What Polars does not notice or does not forgive in CSV: ragged rows, blank lines, odd quoting."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from flight_core.adapters.parsers.formats.dialects import Table, reader_of, transcoded
from flight_core.adapters.parsers.options import DelimitedOptions
from flight_core.adapters.parsers.output import Target
from flight_core.adapters.parsers.text import fresh_file
from flight_core.domain.contract import RAGGED_MARK
from flight_core.domain.errors import UnreadableData

_CHUNK_BYTES = 1 << 20


def fields_are_missing(tables: Sequence[Table], target: Target) -> bool:
    """Whether rows may have been shorter than the first: Polars fills them up with nulls, silently.

    Then the last column holds nulls, and the files hold fewer delimiters than full rows would.
    """
    if any(table.columns != tables[0].columns for table in tables):
        return any(_are_missing([table], _count(table), table.frame()) for table in tables)
    rows = _rows_if_missing(target)
    if rows is None:
        return False
    if target.inspection is None:
        return _are_missing(tables, rows, target.scan())
    # What was written may lack columns, and rows.
    return _are_missing(tables, rows, pl.concat([table.frame() for table in tables]))


def _count(table: Table) -> int:
    return int(table.frame().select(pl.len()).collect(engine="streaming").item())


def _are_missing(tables: Sequence[Table], rows: int, values: pl.LazyFrame) -> bool:
    """Of tables with the same columns, which have so many rows of these values."""
    last = len(tables[0].columns) - 1
    if last == 0:
        return True  # blank lines are not rows
    return _delimiters(tables, values) != (rows + sum(table.header for table in tables)) * last


def _rows_if_missing(target: Target) -> int | None:
    """How many rows were read; None if the last column holds no nulls."""
    if target.inspection is not None:
        gate = target.inspection.gate
        return gate.rows if gate.last_column_nulls else None
    footers = [pq.read_metadata(file) for file in target.files]
    last = footers[0].num_columns - 1
    groups = [
        footer.row_group(number).column(last) for footer in footers for number in range(footer.num_row_groups)
    ]
    missing = any(group.statistics is None or group.statistics.null_count for group in groups)
    return sum(footer.num_rows for footer in footers) if missing else None


def _delimiters(tables: Sequence[Table], values: pl.LazyFrame) -> int:
    """How many stand between fields; -1 if that takes a closer look."""
    delimiters = quotes = 0
    for table in tables:
        with table.path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                delimiters += chunk.count(table.delimiter.encode())
                quotes += chunk.count(table.quote.encode()) if table.quote else 0
    if not quotes:
        return delimiters
    if len({table.delimiter for table in tables}) > 1:
        return -1
    return delimiters - _quoted_delimiters(tables, values)


def _quoted_delimiters(tables: Sequence[Table], values: pl.LazyFrame) -> int:
    delimiter = tables[0].delimiter
    in_names = sum(name.count(delimiter) for table in tables if table.header for name in table.columns)
    counts = values.select(pl.col(pl.String).str.count_matches(delimiter, literal=True).sum())
    in_rows: int = sum(sum(row) for row in counts.collect(engine="streaming").rows())
    return in_names + in_rows


def mend(table: Table, options: DelimitedOptions, scratch: Path, *, checked: bool) -> Table:
    """A copy without blank lines, plainly quoted, every row of the same length.

    Where ragged rows are to be set apart, and rows are `checked`, it has one more column, with the text of
    those; the others are left out where nobody checks.

    Raises:
        UnreadableData: naming the line that is at fault.
    """
    path, encoding = transcoded(table.path, table.label, options, scratch)
    mended = fresh_file(scratch)
    with (
        path.open(encoding="utf-8-sig", newline="") as source,
        mended.open("w", encoding="utf-8", newline="") as out,
    ):
        writer = csv.writer(out, delimiter=table.delimiter, lineterminator="\n")
        width = len(table.columns)
        sets_apart = options.ragged == "quarantine" or (options.ragged is None and checked)
        more = [""] if sets_apart and checked else []
        for line, row, text in _numbered(source, table):
            if len(row) == width:
                writer.writerow(row + more)
            elif not sets_apart:
                _check_ragged(table, options, line, len(row))
                writer.writerow([*row, *[""] * width][:width])
            elif checked:
                writer.writerow([*[""] * width, text.rstrip("\r\n")])
    columns = (*table.columns, RAGGED_MARK) if more else table.columns
    encoding = table.encoding if encoding == "utf-8" else encoding
    return replace(table, path=mended, encoding=encoding, columns=columns, quote='"', line_end="\n")


def _numbered(source: io.TextIOBase, table: Table) -> Iterator[tuple[int, list[str], str]]:
    """Every row that is not blank, with the number of the line it begins on, and its text."""
    lines: list[str] = []
    reader = reader_of(_remembered(source, lines), table.delimiter, table.quote, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row, "".join(lines)
            lines.clear()
            line = reader.line_num + 1
    except csv.Error as error:
        raise UnreadableData(
            f"{table.label}, line {line}: {error}; check the quotes, or set the option 'quote'", line=line
        ) from None


def _remembered(source: io.TextIOBase, lines: list[str]) -> Iterator[str]:
    for line in source:
        lines.append(line)
        yield line


def _check_ragged(table: Table, options: DelimitedOptions, line: int, fields: int) -> None:
    if options.ragged != "pad":
        raise UnreadableData(
            f"{table.label}, line {line}: the number of fields is {fields}, in the first line it is"
            f" {len(table.columns)}; mend the line, or set the option 'ragged' to 'pad' or 'quarantine'",
            line=line,
        )
