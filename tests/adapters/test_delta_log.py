"""The log is a Delta log: deltalake reads, checks and maintains the tables that the store writes."""

import json
from datetime import timedelta

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.domain.dataset import VersionRef, WriteMode, WriteRule

APPEND, REPLACE = WriteMode.APPEND, WriteMode.REPLACE


@pytest.fixture
def root(tmp_path):
    return tmp_path / "lake"


@pytest.fixture
def store(root):
    return DeltaTableStore(root)


def write(store, table, mode=APPEND, job_id=None):
    staged = store.stage("d", table.schema, WriteRule(mode))
    for batch in table.to_batches():
        staged.write(batch)
    version = staged.commit(job_id=job_id, info={"actor": "ann"})
    staged.close()
    return version


def test_deltalake_reads_every_version(store, root):
    for number in range(3):
        write(store, pa.table({"n": [number]}))
    write(store, pa.table({"n": [9]}), REPLACE)
    found = [
        sorted(pa.table(DeltaTable(root / "d", version=number).scan())["n"].to_pylist())
        for number in range(4)
    ]
    assert found == [[0], [0, 1], [0, 1, 2], [9]]


def test_deltalake_tells_the_history_and_the_jobs(store, root):
    write(store, pa.table({"n": [1]}), job_id="job-1")
    write(store, pa.table({"n": [2]}))
    table = DeltaTable(root / "d")
    newest, first = table.history()
    assert [first["version"], newest["version"]] == [0, 1]
    assert first["skein"]["info"] == {"actor": "ann"}
    assert newest["timestamp"] > first["timestamp"]
    assert table.transaction_version("job-1") == 1
    assert table.transaction_version("job-2") is None


def test_every_type_of_the_store_can_be_written_first_or_as_a_replacement(store, root):
    """deltalake's own writers leave a table that cannot be opened in some of these cases."""
    moment = pa.timestamp("us")
    for type in (
        moment,
        pa.list_(moment),
        pa.struct([("x", moment)]),
        pa.map_(pa.string(), moment),
        pa.map_(moment, pa.int8()),
        pa.timestamp("us", "UTC"),
        pa.decimal128(38, 38),
    ):
        write(store, pa.table({"plain": [1]}), REPLACE)
        version = write(store, pa.table({"c": pa.array([None], type)}), REPLACE)
        assert pa.schema(DeltaTable(root / "d").schema().to_arrow()).field("c").type == type
        assert len(store.files(version.ref).uris) == 1


def test_the_log_holds_exact_statistics(store, root):
    write(store, pa.table({"n": [3, None], "s": ["b", "a"], "f": [1.0, float("nan")], "l": [[1], None]}))
    [entry] = (root / "d" / "_delta_log").glob("*.json")
    [added] = [json.loads(line)["add"] for line in entry.read_text().splitlines() if '"add"' in line]
    assert json.loads(added["stats"]) == {
        "numRecords": 2,
        "minValues": {"n": 3, "s": "a"},
        "maxValues": {"n": 3, "s": "b"},
        "nullCount": {"n": 1, "s": 0, "f": 0},
    }


def test_a_checkpoint_is_written_and_read(store, root):
    for number in range(102):
        write(store, pa.table({"n": [number]}))
    log = root / "d" / "_delta_log"
    assert [path.name for path in log.glob("*.checkpoint.parquet")] == [f"{100:020}.checkpoint.parquet"]
    assert len(DeltaTable(root / "d").file_uris()) == 102


def test_a_table_that_was_compacted_by_others_is_read_and_written_on(store, root):
    for number in range(5):
        write(store, pa.table({"n": [number]}))
    DeltaTable(root / "d").optimize.compact()
    compacted = store.latest("d")
    assert (compacted.ref.version, compacted.row_count, compacted.schema.names) == (5, 5, ["n"])
    assert len(store.files(compacted.ref).uris) == 1
    version = write(store, pa.table({"n": [5]}))
    assert version.row_count == 6
    assert len(store.files(version.ref).uris) == 2
    assert len(store.files(VersionRef("d", 4)).uris) == 5
    assert [column.maximum for column in store.statistics(version.ref)] == [5]


def test_times_grow_with_versions_even_if_the_clock_goes_back(store, root):
    first = write(store, pa.table({"n": [1]}))
    late = DeltaTableStore(root, clock=lambda: first.committed_at - timedelta(days=1))
    second = write(late, pa.table({"n": [2]}))
    assert second.committed_at > first.committed_at
    assert store.version_at("d", first.committed_at) == first.ref.version


def test_a_checkpoint_that_cannot_be_written_does_not_fail_the_commit(store, root, caplog):
    for number in range(100):
        write(store, pa.table({"n": [number]}))
    (root / "d" / "_delta_log" / f"{100:020}.checkpoint.parquet").mkdir()
    assert write(store, pa.table({"n": [100]})).row_count == 101
    assert [record.message for record in caplog.records] == ["a checkpoint was not written"]
    assert len(store.files(store.latest("d").ref).uris) == 101
