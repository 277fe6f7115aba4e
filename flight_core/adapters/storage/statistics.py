"""Column statistics from Parquet footers, as far as these are exact."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from flight_core.adapters.storage.types import AnyType
from flight_core.application.ports.storage import ColumnStatistics

# Other writers than pyarrow may truncate the bounds of long strings without saying so, but not shorter ones.
_CUT_BYTES = 60
_OUR_WRITER = "parquet-cpp-arrow"
_INDEXED_COLUMNS = 32  # as Delta's own writers do


@dataclass(slots=True)
class ColumnSummary:
    """A column of one or more files. The bounds are None if there are no values, or if not `exact`."""

    null_count: int | None = 0
    minimum: Any = None
    maximum: Any = None
    exact: bool = True
    size_bytes: int = 0

    def add(self, other: "ColumnSummary") -> None:
        self.size_bytes += other.size_bytes
        known = self.null_count is not None and other.null_count is not None
        self.null_count = self.null_count + other.null_count if known else None  # type: ignore[operator]
        self.exact = self.exact and other.exact
        self.minimum = _least(self.minimum, other.minimum) if self.exact else None
        self.maximum = _most(self.maximum, other.maximum) if self.exact else None


@dataclass(frozen=True, slots=True)
class FileSummary:
    row_count: int
    columns: dict[str, ColumnSummary] = field(default_factory=dict)


def summarize(path: Path, schema: pa.Schema) -> FileSummary:
    """The footer statistics of the columns of `schema`. The file may lack some, or have narrower types."""
    footer = pq.read_metadata(path)
    trusted = footer.created_by.startswith(_OUR_WRITER)
    summary = FileSummary(footer.num_rows)
    places = _places(footer.schema.to_arrow_schema())
    for column in schema:
        summary.columns[column.name] = total = ColumnSummary()
        if column.name.lower() not in places:
            total.null_count = footer.num_rows
            continue
        leaves = places[column.name.lower()]
        for group in range(footer.num_row_groups):
            chunks = [footer.row_group(group).column(leaf) for leaf in leaves]
            total.add(_chunk(chunks, column.type, trusted=trusted))
    return summary


def summarize_all(paths: Sequence[Path], schema: pa.Schema) -> FileSummary:
    """The footer statistics of all files together."""
    whole = FileSummary(0, {column.name: ColumnSummary() for column in schema})
    for path in paths:
        for name, summary in summarize(path, schema).columns.items():
            whole.columns[name].add(summary)
    return whole


def may_share_values(left: FileSummary, right: FileSummary) -> bool:
    """Whether a row of the left side may have the same values in all columns as one of the right side."""
    return not any(_are_apart(column, right.columns[name]) for name, column in left.columns.items())


def _are_apart(left: ColumnSummary, right: ColumnSummary) -> bool:
    """Whether the bounds exclude a common value. Bounds say nothing about nulls and NaN."""
    bounds = (left.minimum, left.maximum, right.minimum, right.maximum)
    if (
        left.null_count != 0
        or right.null_count != 0
        or None in bounds
        or any(isinstance(bound, float) for bound in bounds)
    ):
        return False
    return bool(left.maximum < right.minimum or right.maximum < left.minimum)


def _places(schema: pa.Schema) -> Mapping[str, range]:
    """The indexes of each column's leaf columns in a Parquet file, by its name in lower case."""
    places, start = {}, 0
    for column in schema:
        places[column.name.lower()] = range(start, start := start + _leaves(column.type))
    return places


def column_statistics(
    schema: pa.Schema, summaries: Iterable[FileSummary], nan_columns: frozenset[str]
) -> Sequence[ColumnStatistics]:
    totals = {column.name: ColumnSummary() for column in schema}
    for summary in summaries:
        for name, column_summary in summary.columns.items():
            totals[name].add(column_summary)
    return [
        ColumnStatistics(
            name=column.name,
            type=str(column.type),
            nullable=column.nullable,
            null_count=total.null_count,
            minimum=None if column.name in nan_columns else total.minimum,
            maximum=None if column.name in nan_columns else total.maximum,
            size_bytes=total.size_bytes,
        )
        for column, total in ((column, totals[column.name]) for column in schema)
    ]


def delta_statistics(summary: FileSummary, nan_columns: frozenset[str]) -> str:
    """The `stats` of an `add` action: those values that JSON represents exactly."""
    columns = dict(list(summary.columns.items())[:_INDEXED_COLUMNS])
    bounded = {
        name: (_json(column.minimum), _json(column.maximum))
        for name, column in columns.items()
        if name not in nan_columns
    }
    return json.dumps(
        {
            "numRecords": summary.row_count,
            "minValues": {name: low for name, (low, high) in bounded.items() if None not in (low, high)},
            "maxValues": {name: high for name, (low, high) in bounded.items() if None not in (low, high)},
            "nullCount": {
                name: column.null_count for name, column in columns.items() if column.null_count is not None
            },
        }
    )


def _leaves(type: AnyType) -> int:
    """The number of leaf columns that the type has in Parquet."""
    if not pat.is_nested(type):
        return 1
    return sum(_leaves(type.field(index).type) for index in range(type.num_fields))


def _chunk(chunks: Sequence[Any], type: AnyType, *, trusted: bool) -> ColumnSummary:
    """The summary of one column in one row group."""
    size_bytes = sum(chunk.total_compressed_size for chunk in chunks)
    statistics = chunks[0].statistics
    if pat.is_nested(type) or statistics is None:
        return ColumnSummary(null_count=None, exact=False, size_bytes=size_bytes)
    null_count = statistics.null_count if statistics.has_null_count else None
    if null_count == chunks[0].num_values:
        return ColumnSummary(null_count=null_count, size_bytes=size_bytes)
    bounds = _bounds(statistics, type, trusted=trusted)
    if bounds is None:
        return ColumnSummary(null_count=null_count, exact=False, size_bytes=size_bytes)
    return ColumnSummary(null_count, *bounds, size_bytes=size_bytes)


def _bounds(statistics: Any, type: AnyType, *, trusted: bool) -> tuple[Any, Any] | None:
    if not statistics.has_min_max or pat.is_binary(type):
        return None
    try:
        low, high = statistics.min, statistics.max
    except (OverflowError, ValueError):  # out of range for Python's datetime
        return None
    if isinstance(low, str) and not trusted and max(len(low.encode()), len(high.encode())) >= _CUT_BYTES:
        return None
    if pat.is_floating(type):
        return low + 0.0, high + 0.0  # Parquet stores a minimum of 0.0 as -0.0
    if pat.is_decimal(type):
        return Decimal(low), Decimal(high)
    return low, high


def _least(left: Any, right: Any) -> Any:
    return right if left is None else left if right is None else min(left, right)


def _most(left: Any, right: Any) -> Any:
    return right if left is None else left if right is None else max(left, right)


def _json(value: object) -> int | float | str | None:
    """The value as the Delta protocol writes it in JSON; None if that would not be exact."""
    match value:
        case bool() | datetime():
            return None
        case float() if not math.isfinite(value):
            return None
        case int() | float() | str():
            return value
        case date():
            return value.isoformat()
        case _:
            return None
