"""Writers that race or run out of disk: the table is as before or as after, nothing between."""

import subprocess
import sys
import textwrap
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.domain.dataset import WriteMode
from flight_core.domain.errors import OutOfDisk

WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import pyarrow as pa
    from flight_core.adapters.storage.delta import DeltaTableStore
    from flight_core.domain.dataset import WriteMode

    root, mode, start, stop, rows = Path(sys.argv[1]), WriteMode(sys.argv[2]), *map(int, sys.argv[3:])
    store = DeltaTableStore(root)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(start, stop):
        staged = store.stage("d", None, mode)
        staged.write(pa.record_batch({"write": [number] * rows, "row": range(rows)}))
        staged.commit(job_id=f"job-{number}")
        staged.close()
        print(number, flush=True)
    """
)
ROWS = 500


@pytest.fixture
def root(tmp_path):
    return tmp_path / "lake"


@pytest.fixture
def store(root):
    return DeltaTableStore(root)


def writer(root, mode, start, stop):
    arguments = [str(root), mode, str(start), str(stop), str(ROWS)]
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", WRITER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "ready\n"
    return child


def go(child):
    child.stdin.write("\n")
    child.stdin.flush()


def ended(child):
    with child.stdin, child.stdout:
        output = child.stdout.read()
    return child.wait(60), [int(line) for line in output.split()]


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


def test_processes_that_append_at_once_all_get_their_rows_in(store, root):
    children = [writer(root, "append", 100 * number, 100 * number + 12) for number in range(3)]
    for child in children:
        go(child)
    ends = [ended(child) for child in children]
    assert [code for code, _told in ends] == [0, 0, 0]
    assert writes_in(store) == sorted(number for _code, told in ends for number in told)
    assert len(store.history("d")) == 36


def test_replacements_and_appends_of_two_processes_happen_one_after_the_other(store, root):
    children = [writer(root, "append", 0, 15), writer(root, "replace", 100, 115)]
    for child in children:
        go(child)
    assert [ended(child)[0] for child in children] == [0, 0]
    history = store.history("d")[::-1]
    assert len(history) == 30
    rows = 0
    for version in history:
        rows = ROWS if version.operation in ("create", "replace") else rows + ROWS
        assert version.row_count == rows, "a version forgot rows, or kept some that were replaced"
    writes_in(store)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_as_such_and_nothing_is_committed(store, root):
    first = store.stage("d", None, WriteMode.CREATE)
    first.write(pa.record_batch({"write": [0] * ROWS, "row": range(ROWS)}))
    kept = first.commit()
    first.close()
    staged = store.stage("d", None, WriteMode.APPEND)
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
    staged = store.stage("d", None, WriteMode.CREATE)
    staged.write(pa.record_batch({"write": [0] * ROWS, "row": range(ROWS)}))
    (staged.folder / "entry.json").symlink_to("/dev/full")
    with pytest.raises(OutOfDisk):
        staged.commit()
    staged.close()
    assert store.latest("d") is None
    assert list(root.rglob("*.parquet")) == []
