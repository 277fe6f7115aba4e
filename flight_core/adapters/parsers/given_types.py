"""Types that the request gives to columns, instead of those that would be found out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from flight_core.adapters.parsers.contract_types import Coercion, coercion, type_of
from flight_core.domain.errors import InvalidContract, SchemaMismatch, UnreadableData

_ALIASES = {"boolean": "bool", "utf8": "string", "text": "string", "integer": "int64"}
_MOMENT = re.compile(r"timestamp(?:\[(s|ms|us|ns)(?:, ?(?:tz=)?(UTC))?\])?")
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_MICROSECONDS = 1_000_000
_ROW = "_row"
_SHOWN_COLUMNS = 20


@dataclass(frozen=True, slots=True)
class GivenType:
    """`format` is how dates and times are written; `unit` what numbers count since 1970 that become times."""

    name: str
    type: pl.DataType
    format: str | None = None
    unit: str = "us"


def given_type(name: str, format: str | None = None) -> GivenType:
    """
    Raises:
        ValueError: it is not the name of a type, or one without a format has a format.
    """
    name = _ALIASES.get(name, name)
    match = _MOMENT.fullmatch(name)
    if match is not None:
        return GivenType(name, pl.Datetime("us", match[2]), format, match[1] or "us")
    try:
        type = type_of(name)
    except InvalidContract as error:
        raise ValueError(error.message.replace("a type of contracts", "the name of a type")) from None
    if format is not None and type != pl.Date:
        raise ValueError("a format is for dates and timestamps")
    return GivenType(name, type, format)


@dataclass(frozen=True, slots=True)
class GivenTypes:
    """Columns of the data, by name, that are to have another type."""

    by_column: Mapping[str, GivenType]

    def check_columns(self, columns: Sequence[str]) -> None:
        """
        Raises:
            SchemaMismatch: there is no such column.
        """
        for name in self.by_column:
            if name not in columns:
                raise SchemaMismatch(
                    f"the option 'types' names a column '{name[:100]}' that is not there; there are:"
                    f" {', '.join(columns[:_SHOWN_COLUMNS])}",
                    column=name[:100],
                )

    def coercions(self, schema: Mapping[str, pl.DataType]) -> dict[str, Coercion]:
        """
        Raises:
            SchemaMismatch: a column is not there, or cannot become what it is to be.
        """
        self.check_columns(list(schema))
        found = {}
        for name, given in self.by_column.items():
            way = _coercion(name, schema[name], given)
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
        return Coercion(raw, moments.dt.replace_time_zone(given.type.time_zone))
    return coercion(name, source, given.type, given.format)


def coerced(frame: pl.LazyFrame, ways: Mapping[str, Coercion]) -> pl.LazyFrame:
    return frame.with_columns(way.typed.alias(name) for name, way in ways.items())


def check_fit(batch: pl.DataFrame, ways: Mapping[str, Coercion]) -> bool:
    """Whether every value of the batch can have its type."""
    return not any(batch.select(way.failed.any().alias(name) for name, way in ways.items()).row(0))


def misfit(frame: pl.LazyFrame, ways: Mapping[str, Coercion], types: GivenTypes) -> UnreadableData:
    """Where the first value is that does not fit."""
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
        f" {types.by_column[name].name}, which the option 'types' gives it",
        column=name,
        row=row,
        value=str(values[number])[:80],
    )
