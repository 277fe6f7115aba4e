"""What every store of versioned tables promises. What it stores is read back with plain DuckDB."""

import random
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.domain.dataset import VersionRef, WriteMode, WriteRule
from flight_core.domain.errors import (
    CommitConflict,
    DatasetExists,
    LossyType,
    SchemaMismatch,
    UnreadableData,
    VersionNotFound,
)

APPEND, CREATE, REPLACE = WriteMode.APPEND, WriteMode.CREATE, WriteMode.REPLACE
GROUP_ROWS = 61_440
INFO = {"actor": "ann", "source": "a test"}


@pytest.fixture(params=[DeltaTableStore])
def reopen(request, tmp_path):
    """Makes another store over the same data, as another process would."""
    return lambda: request.param(tmp_path / "lake")


@pytest.fixture
def store(reopen):
    return reopen()


def table(*numbers, **columns):
    return pa.table({"n": pa.array(numbers, pa.int64()), **columns})


def write(store, data, mode=APPEND, *, dataset="d1", job_id=None, allow_lossy=False):
    staged = store.stage(dataset, data.schema, WriteRule(mode, allow_lossy=allow_lossy))
    try:
        for batch in data.to_batches():
            staged.write(batch)
        return staged.commit(job_id=job_id, info=INFO)
    finally:
        staged.close()


def adopt(store, frames, mode=APPEND, *, dataset="d1"):
    staged = store.stage(dataset, None, WriteRule(mode))
    try:
        files = []
        for number, frame in enumerate(frames):
            files.append(staged.folder / f"part-{number}.parquet")
            frame.lazy().sink_parquet(files[-1])
        staged.adopt(files)
        return staged.commit()
    finally:
        staged.close()


def read(store, ref, sql="SELECT * FROM t"):
    files = list(store.files(ref).uris)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet({files!r})")
        return connection.sql(sql).fetchall()


def numbers(store, version):
    return [number for (number,) in read(store, version.ref, "SELECT n FROM t")]


def files_of(tmp_path):
    return sorted(path for path in (tmp_path / "lake").rglob("*.parquet"))


# Versions


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


# What is written


def test_nothing_is_seen_of_a_write_that_was_not_committed(store, tmp_path):
    kept = write(store, table(1))
    staged = store.stage("d1", table().schema, WriteRule(APPEND))
    staged.write(table(2).to_batches()[0])
    assert store.latest("d1") == kept
    staged.close()
    staged.close()
    assert store.latest("d1") == kept
    assert [str(path) for path in files_of(tmp_path)] == list(store.files(kept.ref).uris)


def test_tables_without_rows_can_be_made_read_and_added_to(store):
    empty = write(store, table(s=pa.array([], pa.string())))
    assert (empty.row_count, empty.schema.names) == (0, ["n", "s"])
    assert read(store, empty.ref) == []
    same = write(store, table(s=pa.array([], pa.string())))
    assert read(store, same.ref) == []
    assert read(store, write(store, table(1, s=["x"])).ref) == [(1, "x")]


def test_small_batches_become_full_row_groups(store):
    staged = store.stage("d1", None, WriteRule(CREATE))
    for start in range(0, 2 * GROUP_ROWS + 10, 1000):
        stop = min(start + 1000, 2 * GROUP_ROWS + 10)
        staged.write(table(*range(start, stop)).to_batches()[0])
    assert staged.row_count == 2 * GROUP_ROWS + 10
    version = staged.commit()
    staged.close()
    [uri] = store.files(version.ref).uris
    footer = pq.read_metadata(uri)
    groups = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
    assert groups == [GROUP_ROWS, GROUP_ROWS, 10]
    assert footer.row_group(0).column(0).compression == "ZSTD"
    assert read(
        store,
        version.ref,
        "SELECT count(*), sum(n), bool_and(n = rid) FROM (SELECT n, row_number() OVER () - 1 AS rid FROM t)",
    ) == [(2 * GROUP_ROWS + 10, sum(range(2 * GROUP_ROWS + 10)), True)]


def test_wide_rows_make_smaller_row_groups(store):
    """A row group that is gathered in memory is bounded in bytes, not only in rows."""
    wide = pa.table({"s": ["x" * 100_000] * 3000})  # 300 MB
    version = write(store, wide)
    [uri] = store.files(version.ref).uris
    footer = pq.read_metadata(uri)
    assert footer.num_row_groups > 1
    assert read(store, version.ref, "SELECT count(*), min(length(s)), max(length(s)) FROM t") == [
        (3000, 100_000, 100_000)
    ]


def test_files_tell_rows_and_bytes_each(store):
    write(store, table(1, 2))
    version = write(store, table(3))
    files = store.files(version.ref)
    assert files.row_counts == (2, 1)
    assert files.size_bytes == tuple(Path(uri).stat().st_size for uri in files.uris)
    assert files.schema == version.schema
    assert store.files(version.ref) is files


# Files written by others


def test_finished_files_are_taken_as_they_are(store, reopen):
    first = pl.DataFrame({"n": [1, 2], "s": ["a", None]})
    version = adopt(store, [first, pl.DataFrame({"n": [3], "s": ["c"]})])
    assert read(reopen(), version.ref) == [(1, "a"), (2, None), (3, "c")]
    assert version.schema == pa.schema([("n", pa.int64()), ("s", pa.string())])
    created_by = {pq.read_metadata(uri).created_by for uri in store.files(version.ref).uris}
    assert all(text.startswith("Polars") for text in created_by)


def test_files_of_other_types_are_brought_to_the_table_s(store):
    write(store, table(1, s=["a"]))
    narrow = pl.DataFrame({"S": ["b"], "N": [2]}, schema_overrides={"N": pl.UInt8})
    version = adopt(store, [narrow])
    assert read(store, version.ref) == [(1, "a"), (2, "b")]


def test_rows_of_files_stay_in_order_whether_or_not_the_files_have_to_be_rewritten(store):
    write(store, table(0))
    types = (pl.Int64, pl.Int8, pl.Int64, pl.Int16)
    frames = [
        pl.DataFrame({"n": [10 * number, 10 * number + 1]}, schema_overrides={"n": type})
        for number, type in enumerate(types, 1)
    ]
    version = adopt(store, frames)
    assert numbers(store, version) == [0, 10, 11, 20, 21, 30, 31, 40, 41]


def test_files_that_make_a_table_together_may_each_lack_something(store):
    unknown = pl.DataFrame({"n": [1], "s": [None]})
    version = adopt(store, [unknown, pl.DataFrame({"s": ["a"], "n": [2], "more": [0.5]})])
    assert read(store, version.ref) == [(1, None, None), (2, "a", 0.5)]


def test_files_that_contradict_each_other_are_refused(store):
    with pytest.raises(SchemaMismatch, match="column 'n'"):
        adopt(store, [pl.DataFrame({"n": [1]}), pl.DataFrame({"n": ["a"]})])
    assert store.latest("d1") is None


def test_a_file_with_columns_that_the_table_lacks_is_refused(store):
    write(store, table(1))
    with pytest.raises(SchemaMismatch, match="'extra'"):
        adopt(store, [pl.DataFrame({"n": [2], "extra": [1]})])
    assert store.latest("d1").row_count == 1


@pytest.mark.parametrize("damage", ["truncated", "empty", "not parquet", "bit flips in the data"])
def test_a_damaged_file_is_refused_and_nothing_is_left(store, tmp_path, damage):
    kept = write(store, table(*range(5000), f=[0.1 * n for n in range(5000)]))
    staged = store.stage("d1", None, WriteRule(APPEND))
    path = staged.folder / "broken.parquet"
    # int32 has to be widened and the double looked at: both read the data itself
    pq.write_table(pa.table({"n": pa.array(range(5000), pa.int32()), "f": [0.1] * 5000}), path)
    content = bytearray(path.read_bytes())
    match damage:
        case "truncated":
            content = content[: len(content) // 2]
        case "empty":
            content.clear()
        case "not parquet":
            content = bytearray(b"n,f\n1,2\n" * 100)
        case _:
            content[4:400] = random.Random(7).randbytes(396)
    path.write_bytes(content)
    with pytest.raises(UnreadableData, match=r"broken\.parquet") as failure:
        staged.adopt([path])
    assert str(tmp_path) not in str(failure.value)
    staged.close()
    assert store.latest("d1") == kept
    assert [str(path) for path in files_of(tmp_path)] == list(store.files(kept.ref).uris)


# Columns that do not fit


def test_columns_are_matched_by_name_whatever_their_order_and_case(store):
    write(store, pa.table({"a": [1], "b": ["x"]}))
    version = write(store, pa.table({"B": ["y"], "A": [2]}))
    assert read(store, version.ref) == [(1, "x"), (2, "y")]
    assert version.schema.names == ["a", "b"]


def test_missing_columns_are_null_in_the_new_rows(store):
    write(store, pa.table({"a": [1], "b": ["x"]}))
    assert read(store, write(store, pa.table({"a": [2]})).ref) == [(1, "x"), (2, None)]


def test_narrower_numbers_go_into_wider_columns(store):
    columns = {"i": pa.int64(), "f": pa.float64(), "d": pa.decimal128(20, 0), "s": pa.string()}
    write(store, pa.table({name: pa.array([None], type) for name, type in columns.items()}))
    narrow = {"i": pa.array([2**31 - 1], pa.int32()), "f": pa.array([2**31 - 1], pa.int32())}
    narrow |= {"d": pa.array([2**63 - 1], pa.int64()), "s": pa.nulls(1)}
    version = write(store, pa.table(narrow))
    assert read(store, version.ref)[1] == (2**31 - 1, 2.0**31 - 1, 2**63 - 1, None)


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (pa.int64(), pa.int32()),
        (pa.int64(), pa.float64()),
        (pa.float64(), pa.float32()),
        (pa.float64(), pa.int64()),
        (pa.string(), pa.int64()),
        (pa.int64(), pa.string()),
        (pa.int64(), pa.decimal128(20, 2)),
        (pa.decimal128(10, 4), pa.decimal128(10, 2)),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.date32(), pa.timestamp("us")),
        (pa.list_(pa.int64()), pa.list_(pa.int32())),
        (pa.struct([("x", pa.int64())]), pa.struct([("y", pa.int64())])),
    ],
    ids=str,
)
def test_a_type_that_does_not_go_in_is_refused_with_the_column_named(store, have, want):
    kept = write(store, pa.table({"c": pa.array([None], want)}))
    with pytest.raises(SchemaMismatch, match="column 'c'") as failure:
        write(store, pa.table({"c": pa.array([None], have)}))
    assert failure.value.details["have"] == str(have)
    assert store.latest("d1") == kept


@pytest.mark.parametrize(
    ("names", "match"),
    [(["a", "A"], "'a', 'A'"), (["a", "b", "a"], "'a', 'a'"), (["a", ""], "column 2"), ([], "no columns")],
)
@pytest.mark.parametrize("mode", [APPEND, CREATE, REPLACE])
def test_columns_that_sql_could_not_name_are_refused(store, names, match, mode):
    if mode is APPEND:
        write(store, pa.table({"a": [1]}))
    schema = pa.schema([(name, pa.int64()) for name in names])
    with pytest.raises(SchemaMismatch, match=match):
        store.stage("d1", schema, WriteRule(mode))


def test_a_write_that_has_seen_no_columns_is_refused(store):
    staged = store.stage("d1", None, WriteRule(CREATE))
    with pytest.raises(SchemaMismatch, match="no columns"):
        staged.commit()
    staged.close()
    assert store.latest("d1") is None


def test_a_lossy_value_in_the_middle_leaves_the_table_as_it_was(store):
    kept = write(store, pa.table({"t": pa.array([0], pa.timestamp("us"))}))
    staged = store.stage("d1", None, WriteRule(APPEND))
    staged.write(pa.record_batch({"t": pa.array([1000], pa.timestamp("ns"))}))
    with pytest.raises(LossyType, match="column 't'"):
        staged.write(pa.record_batch({"t": pa.array([1001], pa.timestamp("ns"))}))
    staged.close()
    assert store.latest("d1") == kept


def test_odd_column_names_are_names_like_others(store):
    names = ["first name", "total (USD)", "a.b", 'quo"te', "ž,;{}()\n\t=", "x" * 300]
    version = write(store, pa.table({name: [number] for number, name in enumerate(names)}))
    assert version.schema.names == names
    assert read(store, version.ref) == [tuple(range(len(names)))]
    assert [column.minimum for column in store.statistics(version.ref)] == list(range(len(names)))


# Several at once


def test_a_job_commits_once(store, reopen):
    first = write(store, table(1), job_id="job-1")
    write(store, table(2), job_id="job-2")
    again = write(reopen(), table(1), job_id="job-1")
    assert again == first
    assert numbers(store, store.latest("d1")) == [1, 2]
    assert store.committed_by("d1", "job-1") == first
    assert store.committed_by("d1", "job-3") is None


def test_two_runs_of_one_job_at_once_commit_once(store, reopen, tmp_path):
    write(store, table(0))
    runs = [other.stage("d1", None, WriteRule(APPEND)) for other in (store, reopen())]
    for run in runs:
        run.write(table(1).to_batches()[0])
    versions = []
    threads = [
        threading.Thread(target=lambda run=run: versions.append(run.commit(job_id="job"))) for run in runs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for run in runs:
        run.close()
    assert versions[0] == versions[1]
    assert numbers(store, store.latest("d1")) == [0, 1]
    assert len(files_of(tmp_path)) == 2, "the files of the run that lost are still there"


def test_appenders_at_once_all_get_their_rows_in(store, reopen):
    failures: list[BaseException] = []

    def append(worker, own_store):
        try:
            for number in range(5):
                write(own_store, table(10 * worker + number))
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=append, args=(worker, store if worker % 2 else reopen()))
        for worker in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    expected = [10 * worker + number for worker in range(4) for number in range(5)]
    assert sorted(numbers(store, store.latest("d1"))) == expected
    assert [version.row_count for version in store.history("d1")] == list(range(20, 0, -1))


def test_a_replacement_and_an_append_that_meet_both_happen_one_after_the_other(store, reopen):
    write(store, table(0))
    append, replace = (
        store.stage("d1", None, WriteRule(APPEND)),
        reopen().stage("d1", None, WriteRule(REPLACE)),
    )
    append.write(table(1).to_batches()[0])
    replace.write(table(2).to_batches()[0])
    replace.commit()
    append.commit()
    append.close()
    replace.close()
    assert numbers(store, store.latest("d1")) == [2, 1]


def test_an_append_whose_columns_were_replaced_meanwhile_is_a_conflict(store):
    write(store, table(0))
    append = store.stage("d1", None, WriteRule(APPEND))
    append.write(table(1).to_batches()[0])
    kept = write(store, pa.table({"other": ["x"]}), REPLACE)
    with pytest.raises(CommitConflict):
        append.commit()
    append.close()
    assert store.latest("d1") == kept


def test_of_two_creators_one_wins(store, reopen):
    first, second = store.stage("d1", None, WriteRule(CREATE)), reopen().stage("d1", None, WriteRule(CREATE))
    first.write(table(1).to_batches()[0])
    second.write(table(2).to_batches()[0])
    second.commit()
    with pytest.raises(DatasetExists):
        first.commit()
    first.close()
    second.close()
    assert numbers(store, store.latest("d1")) == [2]


# Cleaning up


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
    half_committed = tmp_path / "lake" / "d1" / ("0" * 32)
    half_committed.mkdir()
    (half_committed / "00000.parquet").write_bytes(b"renamed, never committed")
    store.sweep(before=datetime.now(UTC) - timedelta(hours=1))
    assert dead.folder.exists()
    assert half_committed.exists()
    store.sweep(before=datetime.now(UTC) + timedelta(seconds=1))
    assert not dead.folder.exists()
    assert not never_created.folder.exists()
    assert not half_committed.exists()
    assert numbers(store, version) == [1]
    assert [str(path) for path in files_of(tmp_path)] == list(store.files(version.ref).uris)


def test_a_sweep_spares_a_write_that_is_still_growing(store):
    staged = store.stage("d1", None, WriteRule(CREATE))
    horizon = datetime.now(UTC) + timedelta(milliseconds=50)
    while datetime.now(UTC) < horizon:
        pass
    (staged.folder / "parsed.parquet").write_bytes(b"a parser is at work")
    store.sweep(before=horizon)
    assert staged.folder.exists()
    staged.close()
