"""SIGKILL at random moments of ingestions of every mode: all or nothing, once, and nothing left behind.

The ordinary run is 10 rounds of 11 ingestions, of every mode, in the hands of workers that are killed
until one is not. SKEIN_TEST_ROUNDS=1000 makes it longer, SKEIN_TEST_SEED repeats a run.
"""

import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import anyio
import psutil
import pytest
import sqlalchemy as sa

from flight_core.application.ports.clock import utc_now
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.domain.job import JobState
from tests.adapters.ingestion_stack import IngestionStack

ROUNDS = int(os.environ.get("SKEIN_TEST_ROUNDS", "10"))
SEED = int(os.environ.get("SKEIN_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
BEFORE = [(part, part * 10 + n, f"old {n}") for part in range(3) for n in range(10)]
NEW = [(part, part * 10 + n, f"new {n}") for part in (1, 2) for n in range(5, 15)]


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


KEYS = {WriteMode.UPSERT: ("id",), WriteMode.REPLACE_PARTITIONS: ("part",)}


def csv(rows: list[tuple]) -> bytes:
    return ("part,id,text\n" + "".join(f"{part},{id},{text}\n" for part, id, text in rows)).encode()


def rows_of(stack: IngestionStack, name: str) -> list[tuple] | None:
    """Of the newest version that storage has, published or not; None if there is no dataset."""
    id = next((id for known, id in _ids(stack) if known.value == name), None)
    latest = None if id is None else stack.store.latest(id)
    if latest is None:
        return None
    table = stack.rows(latest.ref)
    return sorted(zip(*(table[column].to_pylist() for column in ("part", "id", "text")), strict=True))


def _ids(stack: IngestionStack):
    yield from ((dataset.name, dataset.id) for dataset in stack.datasets.list())
    yield from stack.datasets.reservations()


@contextmanager
def forking_worker(folder: Path):
    """Call it with the step at which the next worker dies; whether it has come to an end, and its steps."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.adapters.forking_worker", str(folder)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "POLARS_MAX_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(last_step: int) -> int | None:
        process.stdin.write(f"{last_step}\n")
        process.stdin.flush()
        answer = process.stdout.readline().split()
        assert answer, "the worker's parent died"
        return int(answer[1]) if answer[0] == "done" else None

    try:
        assert process.stdout.readline() == "ready\n"
        yield run
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def expire_leases(stack: IngestionStack) -> None:
    """As time does."""
    with stack.database.write() as connection:
        connection.execute(
            sa.text("UPDATE jobs SET lease_until = :past WHERE state = 'running'"),
            {"past": (utc_now() - timedelta(hours=1)).replace(tzinfo=None).isoformat(" ")},
        )


def expect_nothing_left_behind(stack: IngestionStack) -> None:
    assert stack.leftovers() == []
    stack.store.sweep(before=utc_now() + timedelta(days=1))
    for _, id in _ids(stack):
        listed = set()
        for version in stack.store.history(id):
            listed.update(stack.store.files(version.ref).uris)
        folder = stack.lake / id
        there = {str(path) for path in folder.rglob("*.parquet") if "_delta_log" not in path.parts}
        assert there == listed


@pytest.mark.timeout(300 + 20 * ROUNDS)
def test_workers_killed_at_any_step_commit_all_or_nothing_and_once(tmp_path):
    dice = random.Random(SEED)
    stack = IngestionStack(tmp_path)
    stack.file("before.csv", csv(BEFORE))
    stack.file("new.csv", csv(NEW))
    killed_jobs = 0
    with forking_worker(tmp_path) as worker:
        for number in range(ROUNDS):
            lanes = {name: mode for mode in WriteMode for name in names(mode, number)}
            for name, mode in lanes.items():
                if mode is not WriteMode.CREATE:
                    stack.start(name, path="before.csv", mode=WriteMode.REPLACE)
            steps = worker(0)
            assert steps is not None
            versions = {name: len(history(stack, name)) for name in lanes}
            jobs = {
                name: stack.start(name, path="new.csv", mode=mode, keys=KEYS.get(mode, ()))
                for name, mode in lanes.items()
            }
            while worker(dice.randint(1, 3 * steps)) is None:  # now and then later than the end
                killed_jobs += sum(stack.get(job).state is JobState.RUNNING for job in jobs.values())
                for name, mode in lanes.items():
                    was = None if mode is WriteMode.CREATE else BEFORE
                    assert rows_of(stack, name) in (was, after(mode)), (SEED, mode)
                expire_leases(stack)
            for name, mode in lanes.items():
                ended = stack.get(jobs[name])
                assert (ended.state, ended.error_message) == (JobState.SUCCEEDED, None), (SEED, mode)
                assert rows_of(stack, name) == after(mode), (SEED, mode)
                published = stack.datasets.get(DatasetName(name)).version
                assert published == ended.version == versions[name], (SEED, mode)
    assert killed_jobs >= ROUNDS
    expect_nothing_left_behind(stack)
    stack.close()


def names(mode: WriteMode, number: int) -> list[str]:
    """The datasets of a round: more of them where a write is quick."""
    if mode is WriteMode.CREATE:
        return [f"created_{number}_{lane}" for lane in range(3)]
    return [f"{mode}_{lane}" for lane in range(1 if mode.needs_keys else 3)]


def history(stack: IngestionStack, name: str):
    found = stack.datasets.find(DatasetName(name))
    return [] if found is None else stack.store.history(found.id)


@pytest.mark.anyio
@pytest.mark.parametrize("mode", [WriteMode.APPEND, WriteMode.REPLACE])
async def test_a_killed_parsing_process_takes_only_its_job_down(tmp_path, mode):
    dice = random.Random(SEED)
    stack = IngestionStack(tmp_path)
    stack.file("before.csv", csv(BEFORE))
    stack.file("new.csv", csv(NEW * 2000))
    async with stack.working():
        await stack.until(stack.start("d", path="before.csv"))
        for _ in range(5):
            before = rows_of(stack, "d")
            job = stack.start("d", path="new.csv", mode=mode)
            await stack.until(job, JobState.RUNNING)
            with anyio.fail_after(60):
                while not (parsers := psutil.Process().children()) and not stack.get(job).state.final:
                    await anyio.sleep(0.001)
            await anyio.sleep(dice.uniform(0, 0.6))  # not waiting for anything: the moment is what varies
            for parser in parsers:
                with suppress(psutil.NoSuchProcess):
                    parser.send_signal(signal.SIGKILL)
            ended = await stack.until(job)
            if ended.state is JobState.SUCCEEDED:
                assert rows_of(stack, "d") == sorted(
                    NEW * 2000 + (before if mode is WriteMode.APPEND else [])
                )
            else:
                assert (ended.state, ended.error_code) == (JobState.FAILED, "limit_exceeded")
                assert rows_of(stack, "d") == before
    expect_nothing_left_behind(stack)
    stack.close()


@pytest.fixture
def anyio_backend():
    return "asyncio"
