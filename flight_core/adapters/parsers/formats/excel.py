"""Excel and LibreOffice workbooks: one sheet becomes a table."""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import zip_longest
from pathlib import Path

import fastexcel
import polars as pl

from flight_core.adapters.parsers.alignment import aligned, common_columns
from flight_core.adapters.parsers.column_types.floats import WHOLE
from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.options import ExcelOptions
from flight_core.adapters.parsers.output import RowCounter, Target, write_parquet
from flight_core.adapters.parsers.unpacking import Unpacked, UnpackLimits, check_members
from flight_core.domain.errors import InvalidOption, SchemaMismatch, UnreadableData

_UNNAMED = "__UNNAMED__"
_FIRST_DAY = date(1899, 12, 31)
_MIDNIGHT = " 00:00:00"


@dataclass(frozen=True, slots=True)
class _Sheet:
    label: str
    name: str
    frame: pl.DataFrame


def parse_excel(
    files: Sequence[Unpacked], options: ExcelOptions, target: Target, limits: UnpackLimits, meter: Meter
) -> ExcelOptions:
    """Write the rows of one sheet of each file to `target`; the options, with the sheet that was chosen.

    Raises:
        UnreadableData: damaged, encrypted, or without rows.
        InvalidOption: there is no such sheet, or several and none was chosen; with their names.
        SchemaMismatch: sheets of other columns than the first.
        LimitExceeded: more comes out than is allowed.
    """
    sheets = []
    for file in files:
        meter.working_on(file.label)
        _check_size(file, limits)
        with _damage_of(file):
            sheets.append(_read(file.path, file.label, options, target))
    names = [sheet.frame.columns for sheet in sheets]
    columns = common_columns([sheet.label for sheet in sheets], names, options.columns)
    frame = pl.concat(
        [
            target.marked(aligned(sheet.frame.lazy(), sheet.frame.columns, columns), sheet.label)
            for sheet in sheets
        ],
        how="vertical_relaxed",
    )
    rows = sum(sheet.frame.height for sheet in sheets)
    target.row_bytes = sum(sheet.frame.estimated_size() for sheet in sheets) / max(1, rows)
    write_parquet(frame, target, RowCounter(meter, bytes_per_row=meter.total_bytes / max(1, rows)))
    return options.model_copy(update={"sheet": sheets[0].name})


def _check_size(file: Unpacked, limits: UnpackLimits) -> None:
    if zipfile.is_zipfile(file.path):
        with zipfile.ZipFile(file.path) as archive:
            check_members(archive, file.label, file.path.stat().st_size, limits)


def _read(path: Path, label: str, options: ExcelOptions, target: Target) -> _Sheet:
    book = fastexcel.read_excel(str(path))
    name = _chosen(book, label, options)
    load = partial(
        book.load_sheet,
        name,
        header_row=options.header_row - 1 if options.header else None,
        schema_sample_rows=None,
        skip_whitespace_tail_rows=True,
    )
    try:
        frame = load().to_polars()
    except fastexcel.UnsupportedColumnTypeCombinationError:
        load = partial(load, dtypes=dict.fromkeys(_of_no_type(load), "string"))
        frame = load().to_polars()
    floats = [name for name, type in frame.schema.items() if type == pl.Float64]
    texts = [name for name in floats if (given := target.types.get(name)) and given.type == pl.String]
    if texts:  # as they are shown: 1 and 1.5, not 1.0 and 1.5
        texts += load.keywords.get("dtypes", ())
        frame = load(dtypes=dict.fromkeys(texts, "string")).to_polars()
    if not frame.width:
        raise UnreadableData(f"the sheet '{name}' of {label} is empty")
    names: Sequence[str | None] = ()
    if options.header:
        header = load(header_row=None, skip_rows=options.header_row - 1, n_rows=1, dtypes="string")
        names = header.to_polars().row(0)
    return _Sheet(label, name, _named(_plain(frame), names, label))


def _of_no_type(load: Callable[..., fastexcel.ExcelSheet]) -> list[str]:
    """The columns whose cells have no common type."""
    mixed = []
    for column in load(dtypes="string").available_columns():
        try:
            load(use_columns=[column.index]).to_polars()
        except fastexcel.UnsupportedColumnTypeCombinationError:
            mixed.append(column.name)
    return mixed


def _named(frame: pl.DataFrame, header: Sequence[str | None], label: str) -> pl.DataFrame:
    """Convert header cells that are not text to names."""
    names = []
    for number, (column, cell) in enumerate(zip_longest(frame.columns, header), start=1):
        name = (cell or "") if column.startswith(_UNNAMED) else column
        names.append(name.strip().removesuffix(_MIDNIGHT) or f"column_{number}")
    twins = [name for name in names if names.count(name) > 1]
    if twins:
        raise SchemaMismatch(f"{label} has two columns named '{twins[0]}'; rename one", column=twins[0])
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _chosen(book: fastexcel.ExcelReader, label: str, options: ExcelOptions) -> str:
    names = book.sheet_names
    match options.sheet:
        case str(name) if name in names:
            return name
        case int(number) if 0 < number <= len(names):
            return names[number - 1]
        case None:
            filled = [name for name in names if book.load_sheet(name, header_row=None, n_rows=1).width]
            if len(filled) == 1:
                return filled[0]
            if not filled:
                raise UnreadableData(f"{label} has no sheet with anything in it")
            names = filled
    raise InvalidOption(
        f"set the option 'sheet' to a sheet of {label}: {', '.join(repr(name) for name in names)}",
        option="sheet",
        sheets=names,
    )


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Whole numbers, which a workbook keeps as floats, as integers; times of day, which it keeps as moments
    of its first day, as text."""
    floats = [name for name, type in frame.schema.items() if type == pl.Float64 and _is_whole(frame[name])]
    moments = [name for name, type in frame.schema.items() if isinstance(type, pl.Datetime)]
    nothing = [name for name, type in frame.schema.items() if type == pl.Null]
    times = [name for name in moments if bool((frame[name].dt.date() == _FIRST_DAY).all())]
    return frame.with_columns(
        pl.col(floats).cast(pl.Int64),
        pl.col([name for name in moments if name not in times]).cast(pl.Datetime("us")),
        pl.col(times).dt.to_string("%H:%M:%S%.f"),
        pl.col(nothing).cast(pl.String),
    )


def _is_whole(column: pl.Series) -> bool:
    values = column.drop_nulls()
    return bool(values.len()) and bool(((values.floor() == values) & (values.abs() < WHOLE)).all())


@contextmanager
def _damage_of(file: Unpacked) -> Iterator[None]:
    try:
        yield
    except fastexcel.FastExcelError as error:
        raise UnreadableData(
            f"{file.label} cannot be read as a workbook: it is damaged, encrypted, or something else"
        ) from error
