"""Writers that run out of disk: the table is as before or as after, nothing between."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
import pytest

from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.domain.dataset import WriteMode, WriteRule
from flight_core.domain.errors import OutOfDisk

ROWS = 500


@pytest.fixture
def root(tmp_path):
    return tmp_path / "lake"


@pytest.fixture
def store(root):
    return DeltaTableStore(root)


def writes_in(store):
    """Which writes the current version holds, each of them whole."""
    version = store.latest("d")
    if version is None:
        return []
    files = list(store.files(version.ref).uris)
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT write, count(*), count(DISTINCT row) FROM read_parquet({files!r}) GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert [row[1:] for row in found] == [(ROWS, ROWS)] * len(found), "a write is there in part"
    assert version.row_count == ROWS * len(found)
    return [row[0] for row in found]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_as_such_and_nothing_is_committed(store, root):
    first = store.stage("d", None, WriteRule(WriteMode.CREATE))
    first.write(pa.record_batch({"write": [0] * ROWS, "row": range(ROWS)}))
    kept = first.commit()
    first.close()
    staged = store.stage("d", None, WriteRule(WriteMode.APPEND))
    (staged.folder / "files" / "00000.parquet").symlink_to("/dev/full")
    staged.write(pa.record_batch({"write": [1] * ROWS, "row": range(ROWS)}))
    with pytest.raises(OutOfDisk) as failure:
        staged.commit()
    assert str(root) not in str(failure.value)
    staged.close()
    assert store.latest("d") == kept
    assert writes_in(store) == [0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_is_full_when_the_entry_is_written_leaves_the_table_as_it_was(store, root):
    staged = store.stage("d", None, WriteRule(WriteMode.CREATE))
    staged.write(pa.record_batch({"write": [0] * ROWS, "row": range(ROWS)}))
    (staged.folder / "entry.json").symlink_to("/dev/full")
    with pytest.raises(OutOfDisk):
        staged.commit()
    staged.close()
    assert store.latest("d") is None
    assert list(root.rglob("*.parquet")) == []


def test_vacuum_deletes_what_a_writer_left_that_died_between_rename_and_entry(store, root):
    first = store.stage("d", None, WriteRule(WriteMode.CREATE))
    first.write(pa.record_batch({"write": [0] * ROWS, "row": range(ROWS)}))
    first.commit()
    first.close()
    left = root / "d" / uuid4().hex
    left.mkdir()
    for name in ("00000.parquet", "00001.parquet"):
        (left / name).write_bytes(b"rows")
    found = store.vacuum("d", [], before=datetime.now(UTC) + timedelta(hours=1))
    assert (found.files, found.size_bytes, left.exists()) == (2, 8, False)
    assert writes_in(store) == [0]
