"""Jobs from request to dataset, with every part real: success, failure, cancel, crash, race."""

import asyncio
import gzip
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_core.adapters.parsers.polars import ParserOptions, PolarsParser
from flight_core.adapters.parsers.processes import ParsingProcesses
from flight_core.application.ports.clock import utc_now
from flight_core.application.ports.sources import Fetched, FetchedFile
from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, WriteMode, WriteRule
from flight_core.domain.errors import DatasetExists, IngestionFinished
from flight_core.domain.events import EventKind
from flight_core.domain.job import JobState, Phase
from tests.adapters.http_server import always, answer, head, serving
from tests.adapters.ingestion_stack import DEADLINE_S, IngestionStack
from tests.adapters.parsing_processes import parsing_processes

CSV = b"code,n\n00501,1\n10001,2\n"
ROWS = {"code": ["00501", "10001"], "n": [1, 2]}


async def ended(stack: IngestionStack, *arguments, **options):
    """Start a job, run it, and return how it ended."""
    async with stack.working():
        return await stack.until(stack.start(*arguments, **options))


@pytest.mark.anyio
async def test_a_file_becomes_a_dataset(stack):
    job = await ended(stack, "Codes", path=stack.file("codes.csv", CSV))
    assert (job.state, job.version, job.progress.rows, job.attempt) == (JobState.SUCCEEDED, 0, 2, 1)
    assert (job.error_code, job.error_message) == (None, None)
    assert job.started_at <= job.finished_at
    assert stack.table("codes").to_pydict() == ROWS
    assert stack.datasets.get(DatasetName("codes")).name.value == "Codes"
    assert stack.leftovers() == []


@pytest.mark.anyio
async def test_a_url_becomes_a_dataset(stack):
    async with serving(always(answer(gzip.compress(CSV)))) as server:
        job = await ended(stack, "codes", url=f"{server.url}/codes.csv.gz")
    assert job.state is JobState.SUCCEEDED
    assert stack.table("codes").to_pydict() == ROWS
    info = stack.datasets.get(DatasetName("codes")).current.commit_info
    assert info["source"] == f"{server.url.removeprefix('http://')}/codes.csv.gz"


@pytest.mark.anyio
async def test_events_tell_the_whole_story(stack):
    job = await ended(stack, "codes", path=stack.file("codes.csv", CSV))
    events = stack.events_of(job)
    kinds = [stored.event.kind for stored in events]
    assert kinds[:2] == [EventKind.INGESTION_QUEUED, EventKind.INGESTION_STARTED]
    assert kinds[-1] == EventKind.INGESTION_SUCCEEDED
    assert set(kinds[2:-1]) <= {EventKind.INGESTION_PROGRESSED}
    told = dict(events[-1].event.data)
    assert told.pop("bytes_per_s") > 0
    assert told.pop("rows_per_s") > 0
    assert told == {
        "job": job.id,
        "ingestion": job.id,
        "task": "ingest",
        "dataset": "codes",
        "state": "succeeded",
        "phase": "committing",
        "done_bytes": len(CSV),
        "total_bytes": len(CSV),
        "rows": 2,
        "rejected_rows": 0,
        "eta_s": 0.0,
        "version": 0,
        "unchanged": False,
        "schedule": None,
        "error_code": None,
        "error_message": None,
    }
    committed = next(
        stored for stored in stack.events.after(0) if stored.event.kind is EventKind.DATASET_COMMITTED
    )
    assert events[1].seq < committed.seq < events[-1].seq
    json.dumps([dict(stored.event.data) for stored in events])


@pytest.mark.anyio
async def test_modes_do_what_they_say(stack):
    path = stack.file("codes.csv", CSV)
    async with stack.working():
        for mode, rows in [
            (WriteMode.CREATE, 2),
            (WriteMode.APPEND, 4),
            (WriteMode.APPEND, 6),
            (WriteMode.REPLACE, 2),
        ]:
            job = await stack.until(stack.start("codes", path=path, mode=mode))
            assert (job.state, job.progress.rows) == (JobState.SUCCEEDED, 2)
            assert stack.table("codes").num_rows == rows


@pytest.mark.anyio
async def test_create_is_refused_at_once_where_the_name_is_taken(stack):
    path = stack.file("codes.csv", CSV)
    await ended(stack, "codes", path=path)
    with pytest.raises(DatasetExists, match="'CODES' exists"):
        stack.start("CODES", path=path, mode=WriteMode.CREATE)


@pytest.mark.anyio
async def test_create_fails_before_the_fetch_where_the_name_was_taken_meanwhile(stack):
    first = stack.start("codes", path=stack.file("codes.csv", CSV), mode=WriteMode.CREATE)
    async with serving(always(answer(CSV))) as server:
        second = stack.start("codes", url=server.url, mode=WriteMode.CREATE)
        async with stack.working(concurrency=1):
            assert (await stack.until(first)).state is JobState.SUCCEEDED
            failed = await stack.until(second)
        assert server.requests == []
    assert (failed.state, failed.error_code) == (JobState.FAILED, "dataset_exists")
    assert stack.table("codes").num_rows == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("content", "options", "code", "text"),
    [
        (b"", {}, "unreadable_data", "is empty"),
        (b"a,b\n1,2\n3\n", {}, "unreadable_data", "line 3"),
        (b"a,b,a\n1,2,3\n", {}, "schema_mismatch", "'a'"),
        (b'[{"a": 1}, {"A": 2}]', {}, "schema_mismatch", "same name: 'a', 'A'"),
        (b"PAR1 no more", {}, "unreadable_data", "truncated or damaged"),
        (CSV, {"format": "parquet"}, "unreadable_data", "looks like csv"),
        (b"%PDF-1.7", {}, "unknown_format", "PDF"),
        (b"a\n\xef\xf0\xe8\xe2\xe5\xf2\n", {}, "unreadable_data", "encoding"),
        (b'[{"a": ' + b"[" * 100_000, {}, "unreadable_data", "nested"),
        (gzip.compress(bytes(80 << 20)), {}, "limit_exceeded", "times its size"),
        (CSV, {"options": {"record_path": "x"}}, "invalid_option", "'record_path'"),
    ],
    ids=[
        "empty",
        "ragged",
        "duplicate columns",
        "columns that differ in case",
        "damaged",
        "wrong format",
        "unknown format",
        "encoding",
        "deep",
        "bomb",
        "option",
    ],
)
async def test_bad_input_fails_the_job_and_leaves_nothing(stack, content, options, code, text):
    job = await ended(stack, "bad", path=stack.file("input.bin", content), **options)
    assert (job.state, job.error_code, job.version) == (JobState.FAILED, code, None)
    assert text in job.error_message
    assert str(stack.inputs) not in job.error_message
    assert "Traceback" not in job.error_message
    assert stack.datasets.find(DatasetName("bad")) is None
    assert stack.leftovers() == []
    assert stack.events_of(job)[-1].event.data["error_code"] == code


@pytest.mark.anyio
async def test_a_failed_append_leaves_the_dataset_as_it_was(stack):
    path = stack.file("codes.csv", CSV)
    await ended(stack, "codes", path=path)
    job = await ended(stack, "codes", path=stack.file("other.csv", b"code,m\n1,2\n"))
    assert (job.state, job.error_code) == (JobState.FAILED, "schema_mismatch")
    assert stack.datasets.get(DatasetName("codes")).version == 0
    assert stack.table("codes").to_pydict() == ROWS


@pytest.mark.anyio
async def test_a_lossy_type_is_refused_unless_asked_for(stack):
    table = pa.table({"t": pa.array([1_000_000_001], pa.timestamp("ns"))})
    pq.write_table(table, stack.inputs / "t.parquet")
    job = await ended(stack, "t", path="t.parquet")
    assert (job.state, job.error_code) == (JobState.FAILED, "lossy_type")
    assert "'t'" in job.error_message
    job = await ended(stack, "t", path="t.parquet", options={"allow_lossy": True})
    assert job.state is JobState.SUCCEEDED
    assert stack.table("t")["t"].cast(pa.int64()).to_pylist() == [1_000_000]


@pytest.mark.anyio
async def test_a_bug_is_told_to_the_log_and_not_to_the_user(stack, caplog):
    class BrokenSource:
        def check(self, spec): ...

        async def fetch(self, spec, folder, report, *, state=None):
            raise RuntimeError("/secret/path")

    stack.sources = {"file": BrokenSource()}
    job = await ended(stack, "codes", path="codes.csv")
    assert (job.state, job.error_code) == (JobState.FAILED, "internal_error")
    assert "secret" not in job.error_message
    assert "/secret/path" in caplog.text
    assert "Traceback" in caplog.text


# -- stopping ----------------------------------------------------------------------------------


class PipeSource:
    """A file that keeps the parser waiting for ever."""

    def check(self, spec): ...

    async def fetch(self, spec, folder, report, *, state=None):
        os.mkfifo(folder / "pipe")
        return Fetched([FetchedFile(folder / "pipe", "pipe.csv", 0, temporary=True)])


async def stall(request, writer):
    writer.write(head(Content_Length=1 << 30) + b"a,b\n" * 100_000)
    await asyncio.Event().wait()


async def cancelled_soon(stack, job):
    stack.cancel(job)
    with anyio.fail_after(2):
        assert (await stack.until(job)).state is JobState.CANCELLED
    assert stack.events_of(job)[-1].event.kind is EventKind.INGESTION_CANCELLED
    assert stack.datasets.find(job.request.dataset) is None


@pytest.mark.anyio
async def test_a_fetch_is_cancelled_within_two_seconds(stack):
    async with serving(stall) as server, stack.working():
        job = stack.start("codes", url=server.url)
        await stack.until_phase(job, Phase.FETCHING)
        await cancelled_soon(stack, job)
    assert stack.leftovers() == []


@pytest.mark.anyio
async def test_a_parse_is_cancelled_within_two_seconds(stack):
    stack.sources = {"file": PipeSource()}
    async with stack.working():
        job = stack.start("codes", path="x")
        await stack.until_phase(job, Phase.PARSING)
        await cancelled_soon(stack, job)
    assert stack.leftovers() == []
    assert parsing_processes(os.getpid()) == []


@pytest.mark.anyio
async def test_a_queued_job_is_cancelled_at_once(stack):
    job = stack.start("codes", path=stack.file("codes.csv", CSV))
    await cancelled_soon(stack, job)
    async with stack.working():
        assert (await ended(stack, "other", path="codes.csv")).state is JobState.SUCCEEDED
    assert stack.get(job).attempt == 0


@pytest.mark.anyio
async def test_a_finished_job_cannot_be_cancelled(stack):
    job = await ended(stack, "codes", path=stack.file("codes.csv", CSV))
    with pytest.raises(IngestionFinished):
        stack.cancel(job)


@pytest.mark.anyio
async def test_a_worker_that_stops_gives_its_jobs_back(stack):
    sources, stack.sources = stack.sources, {"file": PipeSource()}
    async with stack.working(concurrency=1) as worker:
        job = stack.start("codes", path="x")
        await stack.until_phase(job, Phase.PARSING)
        with anyio.fail_after(5):
            worker.stop()
            given_back = await stack.until(job, JobState.QUEUED)
    assert given_back.attempt == 0
    assert stack.leftovers() == []
    stack.sources = sources
    stack.file("x", CSV)
    async with stack.working():
        finished = await stack.until(job)
    assert (finished.state, finished.attempt) == (JobState.SUCCEEDED, 1)


@pytest.mark.anyio
async def test_at_most_so_many_jobs_run_at_a_time(stack):
    async with serving(stall) as server, stack.working(concurrency=2):
        jobs = [stack.start(f"d{number}", url=server.url) for number in range(4)]
        for job in jobs[:2]:
            await stack.until_phase(job, Phase.FETCHING)
        assert [stack.get(job).state for job in jobs] == [JobState.RUNNING] * 2 + [JobState.QUEUED] * 2
        stack.cancel(jobs[0])
        await stack.until(jobs[2], JobState.RUNNING)


@pytest.mark.anyio
async def test_a_job_queued_from_any_thread_starts_without_polling(stack):
    path = stack.file("codes.csv", CSV)
    async with stack.working(poll_s=1000.0):
        await stack.until(stack.start("first", path=path))
        job = await anyio.to_thread.run_sync(lambda: stack.start("codes", path=path))
        assert (await stack.until(job)).state is JobState.SUCCEEDED


# -- crashes and races -------------------------------------------------------------------------


def claimed_by_a_dead_worker(stack, job, attempts=1):
    """As a worker leaves it that was killed."""
    for number in range(1, attempts + 1):
        found = stack.registry.claim(worker="dead", lease_until=utc_now() - timedelta(seconds=1))
        assert found.id == job.id
        (stack.jobs / job.id / str(number) / "fetched").mkdir(parents=True)
    return found


@pytest.mark.anyio
async def test_a_job_of_a_dead_worker_is_started_again(stack):
    job = stack.start("codes", path=stack.file("codes.csv", CSV))
    claimed_by_a_dead_worker(stack, job)
    async with stack.working():
        finished = await stack.until(job)
    assert (finished.state, finished.attempt, finished.version) == (JobState.SUCCEEDED, 2, 0)
    assert stack.table("codes").to_pydict() == ROWS
    assert stack.leftovers() == []


@pytest.mark.anyio
@pytest.mark.parametrize("mode", WriteMode)
@pytest.mark.parametrize("published", [True, False], ids=["published", "unpublished"])
@pytest.mark.parametrize("attempts", [1, 3], ids=["first attempt", "last attempt"])
async def test_what_a_dead_worker_committed_is_not_repeated(stack, mode, published, attempts):
    async with serving(always(answer(CSV))) as server:
        keys = tuple(ROWS)[:1] if mode.needs_keys else ()
        job = stack.start("codes", url=server.url, mode=mode, keys=keys)
        found = claimed_by_a_dead_worker(stack, job, attempts)
        name = DatasetName("codes")
        with stack.open_write(name, None, WriteRule(mode, tuple(keys)), actor=LOCAL, job_id=job.id) as write:
            pq.write_table(pa.table(ROWS), write.staged.folder / "part.parquet")
            write.staged.adopt([write.staged.folder / "part.parquet"])
            version = write.staged.commit(job_id=job.id)
        if published:
            stack.publish(DatasetName("codes"), version)
        async with stack.working():
            finished = await stack.until(job)
        assert server.requests == []
    assert (finished.state, finished.version) == (JobState.SUCCEEDED, 0)
    assert finished.attempt == found.attempt + 1
    assert finished.progress.rows == 2
    assert stack.table("codes").to_pydict() == ROWS
    assert stack.leftovers() == []
    assert len(stack.store.history(stack.datasets.get(DatasetName("codes")).id)) == 1


@pytest.mark.anyio
async def test_a_job_that_ends_the_server_every_time_is_given_up(stack):
    job = stack.start("codes", path=stack.file("codes.csv", CSV))
    claimed_by_a_dead_worker(stack, job, attempts=3)
    async with stack.working(max_attempts=3):
        failed = await stack.until(job)
    assert (failed.state, failed.error_code) == (JobState.FAILED, "attempts_exhausted")
    assert "3 times" in failed.error_message
    assert stack.leftovers() == []
    assert stack.datasets.find(DatasetName("codes")) is None


@pytest.mark.anyio
async def test_a_cancel_that_nobody_heard_is_still_obeyed(stack):
    job = stack.start("codes", path=stack.file("codes.csv", CSV))
    claimed_by_a_dead_worker(stack, job)
    stack.cancel(job)
    async with stack.working():
        assert (await stack.until(job)).state is JobState.CANCELLED
    assert stack.datasets.find(DatasetName("codes")) is None
    assert stack.leftovers() == []


@pytest.mark.anyio
async def test_a_worker_that_lost_its_lease_leaves_the_job_alone(stack):
    async with serving(stall) as server, stack.working(name="slow", concurrency=1):
        job = stack.start("codes", url=server.url)
        await stack.until_phase(job, Phase.FETCHING)
        stack.registry.release(job.id, worker="slow-1")
        other = stack.registry.claim(worker="other", lease_until=utc_now() + timedelta(hours=1))
        with anyio.fail_after(5):
            while stack.leftovers():
                await anyio.sleep(0.01)
    assert other.id == job.id
    assert stack.get(job).state is JobState.RUNNING
    stack.registry.report(job.id, other.progress, worker="other", lease_until=utc_now() + timedelta(hours=1))


@pytest.mark.anyio
async def test_jobs_that_race_for_one_new_dataset_all_succeed(stack):
    path = stack.file("codes.csv", CSV)
    async with stack.working(concurrency=4):
        jobs = [stack.start("codes", path=path) for _ in range(4)]
        finished = [await stack.until(job) for job in jobs]
    assert {job.state for job in finished} == {JobState.SUCCEEDED}
    assert sorted(job.version for job in finished) == [0, 1, 2, 3]
    assert stack.table("codes").num_rows == 8


@pytest.mark.anyio
async def test_one_of_several_creates_wins(stack):
    path = stack.file("codes.csv", CSV)
    jobs = [stack.start("codes", path=path, mode=WriteMode.CREATE) for _ in range(3)]
    async with stack.working(concurrency=3):
        finished = [await stack.until(job) for job in jobs]
    assert sorted(job.error_code or "" for job in finished) == ["", "dataset_exists", "dataset_exists"]
    assert stack.table("codes").num_rows == 2


SERVER = textwrap.dedent("""
    import sys
    from pathlib import Path
    import anyio
    from tests.adapters.ingestion_stack import IngestionStack

    async def main():
        stack = IngestionStack(Path(sys.argv[1]))
        async with stack.working(lease_s=1.0, heartbeat_s=0.2):
            print("ready", flush=True)
            await anyio.sleep_forever()

    anyio.run(main)
""")


def server_process(folder: Path) -> subprocess.Popen:
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


class WithoutFiles(ParsingProcesses):
    """At the moment that one is needed the system allows no further file."""

    def start(self) -> socket.socket:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        try:
            return super().start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.anyio
async def test_a_server_that_may_open_no_further_file_says_so(stack):
    stack.parser = PolarsParser(ParserOptions(), WithoutFiles())
    async with stack.working():
        job = await stack.until(stack.start("codes", path=stack.file("codes.csv", CSV)))
    assert (job.state, job.error_code) == (JobState.FAILED, "resource_exhausted")
    assert "ulimit -n" in job.error_message


@pytest.mark.anyio
async def test_a_server_killed_in_the_middle_of_a_fetch_starts_it_again(stack, tmp_path):
    arrived = anyio.Event()

    async def slow_at_first(request, writer):
        if arrived.is_set():
            writer.write(answer(CSV))
        else:
            writer.write(answer(CSV)[:-5])
            arrived.set()
            await asyncio.Event().wait()

    async with serving(slow_at_first) as server:
        job = stack.start("codes", url=server.url)
        process = server_process(tmp_path)
        try:
            with anyio.fail_after(DEADLINE_S):
                await arrived.wait()
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        assert stack.get(job).state is JobState.RUNNING
        async with stack.working():
            finished = await stack.until(job)
    assert (finished.state, finished.attempt) == (JobState.SUCCEEDED, 2)
    assert stack.table("codes").to_pydict() == ROWS
    assert stack.leftovers() == []


@pytest.mark.anyio
async def test_kills_at_any_moment_lose_and_repeat_nothing(stack, tmp_path):
    """Every row says which job it belongs to: in the end each succeeded job is there once."""
    rows = 50_000
    jobs = []
    for number in range(9):
        content = "job,n\n" + "".join(f"{number},{row}\n" for row in range(rows))
        jobs.append(stack.start("all", path=stack.file(f"{number}.csv", content.encode())))
    for delay_s in (0.4, 0.9, 1.3):
        process = server_process(tmp_path)
        try:
            process.wait(delay_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        process.stdout.close()
    async with stack.working(max_attempts=10):
        finished = [await stack.until(job) for job in jobs]
    assert {job.state for job in finished} == {JobState.SUCCEEDED}
    counts = stack.table("all").group_by("job").aggregate([("n", "count"), ("n", "sum")])
    assert sorted(counts.to_pylist(), key=lambda row: row["job"]) == [
        {"job": number, "n_count": rows, "n_sum": rows * (rows - 1) // 2} for number in range(9)
    ]
    assert stack.leftovers() == []
