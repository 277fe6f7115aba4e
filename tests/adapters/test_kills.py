"""SIGKILL at random moments of everything that commits: all or nothing, once, and nothing left behind.

The ordinary run is 6 rounds of 17 pieces of work, of every mode, in the hands of processes that are killed
until one is not. SKEIN_TEST_ROUNDS=1000 makes it longer, SKEIN_TEST_SEED repeats a run.
"""

import json
import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import anyio
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from flight_core.application.derived.definitions import DerivationRequest
from flight_core.application.ingestion.schedules import AddSchedule
from flight_core.application.ports.clock import utc_now
from flight_core.domain.access import LOCAL
from flight_core.domain.contract import ColumnContract, Contract
from flight_core.domain.dataset import DatasetName, VersionRef, WriteMode
from flight_core.domain.ingestion import IngestionRequest, SourceSpec
from flight_core.domain.job import JobState, Task
from flight_core.domain.schedule import Interval
from flight_core.domain.versions import RetentionPolicy
from skein.directory import Role
from tests.adapters.forking_worker import CHORES
from tests.adapters.ingestion_stack import IngestionStack
from tests.adapters.parsing_processes import parsing_processes
from tests.adapters.whole_process import WholeProcess, whole_process

ROUNDS = int(os.environ.get("SKEIN_TEST_ROUNDS", "6"))
SEED = int(os.environ.get("SKEIN_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
STEPS = 2500  # about as many as a round takes
ROOT = Path(__file__).parents[2]

Rows = list[tuple] | None

BEFORE = [(part, part * 10 + n, f"old {n}") for part in range(3) for n in range(10)]
NEW = [(part, part * 10 + n, f"new {n}") for part in (1, 2) for n in range(5, 15)]
REJECTED = [(1, "x", "no number"), (2, "", "nothing")]
BY_STATEMENT = {WriteMode.UPDATE, WriteMode.DELETE, WriteMode.MERGE}  # no ingestion has these modes
KEYS = {WriteMode.UPSERT: ("id",), WriteMode.REPLACE_PARTITIONS: ("part",)}


def after(mode: WriteMode) -> list[tuple]:
    """The rows once NEW have been written over BEFORE (of a new dataset, where the mode makes one)."""
    match mode:
        case WriteMode.CREATE | WriteMode.REPLACE:
            kept = []
        case WriteMode.APPEND:
            kept = BEFORE
        case WriteMode.UPSERT:
            ids = {row[1] for row in NEW}
            kept = [row for row in BEFORE if row[1] not in ids]
        case WriteMode.REPLACE_PARTITIONS:
            kept = [row for row in BEFORE if row[0] not in {new[0] for new in NEW}]
    return sorted(kept + NEW)


def csv(rows: list[tuple]) -> bytes:
    return ("part,id,text\n" + "".join(f"{part},{id},{text}\n" for part, id, text in rows)).encode()


def table_of(rows: list[tuple]) -> pa.Table:
    return pa.table(dict(zip(("part", "id", "text"), map(list, zip(*rows, strict=True)), strict=True)))


def in_part(number: int, rows: list[tuple]) -> list[tuple]:
    return [row for row in rows if row[0] == number]


@dataclass(frozen=True)
class Lane:
    """Work on one dataset. `seen` is what may be found in it while processes die, the last of it at the end,
    in `versions` versions; None: as many as jobs say they committed."""

    seen: tuple[Rows, ...]
    versions: int | None


@dataclass
class Round:
    """Lanes in a folder of their own: what is there at first, and what is asked for."""

    process: WholeProcess
    lanes: dict[str, Lane] = field(default_factory=dict)
    chores: list[list] = field(default_factory=list)
    _read: dict[VersionRef, list[tuple]] = field(default_factory=dict)

    def begin(self) -> None:
        for name, content in (("new", NEW), ("bad", NEW + REJECTED)):
            (self.process.inputs / f"{name}.csv").write_bytes(csv(content))
        for mode in set(WriteMode) - BY_STATEMENT:
            for number in range(1 if mode.needs_keys else 3):
                self._ingest(f"{mode}_{number}", mode)
        self._derive()
        self._check()
        self._repeat()
        self._maintain()
        self._go_back()
        self._delete()
        (self.process.inputs / CHORES).write_text(json.dumps(self.chores))

    def _ingest(self, name: str, mode: WriteMode) -> None:
        was = None if mode is WriteMode.CREATE else BEFORE
        self._lane(name, [] if was is None else [was], Lane((was, after(mode)), 1 + bool(was)))
        self.process.start(self._request(name, mode), actor=LOCAL)

    def _derive(self) -> None:
        """Begun before its input changes, or after."""
        self._ingest("input", WriteMode.APPEND)
        first, last = in_part(1, BEFORE), in_part(1, after(WriteMode.APPEND))
        for name, incremental in (("derived", False), ("derived_by_rows", True)):
            self.lanes[name] = Lane((None, first, last), None)
            request = DerivationRequest(
                DatasetName(name), "SELECT * FROM input WHERE part = 1", incremental=incremental
            )
            self.process.derivations.define(request, actor=LOCAL)

    def _check(self) -> None:
        self._ingest("checked", WriteMode.APPEND)
        self.lanes["checked_rejects"] = Lane((None, REJECTED), 1)
        contract = Contract(columns=(ColumnContract("id", "int64", nullable=False),))
        self.process.parts.catalog.contracts.put(DatasetName("checked"), contract, actor="ann", at=utc_now())

    def _repeat(self) -> None:
        mode = WriteMode.APPEND
        self._lane("repeated", [BEFORE], Lane((BEFORE, after(mode)), 2))
        AddSchedule(self.process.desk)(
            "daily", self._request("repeated", mode), Interval(86_400), actor=LOCAL
        )

    def _maintain(self) -> None:
        self._lane("compacted", [in_part(number, BEFORE) for number in range(3)], Lane((BEFORE,), 4))
        self._lane("vacuumed", [NEW], Lane((BEFORE,), 2))
        name = DatasetName("vacuumed")
        self.process.write("vacuumed", table_of(BEFORE), WriteMode.REPLACE)
        self.process.versions.set_retention(name, RetentionPolicy(1), actor=LOCAL)
        self.process.vacuum(name, actor=LOCAL)  # lets the old version go, whose files are needed by nobody
        self.process.parts.queries.open_read_reporter.report()
        for each, task in (("compacted", Task.COMPACT), ("vacuumed", Task.VACUUM)):
            self.process.start_maintenance(DatasetName(each), task, actor=LOCAL)

    def _go_back(self) -> None:
        self._lane("restored", [BEFORE], Lane((NEW, BEFORE), 3))
        self.process.write("restored", table_of(NEW), WriteMode.REPLACE)
        self.chores.append(["restore", "restored", 0, 1])

    def _delete(self) -> None:
        kept = [row for row in BEFORE if row[0] != 1]
        self._lane("deleted", [BEFORE], Lane((BEFORE, kept), 2))
        self.chores.append(["delete", "deleted", "part = 1"])

    def _lane(self, name: str, writes: list[list[tuple]], lane: Lane) -> None:
        self.lanes[name] = lane
        for rows in writes:
            self.process.write(name, table_of(rows))

    def _request(self, name: str, mode: WriteMode) -> IngestionRequest:
        file = "bad.csv" if name == "checked" else "new.csv"
        return IngestionRequest(
            DatasetName(name), SourceSpec("file", {"path": file}), mode, keys=KEYS.get(mode, ())
        )

    def rows(self, name: str) -> Rows:
        """Of the newest version that storage has, published or not; None if there is no dataset."""
        id = dict(self.process.ids()).get(name)
        latest = None if id is None else self.process.parts.store.latest(id)
        if latest is None:
            return None
        if latest.ref not in self._read:
            self._read[latest.ref] = self._rows_of(latest.ref)
        return self._read[latest.ref]

    def _rows_of(self, ref: VersionRef) -> list[tuple]:
        files = self.process.parts.store.files(ref)
        table = pa.concat_tables(pq.read_table(uri, schema=files.schema) for uri in files.uris)
        if "raw" in table.schema.names:
            return [tuple(_as_typed(dict(raw))) for raw in table["raw"].to_pylist()]
        return sorted(zip(*(table[column].to_pylist() for column in ("part", "id", "text")), strict=True))

    def expect_whole_states(self) -> None:
        for name, lane in self.lanes.items():
            assert self.rows(name) in lane.seen, (SEED, name)
        if self.rows("checked") == BEFORE:
            assert self.rows("checked_rejects") is None

    def expire_leases(self) -> None:
        """As time does."""
        with self.process.parts.catalog.database.write() as connection:
            connection.execute(
                sa.text("UPDATE jobs SET lease_until = :past WHERE state = 'running'"),
                {"past": (utc_now() - timedelta(hours=1)).replace(tzinfo=None).isoformat(" ")},
            )

    def expect_ends(self) -> None:
        parts = self.process.parts
        jobs = parts.catalog.jobs.list(limit=1000)
        ends = {(job.state, job.error_message) for job in jobs}
        assert ends == {(JobState.SUCCEEDED, None)}, SEED
        for name, lane in self.lanes.items():
            assert self.rows(name) == lane.seen[-1], (SEED, name)
            dataset = parts.catalog.datasets.get(DatasetName(name))
            committed = [
                job.version for job in jobs if job.dataset == dataset.name and job.version is not None
            ]
            versions = lane.versions or len(committed)
            assert len(parts.store.history(dataset.id)) == dataset.version + 1 == versions, (SEED, name)
            assert set(committed) <= set(range(versions)), (SEED, name)
            assert len(committed) == len(set(committed)), (SEED, name)


def _as_typed(raw: dict) -> Iterator[object]:
    yield int(raw["part"])
    yield raw["id"] or ""
    yield raw["text"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_processes_killed_at_any_step_commit_all_or_nothing_and_once(tmp_path, worker, number):
    dice = random.Random(SEED + number)
    with whole_process(tmp_path, Role.FLIGHT) as process:
        round = Round(process)
        round.begin()
        died_at, step = [], dice.randint(1, STEPS // 2)
        while (steps := worker(tmp_path, step)) is None:
            died_at.append(step)
            round.expect_whole_states()
            round.expire_leases()
            step = dice.randint(1, 2 * STEPS)  # now and then later than the end
        assert died_at, (SEED, steps)
        round.expect_ends()
        process.expect_nothing_left_behind()


@pytest.mark.anyio
async def test_a_killed_parsing_process_takes_only_its_job_down(tmp_path):
    dice = random.Random(SEED)
    stack = IngestionStack(tmp_path)
    stack.file("before.csv", csv(BEFORE))
    stack.file("new.csv", csv(NEW * 2000))
    async with stack.working():
        await stack.until(stack.start("d", path="before.csv"))
        for mode in (WriteMode.APPEND, WriteMode.REPLACE) * 3:
            before = stack.table("d").sort_by("id")
            job = stack.start("d", path="new.csv", mode=mode)
            await stack.until(job, JobState.RUNNING)
            with anyio.fail_after(60):
                while not (parsers := parsing_processes(os.getpid())) and not stack.get(job).state.final:
                    await anyio.sleep(0.001)
            await anyio.sleep(dice.uniform(0, 0.1))  # not waiting for anything: the moment is what varies
            keepers_too = psutil.Process().children(recursive=True)
            for victim in dice.choice([parsers, keepers_too]):
                with suppress(psutil.NoSuchProcess):
                    victim.send_signal(signal.SIGKILL)
            ended = await stack.until(job)
            found = stack.table("d")
            if ended.state is JobState.SUCCEEDED:
                kept = before.num_rows if mode is WriteMode.APPEND else 0
                assert found.num_rows == kept + len(NEW) * 2000
            else:
                assert (ended.state, ended.error_code) == (JobState.FAILED, "limit_exceeded")
                assert found.sort_by("id").equals(before)
    assert stack.leftovers() == []
    stack.close()
