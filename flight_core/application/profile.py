"""What the columns of a version are like, found out once: versions never change."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa

from flight_core.application.find_version import FindVersion
from flight_core.application.granted import get_seen
from flight_core.application.profile_sql import (
    FRACTIONS,
    TEXT_CHARS,
    Bins,
    Profiled,
    bins_of,
    select,
)
from flight_core.application.queries import OpenQuery, require
from flight_core.domain.access import LOCAL, Actor, Scope
from flight_core.domain.dataset import DatasetName, DatasetVersion
from flight_core.domain.errors import InvalidRequest
from flight_core.domain.profile import Bin, ColumnProfile, Lengths, Quantile, TopValue
from flight_core.domain.query import Statement, quoted
from flight_core.domain.repositories import DatasetRepository, ProfileRepository
from flight_core.domain.versions import VersionName

_COLUMNS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class VersionProfile:
    version: DatasetVersion
    columns: Sequence[ColumnProfile]


@dataclass(frozen=True, slots=True)
class ProfileDataset:
    """The profile of a version's columns, or of those that are named; computed at the first ask.

    That reads the version twice, and once or twice more for each column with top values, one query after
    another, each of which takes a stream. Our own SQL does it, in the engine of the server itself, whoever
    asks. Memory is bounded by the engine's limit.

    Raises:
        InvalidRequest: it has no such column.
        and as `FindVersion` and `OpenQuery`.
    """

    datasets: DatasetRepository
    find: FindVersion
    profiles: ProfileRepository
    open_query: OpenQuery

    def __call__(
        self,
        name: DatasetName,
        at: VersionName | None = None,
        *,
        actor: Actor,
        door: str,
        columns: Sequence[str] = (),
    ) -> VersionProfile:
        require(actor, Scope.READ)
        dataset = get_seen(self.datasets, name, actor)
        version = self.find(dataset, at)
        wanted = _wanted(version.schema, columns, name)
        known = self.profiles.find(version.ref)
        if known is None:
            known = list(_Computation(dataset.name, version, self.open_query, door).columns())
            self.profiles.put(version.ref, known)
        return VersionProfile(version, [column for column in known if column.name in wanted])


def _wanted(schema: pa.Schema, columns: Sequence[str], name: DatasetName) -> frozenset[str]:
    by_key = {column.lower(): column for column in schema.names}
    for column in columns:
        if column.lower() not in by_key:
            raise InvalidRequest(
                f"'{column[:100]}' is no column of '{name}'; it has {', '.join(schema.names[:20]) or 'none'}",
                column=column[:100],
            )
    return frozenset(by_key[column.lower()] for column in columns) or frozenset(schema.names)


@dataclass(frozen=True, slots=True)
class _Computation:
    name: DatasetName
    version: DatasetVersion
    open_query: OpenQuery
    door: str

    @property
    def table(self) -> str:
        return f"datasets.{quoted(self.name.value)}"

    def columns(self) -> Iterator[ColumnProfile]:
        columns = [Profiled(field, place) for place, field in enumerate(self.version.schema)]
        for start in range(0, len(columns), _COLUMNS_AT_ONCE):
            some = columns[start : start + _COLUMNS_AT_ONCE]
            first = self._aggregates(some, [column.first_pass() for column in some])
            bins = {
                column.key: bins_of(column, found["low"], found["high"])
                for column in some
                if (found := first[column.key]).get("low") is not None
            }
            binned = [column for column in some if column.key in bins]
            second = self._aggregates(binned, [column.second_pass(bins[column.key]) for column in binned])
            for column in some:
                found = first[column.key] | second.get(column.key, {})
                yield _profile(column, found, bins.get(column.key), self._top(column, found["distinct"]))

    def _aggregates(self, columns: Sequence[Profiled], parts: Sequence[str]) -> Mapping[str, dict[str, Any]]:
        if not columns:
            return {}
        (row,) = self._rows(f"SELECT {', '.join(parts)} FROM ({select(self.table, columns)})")
        return row

    def _top(self, column: Profiled, distinct: int) -> Sequence[TopValue]:
        if not column.has_top:
            return ()
        rows = self._rows(column.top_values(self.table, distinct))
        return [TopValue(_cut(row["value"]) or "", row["count"]) for row in rows]

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        pins = {self.name.value: self.version.ref}
        with self.open_query(Statement(sql), actor=LOCAL, door=self.door, pins=pins) as query:
            return pa.Table.from_batches(list(query), query.schema).to_pylist()


def _profile(
    column: Profiled, found: Mapping[str, Any], bins: Bins | None, top: Sequence[TopValue]
) -> ColumnProfile:
    numeric = bins is not None and not column.is_moment
    return ColumnProfile(
        name=column.field.name,
        type=str(column.field.type),
        nulls=found["nulls"],
        distinct=found["distinct"],
        nans=found.get("nans"),
        minimum=_cut(found.get("minimum")),
        maximum=_cut(found.get("maximum")),
        mean=None if bins is None else column.point(_times(found["mean"], bins.scale)),
        deviation=_times(found["deviation"], bins.scale) if numeric and bins else None,
        quantiles=[] if bins is None else list(_quantiles(column, found["quantiles"], bins)),
        histogram=[] if bins is None else _histogram(column, dict(found["bins"]), bins),
        top=top,
        top_estimated=column.has_top and column.top_is_estimated(found["distinct"]),
        lengths=Lengths(found["shortest"], found["longest"], found["length"])
        if found.get("longest") is not None
        else None,
    )


def _times(value: float | None, scale: float) -> float | None:
    product = math.nan if value is None else value * scale
    return product if math.isfinite(product) else None


def _quantiles(column: Profiled, values: Sequence[float], bins: Bins) -> Iterator[Quantile]:
    for fraction, value in zip(FRACTIONS, values, strict=True):
        point = column.point(min(max(value, bins.low), bins.high))
        if point is not None:
            yield Quantile(fraction, point)


def _histogram(column: Profiled, counts: Mapping[int, int], bins: Bins) -> Sequence[Bin]:
    edges = [column.point(bins.edge(place)) for place in range(bins.count + 1)]
    return [
        Bin(start, end, counts.get(place, 0))
        for place, (start, end) in enumerate(pairwise(edges))
        if start is not None and end is not None
    ]


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= TEXT_CHARS else f"{text[:TEXT_CHARS]}…"
