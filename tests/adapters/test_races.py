"""Two processes that write the same datasets at the same time: every version follows from the one before it.

One is a process with jobs: ingestions and a compaction. The other one, which is this one, writes and
deletes as clients do over Flight.
"""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_core.application.ports.clock import utc_now
from flight_core.application.writes.rows import NewRows
from flight_core.domain.access import LOCAL
from flight_core.domain.contract import ColumnContract, Contract, UniqueKey
from flight_core.domain.dataset import DatasetName, WriteMode, WriteRule
from flight_core.domain.errors import CommitConflict
from flight_core.domain.ingestion import IngestionRequest, SourceSpec
from flight_core.domain.job import JobState, Task
from skein.directory import Role
from tests.adapters.forking_worker import CHORES
from tests.adapters.whole_process import WholeProcess, whole_process
from tests.stack import until

Rows = list[tuple[int, str]]

MOST = 30  # writes of this process into one dataset; it deletes as many rows, one by one
KEYS = {WriteMode.UPSERT: ("id",)}


def numbered(first: int, count: int, text: str) -> Rows:
    return [(id, text) for id in range(first, first + count)]


@dataclass
class Race:
    """What both processes have done, by its message in the history."""

    process: WholeProcess
    done: dict[str, tuple[WriteMode, Rows]] = field(default_factory=dict)
    refused: int = 0

    def ingest(self, name: str, mode: WriteMode, text: str, rows: Rows) -> None:
        """Leave it to the other process."""
        file = f"{text}.csv"
        (self.process.inputs / file).write_text("id,text\n" + "".join(f"{id},{text}\n" for id, text in rows))
        self.done[text] = (mode, rows)
        source = SourceSpec("file", {"path": file})
        request = IngestionRequest(DatasetName(name), source, mode, keys=KEYS.get(mode, ()), message=text)
        self.process.start(request, actor=LOCAL)

    def write(self, name: str, mode: WriteMode, text: str, rows: Rows) -> None:
        self.done[text] = (mode, rows)
        ids, texts = zip(*rows, strict=True)
        table = pa.table({"id": pa.array(ids, pa.int64()), "text": texts})
        try:
            self.process.write_dataset(
                DatasetName(name),
                NewRows(table.schema, table.to_batches(), message=text),
                WriteRule(mode),
                actor=LOCAL,
            )
        except CommitConflict:
            self.refused += 1

    def delete(self, name: str, id: int) -> None:
        try:
            self.process.delete_rows(DatasetName(name), f"id = {id}", actor=LOCAL)
        except CommitConflict:
            self.refused += 1

    def history(self, name: str) -> list[tuple[dict, Rows]]:
        """What each version says of itself, and its rows; the oldest first."""
        store = self.process.parts.store
        id = self.process.parts.catalog.datasets.get(DatasetName(name)).id
        return [(dict(each.commit_info), self._rows(each.ref)) for each in store.history(id)[::-1]]

    def _rows(self, ref) -> Rows:
        files = self.process.parts.store.files(ref)
        table = pa.concat_tables(pq.read_table(uri, schema=files.schema) for uri in files.uris)
        return sorted(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))

    def follows(self, before: Rows, info: dict) -> Rows:
        """The rows of the next version, as its history tells what was done."""
        if info["mode"] == "compact":
            return before
        if info["mode"] == "delete":
            gone = int(re.fullmatch(r"id = (\d+)", info["where"])[1])
            return [row for row in before if row[0] != gone]
        mode, rows = self.done[info["message"]]
        ids = {row[0] for row in rows}
        kept = {
            WriteMode.APPEND: before,
            WriteMode.REPLACE: [],
            WriteMode.UPSERT: [row for row in before if row[0] not in ids],
        }
        return sorted(kept[mode] + rows)

    def expect_one_after_the_other(self, name: str) -> list[dict]:
        rows: Rows = []
        told = []
        for info, found in self.history(name):
            rows = self.follows(rows, info)
            assert found == rows, (name, info)
            told.append(info)
        return told


@pytest.mark.timeout(300)
def test_what_two_processes_write_at_once_happens_one_after_the_other(tmp_path, worker):
    with whole_process(tmp_path, Role.FLIGHT) as process:
        race = Race(process)
        for name in ("appended", "rewritten", "tidied"):
            for number in range(3):
                race.write(name, WriteMode.APPEND, f"{name} {number}", numbered(10 * number, 10, "first"))
        for number in range(6):
            race.ingest("appended", WriteMode.APPEND, f"job {number}", numbered(1000 + number, 1, "job"))
            race.ingest("rewritten", WriteMode.UPSERT, f"upsert {number}", numbered(5, 10, f"u{number}"))
            race.ingest("tidied", WriteMode.APPEND, f"more {number}", numbered(1000 + number, 1, "more"))
        process.start_maintenance(DatasetName("tidied"), Task.COMPACT, actor=LOCAL)
        (process.inputs / CHORES).write_text(json.dumps([]))

        def append(number: int) -> None:
            race.write("appended", WriteMode.APPEND, f"client {number}", numbered(2000 + number, 1, "client"))

        def replace(number: int) -> None:
            race.write("rewritten", WriteMode.REPLACE, f"all {number}", numbered(0, 10, f"r{number}"))

        def tidy(number: int) -> None:
            race.delete("tidied", number)
            race.write("tidied", WriteMode.APPEND, f"late {number}", numbered(3000 + number, 1, "late"))

        writes = _beside(lambda: worker(tmp_path, 0), process, [append, replace, tidy])

        jobs = process.parts.catalog.jobs.list(limit=100)
        ends = {(job.state, job.error_code) for job in jobs}
        assert ends <= {(JobState.SUCCEEDED, None), (JobState.FAILED, "commit_conflict")}
        failed = [job for job in jobs if job.state is JobState.FAILED]
        appended = race.expect_one_after_the_other("appended")
        assert len(appended) == 3 + 6 + writes[0], "an append was lost"
        by_job = ["job" in info["message"] for info in appended[3:]]
        assert False in by_job[by_job.index(True) :], "they were not at it at the same time"
        rewritten = race.expect_one_after_the_other("rewritten")
        tidied = race.expect_one_after_the_other("tidied")
        assert {job.dataset.value for job in failed} <= {"rewritten", "tidied"}
        attempts = 3 + 6 + writes[1] + 3 + 6 + 1 + 2 * writes[2]
        assert len(rewritten) + len(tidied) + len(failed) + race.refused == attempts


@pytest.mark.timeout(300)
def test_a_key_stays_unique_whoever_brings_it(tmp_path, worker):
    with whole_process(tmp_path, Role.FLIGHT) as process:
        race = Race(process)
        contract = Contract(columns=(ColumnContract("id", "int64"),), unique=(UniqueKey(("id",)),))
        name = DatasetName("keyed")
        process.parts.catalog.contracts.put(name, contract, actor="ann", at=utc_now())
        for number in range(3):
            race.ingest("keyed", WriteMode.APPEND, f"job {number}", numbered(5 * number, 10, f"job {number}"))
        (process.inputs / CHORES).write_text(json.dumps([]))

        def write(number: int) -> None:
            race.write("keyed", WriteMode.APPEND, f"client {number}", numbered(4 * number, 8, f"c{number}"))

        _beside(lambda: worker(tmp_path, 0), process, [write], most=4)

        jobs = process.parts.catalog.jobs.list()
        failed = [job for job in jobs if job.state is not JobState.SUCCEEDED]
        assert [(job.error_code, job.error_message) for job in failed] == []
        ids = [id for id, _ in race.history("keyed")[-1][1]]
        assert ids == list(range(max(ids) + 1))
        assert max(ids) >= 19


def _beside(
    other: Callable[[], object],
    process: WholeProcess,
    lanes: list[Callable[[int], None]],
    most: int = MOST,
) -> list[int]:
    """Write into each lane, once at least, while the other process does its work; how often."""
    with ThreadPoolExecutor(1 + len(lanes)) as threads:
        others = threads.submit(other)
        until(lambda: any(job.state is not JobState.QUEUED for job in process.parts.catalog.jobs.list()))

        def repeat(lane: Callable[[int], None]) -> int:
            for number in range(most):
                lane(number)
                if others.done():
                    break
            return number + 1

        counts = [threads.submit(repeat, lane) for lane in lanes]
        assert others.result() is not None
        return [count.result() for count in counts]
