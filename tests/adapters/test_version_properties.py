"""Whatever happens to a dataset, its kept versions keep their rows, and nothing else stays on disk."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight_core.adapters.catalog.datasets import SqlDatasetRepository
from flight_core.adapters.catalog.derivations import SqlDerivationRepository
from flight_core.adapters.catalog.open_reads import SqlOpenReadRepository
from flight_core.adapters.catalog.versions import SqlVersionRepository
from flight_core.adapters.engines.duckdb.row_finder import DuckDbRowFinder
from flight_core.adapters.storage import compaction
from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.application.datasets.find_version import FindVersion
from flight_core.application.datasets.versions import RemoveTag, RestoreVersion, SetRetention, TagVersion
from flight_core.application.maintenance.vacuum import VacuumDataset, VacuumOptions
from flight_core.application.ports.clock import new_id
from flight_core.application.writes.open_write import OpenWrite, Publish
from flight_core.application.writes.rows import NewRows, TakeRows, WriteDataset
from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, VersionRef, WriteMode, WriteRule
from flight_core.domain.errors import VersionExpired
from flight_core.domain.versions import RetentionPolicy, TagName
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from tests.catalogs import open_catalog

NAME = DatasetName("d")
GRACE = timedelta(hours=1)

Place = st.floats(0, 0.999)  # of a version among those there are
Steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 3)),
        st.tuples(st.just("append"), st.integers(0, 3)),
        st.tuples(st.just("replace"), st.integers(0, 3)),
        st.tuples(st.just("upsert"), st.integers(0, 4), st.integers(0, 2)),
        st.tuples(st.just("compact"), st.booleans()),
        st.tuples(st.just("restore"), Place),
        st.tuples(st.just("tag"), Place, st.sampled_from("ab")),
        st.tuples(st.just("untag"), st.sampled_from("ab")),
        st.tuples(st.just("retain"), st.none() | st.integers(1, 3), st.none() | st.integers(0, 5)),
        st.tuples(st.just("wait"), st.integers(1, 90)),
        st.tuples(st.just("vacuum")),
        st.tuples(st.just("vacuum")),
    ),
    max_size=25,
)


class World:
    """A dataset with everything that acts on it, and what its versions must hold."""

    def __init__(self, folder: Path) -> None:
        self.now = datetime.now(UTC)
        self.database = open_catalog(folder)
        options = DuckDbOptions(None, (folder,), folder / "temp", memory_bytes=1 << 30)
        finder = DuckDbRowFinder(options)
        self.store = DeltaTableStore(folder / "lake", clock=self.clock, row_finder=finder)
        self.datasets = SqlDatasetRepository(self.database)
        self.versions = SqlVersionRepository(self.database)
        self.publish = Publish(self.datasets, self.clock)
        find = FindVersion(self.store, self.versions)
        self._write = WriteDataset(TakeRows(OpenWrite(self.datasets, self.store, self.publish, new_id)))
        self._restore = RestoreVersion(
            self.datasets, self.store, find, self.publish, SqlDerivationRepository(self.database)
        )
        self._tag = TagVersion(self.datasets, self.versions, find, self.clock)
        self._untag = RemoveTag(self.datasets, self.versions, self.clock)
        self._retain = SetRetention(self.datasets, self.versions, self.clock)
        open_reads = SqlOpenReadRepository(self.database)
        options = VacuumOptions(grace=GRACE, orphan_grace=timedelta(0))
        self._vacuum = VacuumDataset(
            self.datasets, self.store, self.versions, open_reads, self.clock, options
        )
        self.rows: list[list[int]] = []  # by version
        self.tags: dict[str, int] = {}
        self.policy = RetentionPolicy()
        self._next = 0
        self.append(2)
        self.folder = folder / "lake" / self.dataset.id

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=10)
        return self.now

    @property
    def dataset(self):
        return self.datasets.get(NAME)

    def readable(self) -> list[int]:
        entry = self.datasets.lake_state().datasets[NAME.key]
        found = []
        for number in range(len(self.rows)):
            try:
                entry.require_kept(number)
            except VersionExpired:
                continue
            found.append(number)
        return found

    def _some(self, place: float) -> int:
        readable = self.readable()
        return readable[int(place * len(readable))]

    def append(self, count: int) -> None:
        self._put(count, WriteMode.APPEND, self.rows[-1] if self.rows else [])

    def replace(self, count: int) -> None:
        self._put(count, WriteMode.REPLACE, [])

    def upsert(self, old: int, count: int) -> None:
        again = self.rows[-1][1 : 1 + old]
        kept = [n for n in self.rows[-1] if n not in again]
        self._put(count, WriteMode.UPSERT, kept, again=again, keys=["n"])

    def _put(self, count: int, mode: WriteMode, before: list[int], *, again=(), keys=()) -> None:
        new = [*again, *range(self._next, self._next + count)]
        self._next += count
        table = pa.table({"n": pa.array(new, pa.int64())})
        rows = NewRows(table.schema, table.to_batches())
        self._write(NAME, rows, WriteRule(mode, tuple(keys)), actor=LOCAL)
        self.rows.append([*before, *new])

    def compact(self, everything: bool) -> None:
        made = self.store.compact(self.dataset.current.ref, lambda _: None, everything=everything)
        if made is not None:
            self.publish(NAME, made)
            self.rows.append(self.rows[-1])

    def restore(self, place: float) -> None:
        number = self._some(place)
        made = self._restore(NAME, number, actor=LOCAL)
        if number != len(self.rows) - 1:
            self.rows.append(self.rows[number])
        assert made.ref.version == len(self.rows) - 1

    def tag(self, place: float, name: str) -> None:
        self.tags[name] = self._some(place)
        self._tag(NAME, TagName(name), self.tags[name], actor=LOCAL)

    def untag(self, name: str) -> None:
        if self.tags.pop(name, None) is not None:
            self._untag(NAME, TagName(name), actor=LOCAL)

    def retain(self, keep_versions: int | None, keep_minutes: int | None) -> None:
        keep_s = None if keep_minutes is None else keep_minutes * 60
        self.policy = RetentionPolicy(keep_versions, keep_s)
        self._retain(NAME, self.policy, actor=LOCAL)

    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    def vacuum(self) -> None:
        due = self._vacuum(NAME, actor=LOCAL, dry_run=True)
        expired_before = self.versions.expired(self.dataset.id)
        done = self._vacuum(NAME, actor=LOCAL)
        assert (due.deleted, due.removed) == (done.deleted, done.removed)
        assert all(self.now - expired_before[number] > GRACE for number in done.deleted)
        first = self.policy.first_kept(self.store.history(self.dataset.id), self.now)
        stay = {len(self.rows) - 1, *self.tags.values()}
        if not done.expired:  # the policy may have kept fewer before
            assert stay <= set(self.readable())
        else:
            assert {*stay, *range(first, len(self.rows))} <= set(self.readable())
        self.check_files()

    def check_rows(self) -> None:
        gone = self.store.vacuumed(self.dataset.id)
        assert not set(self.readable()) & set(gone)
        for number, rows in enumerate(self.rows):
            ref = VersionRef(self.dataset.id, number)
            if number in gone:
                try:
                    self.store.files(ref)
                except VersionExpired:
                    continue
                raise AssertionError(f"version {number} has lost files and is offered")
            assert self._read(list(self.store.files(ref).uris)) == rows
            delta = pa.table(DeltaTable(self.folder, version=number).scan())["n"].to_pylist()
            assert sorted(delta) == sorted(rows)

    @staticmethod
    def _read(uris: list[str]) -> list[int]:
        if not uris:
            return []
        with duckdb.connect() as connection:
            return [n for (n,) in connection.sql(f"SELECT n FROM read_parquet({uris!r})").fetchall()]

    def check_files(self) -> None:
        gone = self.store.vacuumed(self.dataset.id)
        refs = [VersionRef(self.dataset.id, n) for n in range(len(self.rows)) if n not in gone]
        needed = {uri for ref in refs for uri in self.store.files(ref).uris}
        there = {str(path) for path in self.folder.rglob("*.parquet") if "_delta_log" not in path.parts}
        assert there == needed


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(Steps)
def test_kept_versions_keep_their_rows_and_nothing_else_stays(steps):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "SMALL_ROWS", 3)  # so that large files stand between small ones
        world = World(Path(folder))
        try:
            for name, *arguments in steps:
                getattr(world, name)(*arguments)
            world.check_rows()
            world.wait(120)
            world.vacuum()
            world.wait(120)
            world.vacuum()
            world.check_rows()
        finally:
            world.database.close()
