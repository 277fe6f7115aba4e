"""What every store of versioned tables promises about compaction, restoring and vacuum."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_core.domain.dataset import VersionRef, WriteMode, WriteRule
from flight_core.domain.errors import CommitConflict, VersionExpired, VersionNotFound
from tests.contracts.table_stores import described, files_of, numbers, write

APPEND, REPLACE = WriteMode.APPEND, WriteMode.REPLACE


LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def compact(store, version, **options):
    return store.compact(version.ref, lambda rows: None, **options)


# Compaction


def test_small_files_become_one_with_the_rows_in_order(store, tmp_path, reopen):
    for number in range(7):
        before = write(store, [number, -number])
    after = compact(store, before, info={"actor": "bob"}, job_id="job")
    assert numbers(store, after) == numbers(store, before) == [n for i in range(7) for n in (i, -i)]
    assert len(store.files(after.ref).uris) == 1
    assert (after.operation, after.added_rows, after.removed_rows) == ("compact", 0, 0)
    assert (after.row_count, after.commit_info, after.job_id) == (14, {"actor": "bob"}, "job")
    assert reopen().latest("d1") == after


def test_a_compaction_of_one_job_happens_once(store):
    for number in range(3):
        last = write(store, [number])
    first = compact(store, last, job_id="job")
    assert compact(store, last, job_id="job") == first
    assert store.latest("d1") == first


def test_nothing_is_done_where_files_are_few_or_large(store, monkeypatch):
    only = write(store, [1])
    assert compact(store, only) is None
    monkeypatch.setattr("flight_core.adapters.storage.compaction.SMALL_ROWS", 3)
    write(store, [2, 2, 2, 2])
    last = write(store, [3])
    assert store.small_files(last.ref) == 0
    assert compact(store, last) is None
    assert numbers(store, compact(store, last, everything=True)) == [1, 2, 2, 2, 2, 3]


def test_rows_that_are_appended_while_files_are_compacted_come_after_them(store):
    for number in range(3):
        last = write(store, [number])
    appended = []

    def append_one(_rows):
        if not appended:
            appended.append(write(store, [99]))

    after = store.compact(last.ref, append_one)
    assert numbers(store, after) == [0, 1, 2, 99]
    assert len(store.files(after.ref).uris) == 2
    assert after.row_count == 4


def test_rows_that_are_replaced_while_files_are_compacted_stay_replaced(store, tmp_path):
    for number in range(3):
        last = write(store, [number])
    with pytest.raises(CommitConflict):
        store.compact(last.ref, lambda _: write(store, [7], REPLACE))
    assert numbers(store, store.latest("d1")) == [7]
    assert len(files_of(tmp_path)) == len(
        {path for v in store.history("d1") for path in store.files(v.ref).uris}
    )


def test_two_compactions_at_once_do_not_double_rows(store, reopen):
    for number in range(5):
        last = write(store, [number])
    barrier, failures = threading.Barrier(2, timeout=30), []

    def run():
        first = [True]

        def meet(_):
            if first.pop() if first else False:
                barrier.wait()

        try:
            reopen().compact(last.ref, meet)
        except CommitConflict as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(failures) == 1
    assert numbers(store, store.latest("d1")) == list(range(5))


def test_a_compaction_that_is_stopped_leaves_nothing(store, tmp_path):
    for number in range(3):
        last = write(store, [number])

    def stop(_):
        raise RuntimeError("enough")

    before = files_of(tmp_path)
    with pytest.raises(RuntimeError, match="enough"):
        store.compact(last.ref, stop)
    assert files_of(tmp_path) == before
    assert store.latest("d1") == last


def test_rows_given_in_another_order_become_the_files(store, tmp_path):
    for number in (3, 1, 2):
        last = write(store, [number])
    rows = pa.table({"n": pa.array([1, 2, 3], pa.int64())}).to_batches()
    after = compact(store, last, rows=rows)
    assert numbers(store, after) == [1, 2, 3]


def test_every_type_survives_a_compaction(store, connection):
    moment = datetime(2026, 1, 1, 1, 2, 3, 456789, tzinfo=UTC)
    data = pa.table(
        {
            "n": pa.array([1, None], pa.int8()),
            "u": pa.array([2**64 - 1, None], pa.uint64()),
            "f": pa.array([float("nan"), -0.0]),
            "d": pa.array([None, "1.23"]).cast(pa.decimal128(38, 2)),
            "t": pa.array([moment, None], pa.timestamp("us", "UTC")),
            "z": pa.array([moment.replace(tzinfo=None), None], pa.timestamp("us")),
            "b": pa.array([b"\0", None]),
            "l": pa.array([[1, None], []], pa.list_(pa.int16())),
            "m": pa.array([[("k", 1.5)], None], pa.map_(pa.string(), pa.float32())),
            "s": pa.array([{"x": None, "y": "é"}, None], pa.struct([("x", pa.date32()), ("y", pa.string())])),
            "e": pa.array([None, None], pa.null()),
        }
    )
    write(store, data)
    last = write(store, data)
    after = compact(store, last)
    assert after.schema.equals(last.schema, check_metadata=True)

    def rows(version):
        tables = [pq.read_table(uri) for uri in store.files(version.ref).uris]
        return repr(pa.concat_tables(tables).to_pylist())

    assert rows(after) == rows(last)
    files = store.files(after.ref)
    assert files.alike
    assert described(connection, files) == described(connection, replace(files, alike=False))
    assert [column.null_count for column in store.statistics(after.ref)] == [
        column.null_count for column in store.statistics(last.ref)
    ]


# Restoring


def test_a_restored_version_has_the_rows_and_columns_of_the_old_one(store, tmp_path, reopen):
    first = write(store, [1])
    second = write(store, [2])
    write(store, pa.table({"other": ["x"]}), REPLACE)
    files = files_of(tmp_path)
    restored = store.restore(second.ref, info={"actor": "ann", "message": "oops"})
    assert restored.ref.version == 3
    assert numbers(store, restored) == [1, 2]
    assert (restored.operation, restored.row_count, restored.schema) == ("restore", 2, second.schema)
    assert (restored.added_rows, restored.removed_rows) == (2, 1)
    assert files_of(tmp_path) == files
    again = store.restore(first.ref)
    assert numbers(reopen(), again) == [1]
    assert numbers(store, write(store, [5])) == [1, 5]


def test_rows_are_restored_in_their_order(store):
    versions = [write(store, [number]) for number in range(4)]
    replaced = compact(store, versions[-1])
    write(store, [9])
    restored = store.restore(versions[2].ref)
    assert numbers(store, restored) == [0, 1, 2]
    mixed = store.restore(write(store, [7]).ref)
    assert numbers(store, mixed) == [0, 1, 2, 7]
    assert numbers(store, store.restore(replaced.ref)) == [0, 1, 2, 3]
    assert numbers(store, store.restore(mixed.ref)) == [0, 1, 2, 7]


def test_restoring_can_insist_on_what_it_follows(store):
    first, second = write(store, [1]), write(store, [2])
    third = write(store, [3])
    with pytest.raises(CommitConflict):
        store.restore(first.ref, expected=second.ref.version)
    assert numbers(store, store.restore(first.ref, expected=third.ref.version)) == [1]


def test_only_a_version_that_exists_can_be_restored(store):
    write(store, [1])
    with pytest.raises(VersionNotFound):
        store.restore(VersionRef("d1", 5))
    assert [version.operation for version in store.history("d1")] == ["create"]


# Vacuum


def test_vacuum_deletes_what_only_expired_versions_need(store, tmp_path, reopen):
    versions = [write(store, [1]), write(store, [2]), write(store, [3], REPLACE), write(store, [4])]
    found = store.vacuum("d1", [0, 1], before=LONG_AGO)
    assert found.files == 2
    assert found.size_bytes == versions[1].size_bytes
    for place in (store, reopen()):
        for version in versions[:2]:
            with pytest.raises(VersionExpired, match=f"version {version.ref.version} has expired"):
                place.files(version.ref)
        assert [numbers(place, version) for version in versions[2:]] == [[3], [3, 4]]
    assert files_of(tmp_path) == sorted(store.files(versions[3].ref).uris)
    assert [version.ref.version for version in store.history("d1")] == [3, 2, 1, 0]
    assert sorted(store.vacuumed("d1")) == [0, 1]


def test_files_of_an_expired_version_stay_while_another_needs_them(store):
    versions = [write(store, [1]), write(store, [2])]
    write(store, [3], REPLACE)
    restored = store.restore(versions[0].ref)
    assert store.vacuum("d1", [0, 1, 2], before=LONG_AGO).files == 2
    assert numbers(store, restored) == [1]


def test_a_dry_run_tells_the_same_and_changes_nothing(store, tmp_path):
    first = write(store, [1])
    write(store, [2], REPLACE)
    files = files_of(tmp_path)
    would = store.vacuum("d1", [0], before=LONG_AGO, dry_run=True)
    assert files_of(tmp_path) == files
    assert numbers(store, first) == [1]
    assert would == store.vacuum("d1", [0], before=LONG_AGO)
    assert store.vacuum("d1", [0], before=LONG_AGO).files == 0


def test_the_newest_version_is_never_given_up(store):
    write(store, [1])
    last = write(store, [2])
    assert store.vacuum("d1", [0, 1], before=LONG_AGO).files == 0
    assert numbers(store, last) == [1, 2]


def test_what_was_vacuumed_cannot_be_restored(store):
    first = write(store, [1])
    write(store, [2], REPLACE)
    store.vacuum("d1", [0], before=LONG_AGO)
    with pytest.raises(VersionExpired):
        store.restore(first.ref)
    assert numbers(store, store.latest("d1")) == [2]


def test_vacuum_takes_abandoned_writes_along(store, tmp_path):
    last = write(store, [1])
    staged = store.stage("d1", last.schema, WriteRule(APPEND))
    (staged.folder / "part.parquet").write_bytes(b"12345")
    soon = datetime.now(UTC) + timedelta(minutes=1)
    assert store.vacuum("d1", [], before=LONG_AGO).files == 0
    assert store.vacuum("d1", [], before=soon, dry_run=True).size_bytes == 5
    assert store.vacuum("d1", [], before=soon).files == 1
    assert files_of(tmp_path) == sorted(store.files(last.ref).uris)


def test_another_process_learns_of_expired_versions_at_once(store, reopen):
    first = write(store, [1])
    write(store, [2], REPLACE)
    other = reopen()
    assert numbers(other, first) == [1]
    store.vacuum("d1", [0], before=LONG_AGO)
    with pytest.raises(VersionExpired):
        other.files(first.ref)


def test_there_is_nothing_to_vacuum_in_a_table_that_was_never_written(store):
    assert store.vacuum("d9", [], before=LONG_AGO).files == 0
    assert Path("d9").exists() is False
