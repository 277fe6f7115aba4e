"""What every store of versioned tables promises of the files it writes, and of those it is given."""

import random
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_core.domain.dataset import WriteMode, WriteRule
from flight_core.domain.errors import SchemaMismatch, UnreadableData
from tests.contracts.table_stores import adopt, files_of, numbers, read, table, write

APPEND, CREATE = WriteMode.APPEND, WriteMode.CREATE
GROUP_ROWS = 61_440


# What is written


def test_nothing_is_seen_of_a_write_that_was_not_committed(store, tmp_path):
    kept = write(store, table(1))
    staged = store.stage("d1", table().schema, WriteRule(APPEND))
    staged.write(table(2).to_batches()[0])
    assert store.latest("d1") == kept
    staged.close()
    staged.close()
    assert store.latest("d1") == kept
    assert files_of(tmp_path) == list(store.files(kept.ref).uris)


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
    assert files_of(tmp_path) == list(store.files(kept.ref).uris)
