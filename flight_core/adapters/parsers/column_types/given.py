"""Types that the request or the dataset gives to columns, so that they need not be detected."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import available_timezones

import polars as pl
import pyarrow as pa

from flight_core.adapters.parsers.column_types.contract import Coercion, check_format, coercion, type_of
from flight_core.adapters.parsers.column_types.nested import nested_coercion, nested_type
from flight_core.domain.errors import InvalidContract, SchemaMismatch, UnreadableData

_ALIASES = {"boolean": "bool", "utf8": "string", "text": "string", "integer": "int64"}
_MOMENT = re.compile(r"timestamp(?:\[(s|ms|us|ns)(?:, ?(?:tz=)?([A-Za-z][\w+/-]*))?\])?")
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_MICROSECONDS = 1_000_000
_ROW = "_row"
_READ = "\x1fread "  # before the names of columns as they were read
_FAILED = "\x1ffailed"
_SHOWN_COLUMNS = 20
_ASKED = "the option 'types' gives it"
_STORED = "it has in the dataset; mend it, or say with the option 'types' how the column is to be read"


@dataclass(frozen=True, slots=True)
class GivenType:
    """`format` is the format of dates and times; `unit` is the unit of numbers since 1970 that become
    timestamps."""

    name: str
    type: pl.DataType
    format: str | None = None
    unit: str = "us"
    origin: str = _ASKED


def given_type(name: str, format: str | None = None) -> GivenType:
    """
    Raises:
        ValueError: it is not the name of a type, one without a format has a format, or nothing can be read
            by that.
    """
    if format is not None:
        check_format(format)
    name = _ALIASES.get(name, name)
    match = _MOMENT.fullmatch(name)
    if match is not None:
        return GivenType(name, _moment(match), format, match[1] or "us")
    type = nested_type(name, _simple) or _simple(name)
    if format is not None and type != pl.Date:
        raise ValueError("a format is for dates and timestamps")
    return GivenType(name, type, format)


def stored_types(schema: pa.Schema) -> dict[str, GivenType]:
    """Those of a dataset's columns, by their names in lower case. What is nested or binary has no form of
    text, so that files have to bring it as it is."""
    types = pl.DataFrame(schema.empty_table()).schema
    return {
        name.lower(): GivenType(str(schema.field(name).type), type, origin=_STORED)
        for name, type in types.items()
        if not type.is_nested() and type != pl.Binary
    }


def _moment(match: re.Match[str]) -> pl.Datetime:
    zone = match[2]
    if zone is not None and zone not in available_timezones():
        raise ValueError(f"'{zone[:60]}' is not a time zone; there are UTC, Europe/Berlin and so on")
    return pl.Datetime("us", zone)


def _simple(name: str) -> pl.DataType:
    """Of what is not nested."""
    name = _ALIASES.get(name, name)
    match = _MOMENT.fullmatch(name)
    if match is not None:
        return _moment(match)
    try:
        return type_of(name)
    except InvalidContract as error:
        told = error.message.replace("a type of contracts", "the name of a type")
        raise ValueError(f"{told}, list<int64> or struct<a: int64, b: string>") from None


@dataclass(frozen=True, slots=True)
class GivenTypes:
    """Columns of the data that are to have another type: those that were asked for, by name, and those that
    the dataset has, by name in lower case. What was asked for wins."""

    asked: Mapping[str, GivenType] = field(default_factory=dict)
    stored: Mapping[str, GivenType] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.asked or self.stored)

    def of(self, columns: Sequence[str]) -> dict[str, GivenType]:
        """
        Raises:
            SchemaMismatch: a column was asked for that is not there.
        """
        self._check_columns(columns)
        return {name: given for name in columns if (given := self.get(name)) is not None}

    def get(self, column: str) -> GivenType | None:
        return self.asked.get(column) or self.stored.get(column.lower())

    def _check_columns(self, columns: Sequence[str]) -> None:
        for name in self.asked:
            if name not in columns:
                raise SchemaMismatch(
                    f"the option 'types' names a column '{name[:100]}' that is not there; there are:"
                    f" {', '.join(columns[:_SHOWN_COLUMNS])}",
                    column=name[:100],
                )

    def coercions(
        self, schema: Mapping[str, pl.DataType], contracted: Collection[str] = ()
    ) -> dict[str, Coercion]:
        """How columns become what they are to be, those that are not already. A contract says more of the
        columns that it gives a type than the dataset does.

        Raises:
            SchemaMismatch: a column is not there, or cannot become what was asked for.
        """
        found = {}
        for name, given in self.of(list(schema)).items():
            asked = name in self.asked
            if schema[name] == given.type or (name in contracted and not asked):
                continue
            way = _coercion(name, schema[name], given)
            if way is None and not asked:
                continue  # whoever stores it says so
            if way is None:
                raise SchemaMismatch(
                    f"column '{name}' is {schema[name]}, which cannot be made {given.name}", column=name
                )
            found[name] = way
        return found


def _coercion(name: str, source: pl.DataType, given: GivenType) -> Coercion | None:
    if isinstance(given.type, pl.Datetime) and source.is_numeric():
        raw = pl.col(name)
        counted = (raw.cast(pl.Float64) if source.is_float() else raw.cast(pl.Int128)) * _MICROSECONDS
        moments = (counted // _PER_SECOND[given.unit]).cast(pl.Int64, strict=False).cast(pl.Datetime("us"))
        zoned = moments.dt.replace_time_zone("UTC").dt.convert_time_zone(given.type.time_zone or "UTC")
        return Coercion(raw, zoned if given.type.time_zone else moments)
    if isinstance(given.type, pl.Datetime) and given.type.time_zone not in (None, "UTC"):
        return _in_zone(name, source, given)
    if given.type.is_nested():
        return nested_coercion(name, source, given.type)
    return coercion(name, source, given.type, given.format)


def _in_zone(name: str, source: pl.DataType, given: GivenType) -> Coercion | None:
    """Times that say no zone of their own are of this one; hours that it skips or repeats do not fit."""
    assert isinstance(given.type, pl.Datetime)
    zone = given.type.time_zone or "UTC"
    instants = coercion(name, source, pl.Datetime("us", "UTC"), given.format)
    clocks = coercion(name, source, pl.Datetime("us"), given.format)
    if instants is None or clocks is None:
        return None
    converted = instants.typed.dt.convert_time_zone(zone)
    if getattr(source, "time_zone", None) or "%z" in (given.format or "").replace("#", "").replace(":", ""):
        return Coercion(instants.raw, converted)
    local = clocks.typed.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    return Coercion(instants.raw, pl.when(clocks.typed.is_null()).then(converted).otherwise(local))


def coerced(frame: pl.LazyFrame, ways: Mapping[str, Coercion]) -> pl.LazyFrame:
    return frame.with_columns(way.typed.alias(name) for name, way in ways.items())


def quickly_coerced(frame: pl.LazyFrame, ways: Mapping[str, Coercion]) -> pl.LazyFrame:
    """The input for `converted`: simple conversions, and the original values."""
    read = [pl.col(name).alias(_READ + name) for name in ways]
    quick = [(way.typed if way.quick is None else way.quick).alias(name) for name, way in ways.items()]
    return frame.with_columns(*quick, *read)


def converted(batch: pl.DataFrame, ways: Mapping[str, Coercion]) -> pl.DataFrame | None:
    """With the types that columns are to have; None if some value cannot have its own.

    `batch` is of what `quickly_coerced` gives."""
    columns = {column.name: column for column in batch.get_columns()}
    for name, way in ways.items():
        read = columns.pop(_READ + name).alias(name)
        if columns[name].null_count() > read.null_count():
            typed, failed = read.to_frame().select(way.typed.alias(name), way.failed.any().alias(_FAILED))
            if failed[0]:
                return None
            columns[name] = typed
    return pl.DataFrame(columns)


def misfit(
    frame: pl.LazyFrame, ways: Mapping[str, Coercion], types: Mapping[str, GivenType]
) -> UnreadableData:
    """The failure for the first value that does not fit."""
    columns = list(ways)
    failed = pl.any_horizontal(way.failed for way in ways.values())
    flags = [ways[name].failed.alias(f"{_ROW}_{number}") for number, name in enumerate(columns)]
    first = frame.with_row_index(_ROW, offset=1).filter(failed).head(1)
    found = first.select(_ROW, *columns, *flags).collect(engine="streaming").rows()[0]
    row, values, wrong = found[0], found[1 : len(columns) + 1], found[len(columns) + 1 :]
    number = wrong.index(True)
    name = columns[number]
    return UnreadableData(
        f"column '{name}', row {row}: {values[number]!r:.80} is not of the type"
        f" {types[name].name}, which {types[name].origin}",
        column=name,
        row=row,
        value=str(values[number])[:80],
    )
