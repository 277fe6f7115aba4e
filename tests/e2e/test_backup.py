"""`skein backup`: copies made while everybody writes, and servers that start from them."""

import json
import threading

import httpx
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from tests.e2e.commands import skein
from tests.stack import skein_process, until

BATCH = 1_000


def ask(uri, sql):
    with fl.connect(uri) as client:
        info = client.get_flight_info(fl.FlightDescriptor.for_command(sql))
        return client.do_get(info.endpoints[0].ticket).read_all().to_pylist()


def put(uri, rows):
    with fl.connect(uri) as client:
        table = pa.table({"i": rows})
        writer, _ = client.do_put(fl.FlightDescriptor.for_path("numbers"), table.schema)
        with writer:
            writer.write_table(table)


def tell(http, sql):
    httpx.post(f"{http}/api/v1/query", json={"sql": sql}, timeout=60).raise_for_status()


class Writers:
    """Append batches to a dataset and to a table of a user's, again and again, until told to stop."""

    def __init__(self, ends):
        self._ends = ends
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._dataset, self._table)]
        self.commits = [0, 0]

    def __enter__(self):
        tell(self._ends["http"], "CREATE TABLE mine (i BIGINT)")
        for thread in self._threads:
            thread.start()
        until(lambda: min(self.commits) > 2, deadline_s=60)
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _dataset(self):
        while not self._stop.is_set():
            first = self.commits[0] * BATCH
            put(self._ends["flight"], range(first, first + BATCH))
            self.commits[0] += 1

    def _table(self):
        while not self._stop.is_set():
            first = self.commits[1] * BATCH
            tell(self._ends["http"], f"INSERT INTO mine FROM range({first}, {first + BATCH})")
            if self.commits[1] % 3 == 0:
                tell(self._ends["http"], "CHECKPOINT")
            self.commits[1] += 1


def test_a_copy_made_while_all_write_has_whole_commits_and_can_be_started(tmp_path):
    live, copy, second = tmp_path / "live", tmp_path / "copy", tmp_path / "second"
    with skein_process(live) as server, Writers(server.endpoints) as writers:
        first = skein("backup", "create", copy, "--data", live)
        assert first.returncode == 0, first.stderr
        seen = list(writers.commits)
        until(lambda: min(writers.commits) > max(seen), deadline_s=60)
        again = skein("backup", "create", copy, "--data", live)
        assert again.returncode == 0, again.stderr
    checked = skein("backup", "check", copy)
    assert checked.stdout == again.stdout
    assert "1 dataset" in checked.stdout
    restored = skein("backup", "restore", copy, "--data", second)
    assert restored.returncode == 0, restored.stderr
    with skein_process(second) as server:
        for table in ("numbers", "mine"):
            sql = f"SELECT count(*) AS n, count(DISTINCT i) AS d, max(i) AS m FROM {table}"
            ((row,),) = [ask(server.endpoints["flight"], sql)]
            assert row["n"] % BATCH == 0
            assert row["n"] >= BATCH * max(seen[table == "mine"], 1)
            assert row["d"] == row["n"] == row["m"] + 1
        put(server.endpoints["flight"], [-1])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data directory with one dataset, and a backup of it."""
    root = tmp_path_factory.mktemp("backup")
    with skein_process(root / "live") as server:
        put(server.endpoints["flight"], range(10))
    assert skein("backup", "create", root / "copy", "--data", root / "live").returncode == 0
    return root


def test_a_second_backup_copies_only_what_is_new(made):
    before = {path: path.stat().st_ino for path in (made / "copy" / "lake").rglob("*.parquet")}
    assert skein("backup", "create", made / "copy", "--data", made / "live").returncode == 0
    assert {path: path.stat().st_ino for path in (made / "copy" / "lake").rglob("*.parquet")} == before != {}


def test_a_backup_that_lost_a_file_or_was_not_finished_is_found_out(made):
    (file,) = (made / "copy" / "lake").rglob("*.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    cut = skein("backup", "check", made / "copy")
    assert (cut.returncode, cut.stderr) == (
        1,
        "error: [unreadable_data] dataset 'numbers' is not whole in the backup; make it again\n",
    )
    file.write_bytes(content)
    manifest = made / "copy" / "backup.json"
    kept = manifest.read_text()
    assert json.loads(kept)["rows"] == 10
    manifest.unlink()
    assert "no finished backup" in skein("backup", "restore", made / "copy", "--data", made / "x").stderr
    manifest.write_text(kept)


def test_places_that_do_not_fit_are_refused(made):
    for target in (made / "live", made / "live" / "lake", made):
        refused = skein("backup", "create", target, "--data", made / "live")
        assert refused.returncode == 1, target
        assert "choose another folder" in refused.stderr
    full = skein("backup", "restore", made / "copy", "--data", made / "live")
    assert "[conflict]" in full.stderr
    nothing = skein("backup", "create", made / "y", "--data", made / "nowhere")
    assert "is no data directory" in nothing.stderr
