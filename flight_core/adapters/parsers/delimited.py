"""CSV and TSV.

The fast way reads everything as text with Polars and parses the columns as they flow, with types
seen in a sample. Where that fails, or may have gone wrong, the careful way finds out: types over
the whole file, encodings, ragged rows, odd quoting.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq

from flight_core.adapters.parsers.inference import Inference, Reading
from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.options import DelimitedOptions
from flight_core.adapters.parsers.output import RowCounter, write_parquet
from flight_core.adapters.parsers.text import TextFile, as_utf8, encoding_that_fits, in_parallel, line_chunks
from flight_core.domain.errors import LimitExceeded, SchemaMismatch, UnreadableData

if TYPE_CHECKING:
    import _csv

SAMPLE_ROWS = 10_000
MAX_COLUMNS = 10_000
MAX_RECORD_BYTES = 16 << 20

_DIALECT_BYTES = 256 << 10
_DIALECT_ROWS = 200
_DELIMITERS = (",", "\t", ";", "|")
_CHUNK_BYTES = 8 << 20
_VALUE = re.compile(r"\s*|[-+]?[\d.,]+(e[-+]?\d+)?|\d{4}-\d\d-\d\d([T ][\d:.]+\S*)?", re.IGNORECASE)


class _Malformed(Exception):
    """The fast way does not get along with the structure of the file."""


class _Misfit(Exception):
    """A value is not of the type that the sample promised."""


@dataclass(frozen=True, slots=True)
class Table:
    """One UTF-8 file and how it is to be read."""

    path: Path
    label: str
    delimiter: str
    quote: str | None
    header: bool
    columns: tuple[str, ...]
    line_end: str
    row_bytes: float  # on average, in the sample

    def frame(self, types: Mapping[str, type[pl.DataType]] | None = None) -> pl.LazyFrame:
        """Its rows, as text where `types` does not say otherwise: an empty field is null, a quoted
        empty one is not."""
        return pl.scan_csv(
            self.path,
            has_header=False,
            skip_rows=1 if self.header else 0,
            schema=types or dict.fromkeys(self.columns, pl.String),
            separator=self.delimiter,
            quote_char=self.quote,
            eol_char=self.line_end,
            raise_if_empty=False,
            glob=False,
        )


def parse_delimited(
    files: Sequence[TextFile], options: DelimitedOptions, target: Path, scratch: Path, meter: Meter
) -> None:
    """Write the rows of all files to `target`.

    Raises:
        UnreadableData: ragged rows, odd quoting, another encoding; names the line.
        SchemaMismatch: columns of the same name, or that differ between files.
        LimitExceeded: more than 10,000 columns, or a line of more than 16 MiB.
    """
    tables = [_open(file, options, scratch) for file in files]
    _check_columns(tables)
    try:
        _write(tables, options, target, meter)
        if not _fields_are_missing(tables, target):
            return
    except _Malformed:
        pass
    mended = [_mend(table, options, scratch) for table in tables]
    try:
        _write(mended, options, target, meter)
    except _Malformed as error:
        raise UnreadableData(f"{tables[0].label} cannot be read as CSV") from error


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
        for table in tables:
            inference.look(_nulled(table, options).head(SAMPLE_ROWS).collect(engine="streaming"))
        if inference.empty:
            inference.look_at_all(text, inference.empty)
    readings = inference.readings
    with _translated():
        fast = not options.null_values and not _codes_are_possible(tables)
    if not fast:
        yield _Attempt(_typed(text, readings))
    else:
        types = {column: reading.native for column, reading in readings.items()}
        frame = pl.concat([table.frame(types) for table in tables])
        yield _Attempt(_typed(frame, readings, native=True), native=True)
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


# -- finding out how a file is written ---------------------------------------------------------


def _open(file: TextFile, options: DelimitedOptions, scratch: Path) -> Table:
    path = as_utf8(file, scratch)
    sample = _sample(path, file.label)
    if not _is_utf8(sample):
        path = _transcoded(path, file.label, options, scratch)
        sample = _sample(path, file.label)
    text = sample.decode("utf-8-sig", errors="replace")
    delimiter = options.delimiter or _delimiter(text, options.quote)
    rows = _rows(text, delimiter, options.quote)
    header = _is_header(rows[0]) if options.header is None else options.header
    return Table(
        path=path,
        label=file.label,
        delimiter=delimiter,
        quote=options.quote,
        header=header,
        columns=_names(rows[0], file.label, header=header),
        line_end="\r" if "\r" in text and "\n" not in text else "\n",
        row_bytes=len(sample) / max(1, len(text.splitlines())),
    )


def _sample(path: Path, label: str) -> bytes:
    """Whole lines from the beginning of the file."""
    with path.open("rb") as file:
        sample = file.read(_DIALECT_BYTES)
        if not re.search(rb"[\r\n]", sample):
            sample += file.read(MAX_RECORD_BYTES)
        more = file.read(1)
    if not more:
        return sample
    end = max(sample.rfind(b"\n"), sample.rfind(b"\r"))
    if end < 0:
        raise LimitExceeded(
            f"the first line of {label} is longer than {MAX_RECORD_BYTES >> 20} MiB; is it a table?",
            limit=MAX_RECORD_BYTES,
        )
    return sample[: end + 1]


def _transcoded(path: Path, label: str, options: DelimitedOptions, scratch: Path) -> Path:
    encoding = encoding_that_fits(path, label, guess=options.encoding is None)
    return as_utf8(TextFile(path, label, encoding), scratch)


def _is_utf8(sample: bytes) -> bool:
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _rows(text: str, delimiter: str, quote: str | None) -> list[list[str]]:
    """The first rows that are not blank; the last may be cut short."""
    reader = _reader(io.StringIO(text, newline=""), delimiter, quote, strict=False)
    return list(islice((row for row in reader if row), _DIALECT_ROWS))


def _reader(lines: io.TextIOBase, delimiter: str, quote: str | None, *, strict: bool) -> "_csv.Reader":
    csv.field_size_limit(MAX_RECORD_BYTES)
    if quote is None:
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=strict)
    return csv.reader(lines, delimiter=delimiter, quotechar=quote, strict=strict)


def _delimiter(text: str, quote: str | None) -> str:
    """The one that cuts most rows into as many fields as the first, and that more than one."""

    def score(delimiter: str) -> tuple[float, int]:
        rows = _rows(text, delimiter, quote)
        fields = len(rows[0])
        alike = sum(len(row) == fields for row in rows) / len(rows)
        return (alike, fields) if fields > 1 else (0.0, 0)

    return max(_DELIMITERS, key=score)


def _is_header(row: Sequence[str]) -> bool:
    """Not a header: a row of nothing but numbers, dates and blanks."""
    return not all(_VALUE.fullmatch(cell) for cell in row)


def _names(row: Sequence[str], label: str, *, header: bool) -> tuple[str, ...]:
    if len(row) > MAX_COLUMNS:
        raise LimitExceeded(f"{label} has {len(row)} columns, more than {MAX_COLUMNS}", limit=MAX_COLUMNS)
    cells = [cell.strip() for cell in row] if header else [""] * len(row)
    names = tuple(cell or f"column_{number}" for number, cell in enumerate(cells, start=1))
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise SchemaMismatch(
                f"{label} has two columns named '{name[:100]}' (case does not count); rename one",
                column=name[:100],
            )
        seen.add(name.lower())
    return names


def _check_columns(tables: Sequence[Table]) -> None:
    first = tables[0]
    for table in tables[1:]:
        if table.columns != first.columns:
            differing = sorted(set(table.columns) ^ set(first.columns))[:5]
            what = f": {', '.join(differing)}" if differing else ", in another order"
            raise SchemaMismatch(
                f"{table.label} has other columns than {first.label}{what}; ingest them one by one"
            )


# -- the careful way ----------------------------------------------------------------------------


def _fields_are_missing(tables: Sequence[Table], target: Path) -> bool:
    """Whether rows may have been shorter than the first: Polars fills them up with nulls, silently.

    Then the last column holds nulls, and the files hold fewer delimiters than full rows would.
    """
    metadata = pq.read_metadata(target)
    last = metadata.num_columns - 1
    groups = [metadata.row_group(number).column(last) for number in range(metadata.num_row_groups)]
    if not any(group.statistics is None or group.statistics.null_count for group in groups):
        return False
    if last == 0:
        return True  # blank lines are not rows
    rows = metadata.num_rows + sum(table.header for table in tables)
    return _delimiters(tables, target) != rows * last


def _delimiters(tables: Sequence[Table], target: Path) -> int:
    """How many stand between fields. A guess if there are quotes and more than one dialect."""
    delimiters = quotes = 0
    for table in tables:
        with table.path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                delimiters += chunk.count(table.delimiter.encode())
                quotes += chunk.count(table.quote.encode()) if table.quote else 0
    return delimiters - (_quoted_delimiters(tables, target) if quotes else 0)


def _quoted_delimiters(tables: Sequence[Table], target: Path) -> int:
    delimiter = tables[0].delimiter
    in_names = sum(name.count(delimiter) for table in tables if table.header for name in table.columns)
    counts = pl.scan_parquet(target, glob=False).select(
        pl.col(pl.String).str.count_matches(delimiter, literal=True).sum()
    )
    in_rows: int = sum(sum(row) for row in counts.collect(engine="streaming").rows())
    return in_names + in_rows


def _mend(table: Table, options: DelimitedOptions, scratch: Path) -> Table:
    """A copy without blank lines, plainly quoted, every row of the same length.

    Raises:
        UnreadableData: naming the line that is at fault.
    """
    path = _transcoded(table.path, table.label, options, scratch)
    mended = scratch / f"{table.path.name}.mended"
    with path.open(encoding="utf-8-sig", newline="") as source, mended.open("w", newline="") as out:
        writer = csv.writer(out, delimiter=table.delimiter, lineterminator="\n")
        for line, row in _numbered(source, table):
            if len(row) != len(table.columns):
                _check_ragged(table, options, line, len(row))
                row = [*row, *[""] * len(table.columns)][: len(table.columns)]
            writer.writerow(row)
    return replace(table, path=mended, quote='"', line_end="\n")


def _numbered(source: io.TextIOBase, table: Table) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not blank, with the number of the line it begins on."""
    reader = _reader(source, table.delimiter, table.quote, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise UnreadableData(
            f"{table.label}, line {line}: {error}; check the quotes, or set the option 'quote'", line=line
        ) from None


def _check_ragged(table: Table, options: DelimitedOptions, line: int, fields: int) -> None:
    if options.ragged == "error":
        raise UnreadableData(
            f"{table.label}, line {line}: the number of fields is {fields}, in the first line it is"
            f" {len(table.columns)}; mend the line, or set the option 'ragged' to 'pad'",
            line=line,
        )
