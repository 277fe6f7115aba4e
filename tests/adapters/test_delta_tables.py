"""What is special about tables in Delta's log: what other readers see, commits that meet while they run."""

import json
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from flight_core.adapters.storage.commit import Committing
from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.domain.dataset import SchemaPolicy, WriteMode, WriteRule
from flight_core.domain.errors import CommitConflict, Unsupported
from tests.contracts.table_stores import delete, delta_store, keyed, numbers, pairs, write

ADD, WIDEN = SchemaPolicy.ADD, SchemaPolicy.WIDEN
REPLACE, UPSERT, PARTITIONS = WriteMode.REPLACE, WriteMode.UPSERT, WriteMode.REPLACE_PARTITIONS
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    return delta_store(tmp_path)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "lake" / "d1"


@pytest.fixture
def connection():
    with duckdb.connect() as connection:
        yield connection


def compact(store, version, **options):
    return store.compact(version.ref, lambda rows: None, **options)


def test_others_read_what_was_compacted_ordered_restored_and_vacuumed(store, folder):
    versions = [write(store, [3]), write(store, [1]), write(store, [2])]
    versions.append(compact(store, versions[-1]))
    versions.append(write(store, [4]))
    ordered = pa.table({"n": pa.array([1, 2, 3, 4], pa.int64())}).to_batches()
    versions.append(compact(store, versions[-1], rows=ordered))
    write(store, pa.table({"other": ["x"]}), REPLACE)
    versions.append(store.restore(versions[1].ref))
    for version in versions:
        assert by_deltalake(folder, version) == sorted(numbers(store, version))
    store.vacuum("d1", range(5), before=LONG_AGO)
    assert by_deltalake(folder, versions[5]) == [1, 2, 3, 4]
    assert by_deltalake(folder, versions[6]) == [1, 3]
    last = write(store, [5])
    assert by_deltalake(folder, last) == [1, 3, 5]


def test_a_table_that_lost_all_its_rows_stays_one_for_others(store, folder):
    delete(store, write(store, keyed(1, 2)), lambda row: True)
    write(store, keyed(3))
    assert DeltaTable(folder).version() == 2


def test_a_sweep_takes_files_that_were_renamed_and_never_committed(store, folder):
    version = write(store, [1])
    half_committed = folder / ("0" * 32)
    half_committed.mkdir()
    (half_committed / "00000.parquet").write_bytes(b"renamed, never committed")
    store.sweep(before=datetime.now(UTC) - timedelta(hours=1))
    assert half_committed.exists()
    store.sweep(before=datetime.now(UTC) + timedelta(seconds=1))
    assert not half_committed.exists()
    assert numbers(store, version) == [1]


def test_others_open_every_version_of_a_table_that_changed(store, tmp_path):
    write(store, keyed(1, 2))
    write(store, keyed(2, 3), UPSERT, keys=["k"])
    write(store, keyed(4).append_column("x", pa.array([1], pa.int32())), policy=ADD)
    write(store, keyed(5).append_column("x", pa.array([2**40])), policy=WIDEN)
    write(store, keyed(1).append_column("x", pa.array([7])), PARTITIONS, keys=["k"])
    last = delete(store, store.latest("d1"), lambda row: row["k"] == 5)
    table = DeltaTable(str(tmp_path / "lake" / "d1"))
    assert table.version() == last.ref.version == 5
    counts = []
    for version in range(6):
        table.load_as_version(version)
        counts.append(table.to_pyarrow_table().num_rows)
    assert counts == [2, 3, 4, 5, 5, 4]
    assert [entry["operation"] for entry in reversed(table.history())][:2] == ["CREATE TABLE", "MERGE"]


def test_a_store_that_cannot_look_for_keys_says_so(tmp_path):
    with pytest.raises(Unsupported, match="upsert"):
        DeltaTableStore(tmp_path).stage("d1", None, WriteRule(UPSERT, ("k",)))


def race(store, first, second):
    """Let `first` write its files, then `second` commit all, then `first` go on; what both made.

    The store's own lock keeps the two apart within one process: `second` uses another store.
    """

    run = Committing.run
    came_between = []

    def late(self):
        Committing.run = run
        came_between.append(second())
        return run(self)

    Committing.run = late
    try:
        return first(), came_between[0]
    finally:
        Committing.run = run


def test_an_upsert_looks_through_what_was_committed_after_it_wrote_its_files(store, tmp_path, connection):
    write(store, keyed(1, 2, 3))
    other = delta_store(tmp_path)
    made, between = race(
        store,
        lambda: write(store, keyed(1, 5, value="b"), UPSERT, keys=["k"]),
        lambda: write(other, keyed(1, 2, 5, value="c"), UPSERT, keys=["k"]),
    )
    assert made.ref.version == between.ref.version + 1
    assert pairs(store, made, connection) == [(3, "a3"), (2, "c2"), (1, "b1"), (5, "b5")]
    live = {uri.rsplit("/", 1)[0] for uri in store.files(made.ref).uris}
    kept = [path for path in (tmp_path / "lake").rglob("kept-*") if str(path.parent) in live]
    assert {str(path) for path in kept} <= set(store.files(made.ref).uris)


def test_a_delete_leaves_alone_what_was_appended_meanwhile(store, tmp_path, connection):
    before = write(store, keyed(1, 2))
    other = delta_store(tmp_path)
    made, _ = race(
        store, lambda: delete(store, before, lambda row: row["k"] == 1), lambda: write(other, keyed(1))
    )
    assert pairs(store, made, connection) == [(2, "a2"), (1, "a1")]


def test_a_delete_of_rows_that_were_rewritten_meanwhile_is_a_conflict(store, tmp_path, connection):
    before = write(store, keyed(1, 2))
    other = delta_store(tmp_path)
    with pytest.raises(CommitConflict) as failure:
        race(
            store,
            lambda: delete(store, before, lambda row: row["k"] == 1),
            lambda: write(other, keyed(2, value="b"), UPSERT, keys=["k"]),
        )
    assert failure.value.retryable
    assert pairs(store, other.latest("d1"), connection) == [(1, "a1"), (2, "b2")]


def test_small_files_between_large_ones_keep_their_place(store, monkeypatch, folder):
    monkeypatch.setattr("flight_core.adapters.storage.compaction.SMALL_ROWS", 3)
    for rows in ([1], [2], [3, 3, 3], [4], [5], [6, 6, 6], [7]):
        last = write(store, rows)
    assert store.small_files(last.ref) == 4
    after = compact(store, last)
    assert numbers(store, after) == numbers(store, last)
    assert len(store.files(after.ref).uris) == 5
    appended = write(store, [8])
    assert numbers(store, appended) == [*numbers(store, last), 8]
    assert by_deltalake(folder, appended) == sorted(numbers(store, appended))


def test_the_log_tells_deltalake_what_a_commit_was(store, folder):
    first = write(store, [1])
    last = write(store, [2])
    compact(store, last)
    store.restore(first.ref)
    history = DeltaTable(folder).history()
    assert [entry["operation"] for entry in history] == ["RESTORE", "OPTIMIZE", "WRITE", "CREATE TABLE"]
    entry = (folder / "_delta_log" / f"{2:020}.json").read_text().splitlines()
    changes = [action for line in entry for action in json.loads(line).values() if "dataChange" in action]
    assert [action["dataChange"] for action in changes] == [False] * 3


def by_deltalake(folder, version):
    table = pa.table(DeltaTable(folder, version=version.ref.version).scan())
    return sorted(table["n"].to_pylist())
