"""The real catalog and the real store together, and a process that dies between the two."""

import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pytest

from flight_core.adapters.catalog.datasets import SqlDatasetRepository
from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.adapters.catalog.profiles import SqlProfileRepository
from flight_core.adapters.catalog.versions import SqlVersionRepository
from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.application.datasets.describe import DescribeDataset
from flight_core.application.datasets.drop import SweepOrphans
from flight_core.application.datasets.find_version import FindVersion
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.writes.open_write import OpenWrite, Publish, Reconcile
from flight_core.application.writes.rows import NewRows, TakeRows, WriteDataset
from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, WriteMode, WriteRule
from flight_core.domain.errors import SchemaMismatch
from tests.catalogs import open_catalog

ROOT = Path(__file__).parents[2]
FLIGHTS = DatasetName("flights")
WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import pyarrow as pa
    from tests.adapters.test_catalog_and_store import Lake
    from flight_core.domain.dataset import WriteMode, WriteRule

    lake = Lake(Path(sys.argv[1]))
    for number in range(10_000):
        lake.write(pa.table({"n": [number]}))
        print(number, flush=True)
    """
)


class Lake:
    """Catalog, store and use cases over one folder, as every process of a data directory has them."""

    def __init__(self, folder):
        database = open_catalog(folder)
        self.close = database.close
        self.datasets = SqlDatasetRepository(database)
        self.events = SqlEventRepository(database)
        self.store = DeltaTableStore(folder / "lake")
        publish = Publish(self.datasets, utc_now)
        self._write = WriteDataset(TakeRows(OpenWrite(self.datasets, self.store, publish, new_id)))
        self.describe = DescribeDataset(
            self.datasets,
            self.store,
            FindVersion(self.store, SqlVersionRepository(database)),
            SqlProfileRepository(database),
        )
        self.reconcile = Reconcile(self.datasets, self.store, publish)
        self.sweep = SweepOrphans(self.datasets, self.store, utc_now)

    def write(self, table, mode=WriteMode.APPEND):
        return self._write(FLIGHTS, NewRows(table.schema, table.to_batches()), WriteRule(mode), actor=LOCAL)


@pytest.fixture
def lake(tmp_path):
    made = Lake(tmp_path)
    yield made
    made.close()


def test_what_was_written_is_described(lake):
    first = lake.write(pa.table({"n": [1, 2], "s": ["a", None]}))
    second = lake.write(pa.table({"n": [3], "s": ["c"]}))
    description = lake.describe(FLIGHTS, actor=LOCAL)
    assert (description.dataset.current, description.version) == (second, second)
    assert list(description.versions) == [second, first]
    assert [(one.name, one.null_count, one.maximum) for one in description.columns] == [
        ("n", 0, 3),
        ("s", 1, "c"),
    ]
    old = lake.describe(FLIGHTS, actor=LOCAL, at=first.committed_at)
    assert old.version == first
    assert [one.maximum for one in old.columns] == [2, "a"]


def test_a_write_that_is_refused_leaves_no_trace(lake, tmp_path):
    lake.write(pa.table({"n": [1]}))
    files = set((tmp_path / "lake").rglob("*"))
    with pytest.raises(SchemaMismatch):
        lake.write(pa.table({"other": [1]}))
    assert set((tmp_path / "lake").rglob("*")) == files
    assert lake.events.bounds() == (1, 1)
    lake.sweep()
    assert set((tmp_path / "lake").rglob("*")) == files


def test_after_a_kill_the_catalog_catches_up_with_storage(lake, tmp_path):
    """Killed at any point: what the writer reported is there, and the catalog says what storage says."""
    chance = random.Random(11)
    reported = 0
    for _round in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        with child.stdout:
            for _ in range(chance.randrange(1, 5)):
                child.stdout.readline()
                reported += 1
            for _ in range(chance.randrange(300_000)):
                pass
            child.kill()
            reported += len(child.stdout.readlines())
        assert child.wait(30) == -signal.SIGKILL
        lake.reconcile()
        current = lake.datasets.get(FLIGHTS).current
        assert current == lake.store.latest(current.ref.dataset_id)
        assert reported <= current.row_count <= reported + 1
        assert lake.datasets.lake_state().datasets["flights"].ref == current.ref
        reported = current.row_count
    versions = [stored.event.data["version"] for stored in lake.events.after(0)]
    assert versions == list(range(current.ref.version + 1))
    assert current.ref.version + 1 == reported
