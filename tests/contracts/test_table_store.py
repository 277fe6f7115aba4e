"""What every store of versioned tables promises: versions, and what they leave behind."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from flight_core.domain.dataset import VersionRef, WriteMode, WriteRule
from flight_core.domain.errors import DatasetExists, VersionNotFound
from tests.contracts.table_stores import INFO, files_of, numbers, read, table, write

APPEND, CREATE, REPLACE = WriteMode.APPEND, WriteMode.CREATE, WriteMode.REPLACE


def test_a_table_that_was_never_written_has_no_version(store):
    assert store.latest("d1") is None
    assert list(store.history("d1")) == []
    assert store.committed_by("d1", "job") is None
    with pytest.raises(VersionNotFound, match="no version 0; it has 0"):
        store.files(VersionRef("d1", 0))
    with pytest.raises(VersionNotFound):
        store.version_at("d1", datetime.now(UTC))


def test_a_commit_is_a_version_with_its_schema_counts_and_reason(store, reopen):
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    made = write(store, table(1, 2, s=["a", None]), CREATE)
    assert made.schema == pa.schema([("n", pa.int64()), ("s", pa.string())])
    assert (made.row_count, made.added_rows, made.operation) == (2, 2, "create")
    assert made.commit_info == INFO
    assert before <= made.committed_at <= datetime.now(UTC)
    assert made.size_bytes == sum(Path(uri).stat().st_size for uri in store.files(made.ref).uris)
    assert reopen().latest("d1") == made


def test_each_mode_does_to_the_rows_what_it_says(store):
    write(store, table(1), CREATE)
    assert numbers(store, write(store, table(2), APPEND)) == [1, 2]
    assert numbers(store, write(store, table(3), REPLACE)) == [3]
    with pytest.raises(DatasetExists):
        write(store, table(4), CREATE)
    assert numbers(store, store.latest("d1")) == [3]
    assert [version.operation for version in store.history("d1")] == ["replace", "append", "create"]
    assert [version.row_count for version in store.history("d1")] == [1, 2, 1]


@pytest.mark.parametrize("mode", [APPEND, CREATE, REPLACE])
def test_every_mode_makes_the_table_if_it_is_missing(store, mode):
    assert numbers(store, write(store, table(1), mode)) == [1]
    assert store.latest("d1").operation == "create"


def test_old_versions_are_read_as_they_were(store):
    versions = [write(store, table(1)), write(store, table(2)), write(store, table(9), REPLACE)]
    assert [numbers(store, version) for version in versions] == [[1], [1, 2], [9]]


def test_rows_stay_in_the_order_in_which_they_were_committed(store):
    for number in range(12):
        version = write(store, table(number))
    assert numbers(store, version) == list(range(12))


def test_replacing_may_change_the_columns(store):
    old = write(store, table(1))
    new = write(store, pa.table({"other": ["x"]}), REPLACE)
    assert new.schema.names == ["other"]
    assert read(store, new.ref) == [("x",)]
    assert [version.schema.names for version in store.history("d1")] == [["other"], ["n"]]
    assert read(store, old.ref) == [(1,)]


def test_the_version_of_a_moment_is_the_newest_committed_by_then(store):
    first, second = write(store, table(1)), write(store, table(2))
    assert first.committed_at < second.committed_at
    assert store.version_at("d1", first.committed_at) == first.ref.version
    assert store.version_at("d1", second.committed_at - timedelta(microseconds=1)) == first.ref.version
    assert store.version_at("d1", second.committed_at) == second.ref.version
    assert store.version_at("d1", datetime.now(UTC)) == second.ref.version
    with pytest.raises(VersionNotFound):
        store.version_at("d1", first.committed_at - timedelta(milliseconds=1))


def test_another_store_sees_a_commit_at_once(store, reopen):
    other = reopen()
    assert other.latest("d1") is None
    for number in range(3):
        made = write(store, table(number))
        assert other.latest("d1") == made
    assert list(other.history("d1")) == list(store.history("d1"))


def test_a_table_outlives_a_hundred_commits(store, reopen):
    """A checkpoint of the log is written after that many."""
    for number in range(105):
        version = write(store, table(number))
    other = reopen()
    assert numbers(other, version) == list(range(105))
    assert len(other.history("d1")) == 105
    assert numbers(other, other.history("d1")[-3]) == [0, 1, 2]


def test_a_deleted_table_is_gone_and_deleting_again_is_fine(store, reopen, tmp_path):
    version = write(store, table(1))
    kept = write(store, table(2), dataset="d2")
    store.delete("d1")
    store.delete("d1")
    for one in (store, reopen()):
        assert one.latest("d1") is None
        with pytest.raises(VersionNotFound):
            one.files(version.ref)
    assert numbers(store, kept) == [2]


def test_a_sweep_takes_what_dead_writers_left_and_nothing_else(store, reopen, tmp_path):
    version = write(store, table(1))
    dead = reopen().stage("d1", None, WriteRule(APPEND))
    dead.write(table(2).to_batches()[0])
    (dead.folder / "parsed.parquet").write_bytes(b"half a file")
    never_created = reopen().stage("d2", None, WriteRule(CREATE))
    store.sweep(before=datetime.now(UTC) - timedelta(hours=1))
    assert dead.folder.exists()
    store.sweep(before=datetime.now(UTC) + timedelta(seconds=1))
    assert not dead.folder.exists()
    assert not never_created.folder.exists()
    assert numbers(store, version) == [1]
    assert files_of(tmp_path) == list(store.files(version.ref).uris)


def test_a_sweep_spares_a_write_that_is_still_growing(store):
    staged = store.stage("d1", None, WriteRule(CREATE))
    horizon = datetime.now(UTC) + timedelta(milliseconds=50)
    while datetime.now(UTC) < horizon:
        pass
    (staged.folder / "parsed.parquet").write_bytes(b"a parser is at work")
    store.sweep(before=horizon)
    assert staged.folder.exists()
    staged.close()
