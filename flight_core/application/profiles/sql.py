"""The SQL of column profiles. Columns are renamed by position, so that their names cannot collide with
ours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

from flight_core.application.ports.storage import ColumnStatistics
from flight_core.domain.arrow import is_binary, is_text
from flight_core.domain.profile import Point
from flight_core.domain.query import quoted

FRACTIONS = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 20
TOP = 10
TEXT_CHARS = 200
_EXACT_GROUPS = 100_000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (columns have no zone)


@dataclass(frozen=True, slots=True)
class Profiled:
    """A column, with the SQL for each value of its profile that is not `known` already."""

    field: "pa.Field[pa.DataType]"
    place: int
    known: Mapping[str, Any]

    @property
    def key(self) -> str:
        return f"c{self.place}"

    @property
    def is_integer(self) -> bool:
        return pat.is_integer(self.field.type)

    @property
    def is_moment(self) -> bool:
        type = self.field.type
        return pat.is_date(type) or pat.is_timestamp(type) or pat.is_time(type)

    @property
    def has_top(self) -> bool:
        return is_text(self.field.type) or self.is_integer or pat.is_boolean(self.field.type)

    @property
    def number(self) -> str | None:
        """Its finite values as DOUBLE, others as NULL; moments as microseconds."""
        type = self.field.type
        if pat.is_floating(type):
            return f"CASE WHEN isfinite({self.key}) THEN CAST({self.key} AS DOUBLE) END"
        if self.is_integer or pat.is_decimal(type):
            return f"CAST({self.key} AS DOUBLE)"
        if pat.is_time(type):
            return f"CAST(epoch_us({self.key}) AS DOUBLE)"
        if pat.is_date(type):
            days = f"CAST(CAST({self.key} AS DATE) - DATE '1970-01-01' AS DOUBLE)"
            return f"CASE WHEN isfinite({self.key}) THEN {days} * 86400e6 END"
        if pat.is_timestamp(type):
            return f"CASE WHEN isfinite({self.key}) THEN CAST(epoch_us({self.key}) AS DOUBLE) END"
        return None

    @property
    def scale(self) -> float | None:
        """The divisor that keeps sums of the values finite; None: the bounds have to be computed first."""
        if "low" in self.known:
            return scale_of(self.known["low"], self.known["high"])
        return None if pat.is_float64(self.field.type) else 1.0

    def first_pass(self, share: float) -> str:
        """The aggregates of the first scan. Quantiles are estimated from about that `share` of the rows."""
        key, floating = self.key, pat.is_floating(self.field.type)
        fields = {"nulls": f"count(*) - count({key})", "distinct": f"approx_count_distinct({key})"}
        if floating:
            fields["nans"] = f"count(*) FILTER (WHERE isnan({key}))"
        if self.number or is_text(self.field.type) or pat.is_boolean(self.field.type):
            only = f" FILTER (WHERE NOT isnan({key}))" if floating else ""
            for name, function in (("minimum", "min"), ("maximum", "max")):
                fields[name] = f"left(CAST({function}({key}){only} AS VARCHAR), {TEXT_CHARS + 1})"
        if self.number:
            fields["low"] = f"min({self.number})"
            fields["high"] = f"max({self.number})"
            some = f" FILTER (WHERE random() < {share})" if share < 1 else ""
            fields["quantiles"] = f"approx_quantile({self.number}, {list(FRACTIONS)}){some}"
            fields |= {} if self.scale is None else self._moments(self.scale)
        if is_text(self.field.type) or is_binary(self.field.type):
            length = f"{'length' if is_text(self.field.type) else 'octet_length'}({key})"
            fields |= {"shortest": f"min({length})", "longest": f"max({length})", "length": f"avg({length})"}
        return _struct(self.key, {name: sql for name, sql in fields.items() if name not in self.known})

    def moments(self, scale: float) -> str:
        """Mean and deviation, in units of `scale`."""
        return _struct(self.key, self._moments(scale))

    def _moments(self, scale: float) -> dict[str, str]:
        value = self._scaled(scale)
        return {"mean": f"avg({value})", "deviation": f"stddev_samp({value})"}

    def _scaled(self, scale: float) -> str:
        return f"(({self.number}) / {_double(scale)})"

    def histogram(self, bins: "Bins") -> str:
        """The bins that are not empty. Use a separate query: together with other aggregates DuckDB needs ten
        times the memory."""
        value = self._scaled(bins.scale)
        low, width = bins.low / bins.scale, bins.high / bins.scale - bins.low / bins.scale
        place = f"floor(({value} - {_double(low)}) / {_double(width)} * {bins.count})" if width else "0"
        bin = f"CAST(greatest(0, least({place}, {bins.count - 1})) AS INTEGER)"
        return _struct(self.key, {"bins": f"histogram({bin}) FILTER (WHERE {value} IS NOT NULL)"})

    def top_values(self, table: str, distinct: int) -> str:
        """The most frequent values, as `value` and `count`. With very many values the candidates are
        estimates."""
        rows = select(table, [self])
        among = ""
        if self.top_is_estimated(distinct):
            among = f" AND {self.key} IN (SELECT unnest(approx_top_k({self.key}, {TOP})) FROM ({rows}))"
        return (
            f"SELECT left(CAST({self.key} AS VARCHAR), {TEXT_CHARS + 1}) AS value, count(*) AS count"
            f" FROM ({rows}) WHERE {self.key} IS NOT NULL{among}"
            f" GROUP BY {self.key} ORDER BY count DESC, {self.key} LIMIT {TOP}"
        )

    def top_is_estimated(self, distinct: int) -> bool:
        return distinct > _EXACT_GROUPS

    def point(self, value: float | None) -> Point | None:
        """The value that a number of `number` stands for; None if Python cannot represent it."""
        if value is None or not math.isfinite(value):
            return None
        if not self.is_moment:
            return value
        try:
            moment = _EPOCH + timedelta(microseconds=round(value))
        except OverflowError:
            return None
        if pat.is_time(self.field.type):
            return moment.time().isoformat()
        if pat.is_timestamp(self.field.type) and self.field.type.tz:
            return moment.replace(tzinfo=UTC).isoformat(sep=" ")
        return moment.isoformat(sep=" ")


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of a histogram: equal parts of the column's range."""

    low: float
    high: float
    count: int

    @property
    def scale(self) -> float:
        return scale_of(self.low, self.high)

    def edge(self, place: int) -> float:
        part = place / self.count
        return self.high if place == self.count else self.low * (1 - part) + self.high * part


def scale_of(low: float, high: float) -> float:
    largest = max(abs(low), abs(high))
    return largest if largest > 1e100 else 1.0


def known_of(statistics: ColumnStatistics) -> Mapping[str, Any]:
    """The exact values in the file statistics, with the names of `Profiled.first_pass`."""
    least, most = statistics.minimum, statistics.maximum
    found: dict[str, Any] = {"nulls": statistics.null_count, "minimum": _text(least), "maximum": _text(most)}
    low, high = _number(least), _number(most)
    if low is not None and high is not None:
        found |= {"low": low, "high": high}
    return {name: value for name, value in found.items() if value is not None}


def _text(value: object) -> str | None:
    """The value as SQL writes it; None if that is not obvious."""
    match value:
        case bool():
            return str(value).lower()
        case int() | str():
            return str(value)
        case datetime():
            return None
        case date():
            return value.isoformat()
    return None


def _number(value: object) -> float | None:
    """The value as `Profiled.number`, if it is finite."""
    match value:
        case bool():
            return None
        case int() | float() | Decimal():
            return float(value) if math.isfinite(value) else None
        case datetime():
            utc = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
            return float((utc - _EPOCH) // timedelta(microseconds=1))
        case date():
            return (value - _EPOCH.date()).days * 86400e6
        case time():
            return float((datetime.combine(_EPOCH, value) - _EPOCH) // timedelta(microseconds=1))
    return None


def bins_of(column: Profiled, low: float, high: float) -> Bins:
    if column.is_integer and high - low < BINS:
        return Bins(low, high + 1, int(high - low) + 1)  # one for each value
    return Bins(low, high, BINS if low < high else 1)


def select(table: str, columns: Sequence[Profiled]) -> str:
    named = ", ".join(f"{quoted(column.field.name)} AS {column.key}" for column in columns)
    return f"SELECT {named} FROM {table}"


def _struct(name: str, fields: dict[str, str]) -> str:
    made = ", ".join(f"{quoted(key)} := {value}" for key, value in fields.items())
    return f"struct_pack({made}) AS {name}"


def _double(value: float) -> str:
    return f"CAST('{value!r}' AS DOUBLE)"
