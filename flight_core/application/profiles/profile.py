"""Computing column profiles, once for each version, since versions never change."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa

from flight_core.application.access.rights import get_seen, require
from flight_core.application.datasets.find_version import FindVersion
from flight_core.application.maintenance.runs import Step, TellStep, say_nothing
from flight_core.application.maintenance.start import StartMaintenance
from flight_core.application.ports.storage import TableStore
from flight_core.application.profiles.sql import (
    FRACTIONS,
    TEXT_CHARS,
    Bins,
    Profiled,
    bins_of,
    known_of,
    select,
)
from flight_core.application.profiles.version_queries import VersionQueries
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.queries.reads import OpenQuery
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import DatasetName, DatasetVersion
from flight_core.domain.errors import InvalidRequest, TooManyStreams
from flight_core.domain.job import Maintenance, Task
from flight_core.domain.profile import Bin, ColumnProfile, Lengths, Quantile, TopValue
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.profiles import ProfileRepository
from flight_core.domain.versions import VersionName

_QUICK_CELLS = 2_000_000  # takes about half a second
_COLUMNS_AT_ONCE = 32
_CELLS_AT_ONCE = 200_000_000  # in one query, which has a deadline
_SAMPLED_ROWS = 2_000_000  # for quantiles


@dataclass(frozen=True, slots=True)
class VersionProfile:
    version: DatasetVersion
    columns: Sequence[ColumnProfile]


@dataclass(frozen=True, slots=True)
class ComputeProfile:
    """The stored profile of a version; if there is none, computes and stores it.

    Values that are exact in the file statistics are not computed. The rest takes two or three scans, and one
    or two more for each column with top values. The queries run one after another, each with a stream of its
    own, in an isolated engine process with bounded memory that sees only this dataset.

    Raises as `OpenQuery`, and Cancelled.
    """

    store: TableStore
    profiles: ProfileRepository
    open_query: OpenQuery

    def __call__(
        self,
        name: DatasetName,
        version: DatasetVersion,
        *,
        report: TellStep = say_nothing,
        stop: Cancellation | None = None,
        patient: bool = False,
    ) -> Sequence[ColumnProfile]:
        """`patient`: wait until a stream is free, however long that takes."""
        known = self.profiles.find(version.ref)
        if known is not None:
            return known
        statistics = self.store.statistics(version.ref)
        columns = [
            Profiled(field, place, known_of(told))
            for place, (field, told) in enumerate(zip(version.schema, statistics, strict=True))
        ]
        read = VersionQueries(name, version, self.open_query, stop or Cancellation(), patient=patient)
        found: list[ColumnProfile] = []
        for column in _Computation(read, version.row_count).profiles(columns):
            found.append(column)
            report(Step(len(found), len(columns)))
        self.profiles.put(version.ref, found)
        return found


@dataclass(frozen=True, slots=True)
class ProfileDataset:
    """The profile of a version's columns, or of the given ones, if it is stored or quick to compute;
    otherwise the job that computes it.

    Raises:
        InvalidRequest: there is no such column.
        and as `FindVersion` and `ComputeProfile`.
    """

    datasets: DatasetRepository
    find: FindVersion
    profiles: ProfileRepository
    compute: ComputeProfile
    start: StartMaintenance

    def __call__(
        self,
        name: DatasetName,
        at: VersionName | None = None,
        *,
        actor: Actor,
        columns: Sequence[str] = (),
    ) -> VersionProfile | Maintenance:
        require(actor, Scope.READ)
        dataset = get_seen(self.datasets, name, actor)
        version = self.find(dataset, at)
        wanted = _wanted(version.schema, columns, name)
        known = self.profiles.find(version.ref)
        if known is None and is_quick(version):
            with suppress(TooManyStreams):  # a job can wait for a stream
                known = self.compute(dataset.name, version)
        if known is None:
            options = {"version": version.ref.version}
            return self.start.queue(dataset.name, Task.PROFILE, actor=actor, options=options)
        return VersionProfile(version, [column for column in known if column.name in wanted])


def is_quick(version: DatasetVersion) -> bool:
    """Whether the version is so small that a request can wait until all its values were read."""
    return version.row_count * len(version.schema) <= _QUICK_CELLS


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
    read: VersionQueries
    row_count: int

    def profiles(self, columns: Sequence[Profiled]) -> Iterator[ColumnProfile]:
        at_once = max(1, min(_COLUMNS_AT_ONCE, _CELLS_AT_ONCE // max(1, self.row_count)))
        for start in range(0, len(columns), at_once):
            yield from self._some(columns[start : start + at_once])

    def _some(self, columns: Sequence[Profiled]) -> Iterator[ColumnProfile]:
        found = {column.key: dict(column.known) for column in columns}
        bins: dict[str, Bins] = {}

        def ask(some: Sequence[Profiled], part: Callable[[Profiled], str]) -> None:
            for key, more in self._aggregates(some, part).items():
                found[key] |= more

        ask(columns, lambda column: column.first_pass(self._share(column)))
        for column in columns:
            if found[column.key].get("low") is not None:
                bins[column.key] = bins_of(column, found[column.key]["low"], found[column.key]["high"])
        binned = [column for column in columns if column.key in bins]
        late = [column for column in binned if column.scale is None]
        ask(late, lambda column: column.moments(bins[column.key].scale))
        ask(binned, lambda column: column.histogram(bins[column.key]))
        for column in columns:
            own = found[column.key]
            yield _profile(column, own, bins.get(column.key), self._top(column, own["distinct"]))

    def _share(self, column: Profiled) -> float:
        """The share of the rows from which quantiles are estimated."""
        values = self.row_count - column.known["nulls"] if "nulls" in column.known else 0
        return _SAMPLED_ROWS / values if values > _SAMPLED_ROWS else 1.0

    def _aggregates(
        self, columns: Sequence[Profiled], part: Callable[[Profiled], str]
    ) -> Mapping[str, dict[str, Any]]:
        if not columns:
            return {}
        rows = select(self.read.table, columns)
        (row,) = self.read.rows(f"SELECT {', '.join(map(part, columns))} FROM ({rows})")
        return row

    def _top(self, column: Profiled, distinct: int) -> Sequence[TopValue]:
        if not column.has_top:
            return ()
        rows = self.read.rows(column.top_values(self.read.table, distinct))
        return [TopValue(_cut(row["value"]) or "", row["count"]) for row in rows]


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
        quantiles=[] if bins is None else list(_quantiles(column, found["quantiles"] or (), bins)),
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
    for fraction, value in zip(FRACTIONS, values, strict=False):
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
