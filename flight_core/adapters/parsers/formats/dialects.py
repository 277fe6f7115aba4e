"""Detecting the dialect of a CSV file: delimiter, quotes, header, line ends, encoding."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from flight_core.adapters.parsers.options import DelimitedOptions
from flight_core.adapters.parsers.text import TextFile, as_utf8, encoding_that_fits, without_lines
from flight_core.domain.errors import LimitExceeded, SchemaMismatch, UnreadableData

if TYPE_CHECKING:
    import _csv

MAX_COLUMNS = 10_000
MAX_RECORD_BYTES = 16 << 20

_SAMPLE_BYTES = 256 << 10
_SAMPLE_ROWS = 200
_DELIMITERS = (",", "\t", ";", "|")
_VALUE = re.compile(r"\s*|[-+]?[\d.,]+(e[-+]?\d+)?|\d{4}-\d\d-\d\d([T ][\d:.]+\S*)?", re.IGNORECASE)


Type = pl.DataType | type[pl.DataType]


# How spreadsheets are told the delimiter, in a line before the table.
_TOLD_DELIMITER = re.compile(r'"?sep=(.)"?(?:\r\n|\r|\n)', re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"[-+]?\d+,(\d+)")
_POINT_NUMBER = re.compile(r"[-+]?\d+\.\d+")
_POINT_FRACTION = re.compile(r"[-+]?(?![1-9]\d{0,2}\.\d{3}$)\d+\.\d+")  # not 2.500, which may be 2500


@dataclass(frozen=True, slots=True)
class Table:
    """A UTF-8 file, and how to read it."""

    path: Path
    label: str
    encoding: str  # of what it was made from
    delimiter: str
    quote: str | None
    header: bool
    columns: tuple[str, ...]
    line_end: str
    decimal: str
    row_bytes: float  # on average, in the sample
    blank_lines: int = 0  # before the first row
    spaced: bool = False  # after each delimiter there is a space that is no part of the value
    mixed: bool = False  # some lines end in a carriage return alone, and not all

    def frame(self, types: Mapping[str, Type] | None = None) -> pl.LazyFrame:
        """Its rows, as text where `types` does not say otherwise: an empty field is null, a quoted
        empty one is not."""
        return pl.scan_csv(
            self.path,
            has_header=False,
            skip_rows=self.blank_lines + self.header,
            schema={column: (types or {}).get(column, pl.String) for column in self.columns},
            separator=self.delimiter,
            quote_char=self.quote,
            eol_char=self.line_end,
            raise_if_empty=False,
            decimal_comma=self.decimal == ",",
            glob=False,
        )


def open_table(file: TextFile, options: DelimitedOptions, scratch: Path) -> Table:
    path, encoding = as_utf8(file, scratch), file.encoding
    if options.skip_rows:
        path = without_lines(path, options.skip_rows, scratch)
    sample = _sample(path, file.label)
    if not _is_utf8(sample):
        path, encoding = transcoded(path, file.label, options, scratch)
        sample = _sample(path, file.label)
    text = sample.decode("utf-8-sig", errors="replace")
    told = _TOLD_DELIMITER.match(text)
    if told is not None:
        path, text = without_lines(path, 1, scratch), text[told.end() :]
    if not text.strip("\r\n"):
        raise UnreadableData(f"{file.label} has nothing where its table should begin")
    delimiter = options.delimiter or (told[1] if told else _delimiter(text, options.quote))
    spaced = delimiter != " " and 0 < text.count(delimiter) == text.count(f"{delimiter} ")
    rows = _rows(text, delimiter, options.quote, spaced=spaced)
    line_end = "\r" if "\r" in text and "\n" not in text else "\n"
    header = _is_header(rows[0]) if options.header is None else options.header
    return Table(
        path=path,
        label=file.label,
        encoding=encoding,
        delimiter=delimiter,
        quote=options.quote,
        header=header,
        columns=_names(rows[0], file.label, header=header),
        decimal=options.decimal or ("." if options.thousands == "," else _decimal(rows, delimiter)),
        line_end=line_end,
        row_bytes=len(sample) / max(1, len(text.splitlines())),
        blank_lines=text[: -len(text.lstrip("\r\n"))].count(line_end),
        spaced=spaced,
        mixed=line_end == "\n" and _returns(text, options.quote),
    )


def used_options(tables: Sequence[Table], options: DelimitedOptions) -> DelimitedOptions:
    """`options`, completed by what was detected."""
    table = tables[0]
    found: dict[str, object] = {
        "delimiter": table.delimiter,
        "header": table.header,
        "encoding": next((each.encoding for each in tables if each.encoding != "utf-8"), "utf-8"),
    }
    if table.decimal != ".":
        found["decimal"] = table.decimal
    return options.model_copy(update=found)


def _sample(path: Path, label: str) -> bytes:
    """Whole lines from the beginning of the file."""
    with path.open("rb") as file:
        sample = file.read(_SAMPLE_BYTES)
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


def transcoded(path: Path, label: str, options: DelimitedOptions, scratch: Path) -> tuple[Path, str]:
    """A UTF-8 copy of the file, and the encoding of the original."""
    encoding = encoding_that_fits(path, label, guess=options.encoding is None)
    return as_utf8(TextFile(path, label, encoding), scratch), encoding


def _is_utf8(sample: bytes) -> bool:
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _rows(text: str, delimiter: str, quote: str | None, *, spaced: bool = False) -> list[list[str]]:
    """The first rows that are not blank. The last one may be incomplete."""
    reader = reader_of(io.StringIO(text, newline=""), delimiter, quote, strict=False, spaced=spaced)
    return list(islice((row for row in reader if row), _SAMPLE_ROWS))


def reader_of(
    lines: Iterable[str], delimiter: str, quote: str | None, *, strict: bool, spaced: bool
) -> "_csv.Reader":
    csv.field_size_limit(MAX_RECORD_BYTES)
    return csv.reader(
        lines,
        delimiter=delimiter,
        quotechar=quote,
        quoting=csv.QUOTE_NONE if quote is None else csv.QUOTE_MINIMAL,
        skipinitialspace=spaced,
        strict=strict,
    )


def _returns(text: str, quote: str | None) -> bool:
    """Whether lines outside of quotes end with a single carriage return."""
    if quote is not None:
        mark = re.escape(quote)
        text = re.sub(f"{mark}[^{mark}]*{mark}", "", text)
    return re.search(r"\r(?!\n)", text) is not None


def _delimiter(text: str, quote: str | None) -> str:
    """The delimiter that splits most rows into as many fields as the first one, at least two."""

    def score(delimiter: str) -> tuple[float, int]:
        rows = _rows(text, delimiter, quote)
        fields = len(rows[0])
        alike = sum(len(row) == fields for row in rows) / len(rows)
        return (alike, fields) if fields > 1 else (0.0, 0)

    return max(_DELIMITERS, key=score)


def _decimal(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    """A comma where some numbers have one that cannot part thousands, and none has a point. Between
    semicolons, which countries with decimal commas have, points may part thousands."""
    cells = {cell.strip() for row in rows for cell in row}
    commas = [match[1] for match in map(_COMMA_NUMBER.fullmatch, cells) if match]
    point = _POINT_FRACTION if delimiter == ";" else _POINT_NUMBER
    points = any(map(point.fullmatch, cells))
    return "," if any(len(digits) != len("000") for digits in commas) and not points else "."


def _is_header(row: Sequence[str]) -> bool:
    """Whether the row is a header, which does not only consist of numbers, dates and blanks."""
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
                f"{label} has two columns named '{name[:100]}' (case does not count); rename one, or leave"
                " the names out: set the options 'header' to false and 'skip_rows' to 1",
                column=name[:100],
            )
        seen.add(name.lower())
    return names
