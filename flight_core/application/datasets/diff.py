"""Comparing two versions of a dataset."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from flight_core.application.access.rights import get_seen, require
from flight_core.application.datasets.diff_sql import DiffPlan, SchemaChanges, diff_plan
from flight_core.application.datasets.find_version import FindVersion
from flight_core.application.queries.reads import OpenQuery
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import DatasetName, DatasetVersion
from flight_core.domain.errors import InvalidRequest
from flight_core.domain.query import Statement
from flight_core.domain.repositories.contracts import ContractRepository
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.versions import VersionName


@dataclass(frozen=True, slots=True)
class RowChanges:
    """The numbers of rows. `changed`, `unchanged` and `by_column` (changed rows by column) need a key:
    without one, a changed row counts as removed and added."""

    added: int
    removed: int
    changed: int | None = None
    unchanged: int | None = None
    by_column: Mapping[str, int] | None = None

    @property
    def any(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """`sample` has the columns of `DiffPlan.rows`."""

    before: DatasetVersion
    after: DatasetVersion
    key: Sequence[str]
    columns: SchemaChanges
    rows: RowChanges
    sample: pa.Table


@dataclass(frozen=True, slots=True)
class DiffVersions:
    """Compare two versions of a dataset: their columns, and their rows by `key`, or as multisets without one.

    Only the columns of both versions are compared. In keys, null equals null. If `key` is None, the unique
    key of the dataset's contract is used, if both versions have these columns and they are unique in both.

    Raises:
        InvalidRequest: the key is not a column of both versions, or not unique.
        and as `FindVersion` and `OpenQuery`.
    """

    datasets: DatasetRepository
    find: FindVersion
    open_query: OpenQuery
    contracts: ContractRepository

    def __call__(
        self,
        name: DatasetName,
        before: VersionName,
        after: VersionName | None = None,
        *,
        actor: Actor,
        door: str,
        key: Sequence[str] | None = None,
        sample_rows: int = 100,
    ) -> VersionDiff:
        plan = self.plan(name, before, after, actor=actor, door=door, key=key)
        if key:
            self._require_unique(plan, actor, door)
        counted = self._table(plan.counts, actor, door).to_pylist()[0]
        sample = self._table(f"{plan.rows} ORDER BY ALL LIMIT {sample_rows}", actor, door)
        return VersionDiff(plan.before, plan.after, plan.key, plan.columns, _changes(plan, counted), sample)

    def plan(
        self,
        name: DatasetName,
        before: VersionName,
        after: VersionName | None = None,
        *,
        actor: Actor,
        door: str,
        key: Sequence[str] | None = None,
    ) -> DiffPlan:
        require(actor, Scope.READ)
        dataset = get_seen(self.datasets, name, actor)
        old, new = self.find(dataset, before), self.find(dataset, after)
        if key is not None:
            return diff_plan(dataset.name, old, new, key)
        for unique in self._unique_keys(dataset.name):
            if _has(old.schema, unique) and _has(new.schema, unique):
                plan = diff_plan(dataset.name, old, new, unique)
                if not any(self._twice(plan, actor, door)):
                    return plan
        return diff_plan(dataset.name, old, new, ())

    def _unique_keys(self, name: DatasetName) -> Iterator[Sequence[str]]:
        stored = self.contracts.find(name)
        return (unique.columns for unique in (() if stored is None else stored.contract.unique))

    def _require_unique(self, plan: DiffPlan, actor: Actor, door: str) -> None:
        for version, twice in zip((plan.before, plan.after), self._twice(plan, actor, door), strict=True):
            if twice:
                raise InvalidRequest(
                    f"{twice:,} values of the key ({', '.join(plan.key)}) are those of more than one"
                    f" row of version {version.ref.version}; add columns to it, or compare without a key",
                    key=list(plan.key),
                )

    def _twice(self, plan: DiffPlan, actor: Actor, door: str) -> Sequence[int]:
        """The number of duplicate keys in each of the versions."""
        assert plan.duplicates is not None
        return [row["twice"] for row in self._table(plan.duplicates, actor, door).to_pylist()]

    def _table(self, sql: str, actor: Actor, door: str) -> pa.Table:
        with self.open_query(Statement(sql), actor=actor, door=door) as query:
            return pa.Table.from_batches(list(query), query.schema)


def _has(schema: pa.Schema, columns: Sequence[str]) -> bool:
    return {column.lower() for column in columns} <= {name.lower() for name in schema.names}


def _changes(plan: DiffPlan, counted: Mapping[str, int]) -> RowChanges:
    if not plan.key:
        return RowChanges(counted["added"], counted["removed"])
    by_column = {column: counted[f"c{place}"] for place, column in enumerate(plan.compared)}
    return RowChanges(
        counted["added"],
        counted["removed"],
        counted["changed"],
        counted["both"] - counted["changed"],
        {column: rows for column, rows in by_column.items() if rows},
    )
