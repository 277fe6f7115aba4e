"""Repairing CSV that Polars rejects or misreads: ragged rows, blank lines, unusual quoting."""

import csv
import mmap
import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from flight_core.adapters.parsers.formats.dialects import MAX_RECORD_BYTES, Table, reader_of, transcoded
from flight_core.adapters.parsers.options import DelimitedOptions
from flight_core.adapters.parsers.output import Target
from flight_core.adapters.parsers.text import end_of_lines, fresh_file
from flight_core.domain.contract import RAGGED_MARK
from flight_core.domain.errors import LimitExceeded, UnreadableData

_CHUNK_BYTES = 1 << 20
_MAX_MIB = MAX_RECORD_BYTES >> 20
# Where quotes are wrong, so many times as much is read again as was right before, and one record.
_PATIENCE = 4


def stays_open(table: Table) -> bool:
    """Whether no line seems to end outside of quotes for longer than a record may be. Polars would read
    all that into memory."""
    size_bytes = table.path.stat().st_size
    if table.quote is None or size_bytes <= MAX_RECORD_BYTES:
        return False
    quote = table.quote.encode()
    with table.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        start = text.find(quote)
        open_bytes, inside = 0, False
        while 0 <= start < size_bytes and open_bytes <= MAX_RECORD_BYTES:
            chunk = text[start : start + _CHUNK_BYTES]
            open_bytes = 0 if end_of_lines(chunk, quote, inside=inside) else open_bytes + len(chunk)
            inside ^= chunk.count(quote) % 2 == 1
            start += len(chunk)
    return open_bytes > MAX_RECORD_BYTES


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
    """Whether rows of the tables are shorter than the first, if `rows` rows with these `values` were read."""
    last = len(tables[0].columns) - 1
    if last == 0:
        return True  # blank lines are not rows
    return _delimiters(tables, values) != (rows + sum(table.header for table in tables)) * last


def _rows_if_missing(target: Target) -> int | None:
    """The number of rows read; None if the last column has no nulls."""
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
    those, and of lines with a quote that does not end its field; they are left out where nobody checks.

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
        for line, row, text in _numbered(source, table, sets_apart=sets_apart):
            if row is not None and len(row) == width:
                writer.writerow(row + more)
            elif row is not None and not sets_apart:
                _check_ragged(table, options, line, len(row))
                writer.writerow([*row, *[""] * width][:width])
            elif checked:
                writer.writerow([*[""] * width, text.rstrip("\r\n")])
    columns = (*table.columns, RAGGED_MARK) if more else table.columns
    encoding = table.encoding if encoding == "utf-8" else encoding
    return replace(
        table,
        path=mended,
        encoding=encoding,
        columns=columns,
        blank_lines=0,
        spaced=False,
        mixed=False,
        quote='"',
        line_end="\n",
    )


def _numbered(
    source: Iterable[str], table: Table, *, sets_apart: bool
) -> Iterator[tuple[int, list[str] | None, str]]:
    """Every row that is not blank, with the number of the line it begins on, and its text.

    With `sets_apart` None stands for a line from which on quotes are wrong; the next one may be a row.
    """
    lines = _Lines(source)
    line = 1
    while True:
        reader = reader_of(lines, table.delimiter, table.quote, strict=True, spaced=table.spaced)
        begin = line
        try:
            for row in reader:
                text = "".join(lines.read)
                if len(row) == len(table.columns) or text.strip():
                    yield line, row, text
                lines.settle()
                line = begin + reader.line_num
        except csv.Error:
            broken = _broken(table, line, lines.read)
            if not sets_apart or isinstance(broken, LimitExceeded):
                raise broken from None
            yield line, None, lines.read[0]
            lines.go_back()
            if lines.wasted > _PATIENCE * lines.settled + MAX_RECORD_BYTES:
                raise UnreadableData(
                    f"{table.label}, line {line}: up to here too many quotes are not closed; mend them, or"
                    " set the option 'quote' to null where quotes are characters",
                    line=line,
                ) from None
            line += 1
        else:
            return


class _Lines:
    """Lines of text. `read` are those of the row that is being read; those of one row have to fit a record.

    `settled` is the length of all rows so far, `wasted` of what had to be read again.
    """

    def __init__(self, source: Iterable[str]) -> None:
        self._source = iter(source)
        self._again: deque[str] = deque()
        self.read: list[str] = []
        self._length = 0
        self.settled = self.wasted = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._source)
        self.read.append(line)
        self._length += len(line)
        if self._length > MAX_RECORD_BYTES:
            raise csv.Error("the row does not end")
        return line

    def settle(self) -> None:
        """The lines read so far are a complete row."""
        self.settled += self._length
        self._length = 0
        self.read.clear()

    def go_back(self) -> None:
        """Go back to the line after the first of those that were read."""
        self._again.extendleft(reversed(self.read[1:]))
        self.settled += len(self.read[0])
        self.wasted += self._length - len(self.read[0])
        self._length = 0
        self.read.clear()


def _broken(table: Table, line: int, lines: Sequence[str]) -> UnreadableData | LimitExceeded:
    """The failure for a row that begins on that line and does not end within `lines`."""
    text = "".join(lines)
    place, closed = _last_quote(text, table.delimiter, table.quote or "")
    if place is None:
        return LimitExceeded(
            f"{table.label}, line {line}: a row is longer than {_MAX_MIB} MiB; is it a table?",
            limit=MAX_RECORD_BYTES,
        )
    ends = list(accumulate(map(len, lines)))
    opens = line + bisect_right(ends, place)
    what = f"is not closed within {_MAX_MIB} MiB" if len(text) > MAX_RECORD_BYTES else "is not closed"
    if closed is not None:
        what = f"is closed in line {line + bisect_right(ends, closed)}, where text follows"
    return UnreadableData(
        f"{table.label}, line {opens}: the quote that begins a field here {what}; mend it, set the option"
        " 'quote' to null where quotes are characters, or 'ragged' to 'quarantine' to leave such lines out",
        line=opens,
    )


def _last_quote(text: str, delimiter: str, quote: str) -> tuple[int | None, int | None]:
    """The position of a quote that begins a field without ending it, and of the quote that closes it."""
    mark, end = re.escape(quote), rf"(?=[{re.escape(delimiter)}\r\n]|$)"
    quoted = re.compile(rf"{mark}[^{mark}]*+(?:{mark}{mark}[^{mark}]*+)*+{mark}")
    plain = re.compile(rf"(?!{mark})[^{re.escape(delimiter)}\r\n]*+{end}")
    place = 0
    while place <= len(text):
        field = quoted.match(text, place) or plain.match(text, place)
        if field is None:
            return place, None
        rest = field.end()
        if rest < len(text) and text[rest] not in (delimiter, "\r", "\n"):
            return place, rest
        place = rest + 1
    return None, None


def _check_ragged(table: Table, options: DelimitedOptions, line: int, fields: int) -> None:
    if options.ragged != "pad":
        later = ", or 'skip_rows' if the table begins further down" if fields > len(table.columns) else ""
        raise UnreadableData(
            f"{table.label}, line {line}: the number of fields is {fields}, in the first line it is"
            f" {len(table.columns)}; mend the line, or set the option 'ragged' to 'pad' or 'quarantine'"
            f"{later}",
            line=line,
        )
