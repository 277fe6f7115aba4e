"""Sources that remember: no row is lost and none comes twice, whatever happens around the commit."""

import json
from dataclasses import dataclass, field, replace

import anyio
import pytest

from flight_core.application.datasets.drop import DropDataset
from flight_core.application.ingestion.source_memory import RememberSources
from flight_core.application.ports.clock import utc_now
from flight_core.application.ports.sources import Fetched, FetchedFile
from flight_core.application.writes.open_write import DatasetWrite
from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.domain.errors import OutOfDisk, SourceBusy
from flight_core.domain.job import JobState
from flight_core.domain.source_state import SourceState
from tests.adapters.ingestion_stack import IngestionStack


@dataclass
class Feed:
    """A source of numbered rows that brings what comes after its cursor, unless it has seen it all."""

    length: int = 3
    given: list[SourceState | None] = field(default_factory=list)
    gate: anyio.Event | None = None

    def check(self, spec): ...

    async def fetch(self, spec, folder, report, *, state=None):
        self.given.append(state)
        if self.gate is not None:
            await self.gate.wait()
        if state is not None and state.seen.get("length") == self.length:
            return Fetched(())
        start = state.cursor.get("after", 0) if state is not None else 0
        path = folder / "feed"
        path.write_text("".join(json.dumps({"n": n + 1}) + "\n" for n in range(start, self.length)))
        file = FetchedFile(path, "feed", path.stat().st_size, temporary=True)
        return Fetched([file], SourceState({"length": self.length}, {"after": self.length}))


@pytest.fixture
def feed():
    return Feed()


@pytest.fixture
def stack(tmp_path, feed):
    made = IngestionStack(tmp_path)
    made.sources = {"file": feed}
    yield made
    made.close()


async def ended(stack, **options):
    async with stack.working():
        return await stack.until(stack.start("numbers", path="feed", **options))


def numbers(stack):
    return sorted(stack.table("numbers")["n"].to_pylist())


@pytest.mark.anyio
async def test_what_is_new_is_added_and_nothing_new_is_no_version(stack, feed):
    first = await ended(stack)
    again = await ended(stack)
    assert (first.state, first.version, first.unchanged) == (JobState.SUCCEEDED, 0, False)
    assert (again.state, again.version, again.unchanged) == (JobState.SUCCEEDED, None, True)
    assert (again.progress.rows, again.error_code) == (0, None)
    assert stack.events_of(again)[-1].event.data["unchanged"] is True
    feed.length = 5
    assert (await ended(stack)).version == 1
    assert numbers(stack) == [1, 2, 3, 4, 5]


@pytest.mark.anyio
async def test_a_death_after_the_commit_does_not_lose_the_state(stack, feed):
    class Forgetful(RememberSources):
        def settle(self, memory, version): ...

    stack.memory = Forgetful(
        *(getattr(stack.memory, name) for name in ("memories", "datasets", "store", "ingestions"))
    )
    await ended(stack)
    feed.length = 5
    await ended(stack)
    assert numbers(stack) == [1, 2, 3, 4, 5]
    assert (await ended(stack)).unchanged


@pytest.mark.anyio
async def test_a_death_before_the_commit_keeps_the_old_state(stack, feed, monkeypatch):
    await ended(stack)
    feed.length = 5

    def fail(*arguments, **options):
        raise OutOfDisk("no room")

    with monkeypatch.context() as full:
        full.setattr(DatasetWrite, "commit", fail)
        assert (await ended(stack)).error_code == "out_of_disk"
    assert (await ended(stack)).version == 1
    assert numbers(stack) == [1, 2, 3, 4, 5]


@pytest.mark.anyio
async def test_force_fetches_everything(stack, feed):
    await ended(stack)
    assert (await ended(stack, force=True)).version == 1
    assert feed.given == [None, None]
    assert (await ended(stack)).unchanged


@pytest.mark.anyio
async def test_a_dropped_dataset_is_forgotten(stack, feed):
    await ended(stack)
    DropDataset(stack.datasets, utc_now)(DatasetName("numbers"), actor=LOCAL)
    assert (await ended(stack)).version == 0
    assert feed.given == [None, None]


@pytest.mark.anyio
async def test_replace_brings_everything_again_once_others_have_written(stack, feed):
    await ended(stack, mode=WriteMode.REPLACE)
    assert (await ended(stack, mode=WriteMode.REPLACE)).unchanged
    stack.sources = {"file": Feed(length=7)}
    async with stack.working():
        await stack.until(stack.start("numbers", path="another feed"))
    stack.sources = {"file": feed}
    assert (await ended(stack, mode=WriteMode.REPLACE)).version == 2
    assert numbers(stack) == [1, 2, 3]


@pytest.mark.anyio
async def test_what_somebody_replaced_is_not_taken_for_present(stack, feed):
    await ended(stack)
    stack.sources = {"file": Feed(length=2)}
    async with stack.working():
        await stack.until(stack.start("numbers", path="another feed", mode=WriteMode.REPLACE))
    stack.sources = {"file": feed}
    await ended(stack)
    assert feed.given[1].seen == {}


@pytest.mark.anyio
async def test_other_options_read_the_same_bytes_again_and_go_on_from_the_cursor(stack, feed):
    await ended(stack)
    feed.length = 4
    await ended(stack, format="ndjson")
    assert feed.given[1] == SourceState({}, {"after": 3})
    assert numbers(stack) == [1, 2, 3, 4]


@pytest.mark.anyio
async def test_of_two_jobs_that_bring_the_same_rows_one_gives_way(stack, feed):
    feed.gate = anyio.Event()
    async with stack.working(concurrency=2):
        jobs = [stack.start("numbers", path="feed") for _ in range(2)]
        with anyio.fail_after(30):
            while len(feed.given) < 2:
                await anyio.sleep(0.01)
        feed.gate.set()
        codes = {(await stack.until(job)).error_code for job in jobs}
    assert codes == {None, "source_busy"}
    assert numbers(stack) == [1, 2, 3]


@pytest.mark.anyio
async def test_a_job_waits_for_nobody_who_has_failed_and_minds_one_who_may_yet_commit(stack, feed):
    job = stack.start("numbers", path="feed")
    claimed = stack.registry.claim(worker="dying", lease_until=job.created_at)
    stack.memory.prepare(stack.memory.recall(claimed), SourceState({"length": 3}), claimed)
    other = replace(claimed, id="other")
    with pytest.raises(SourceBusy, match=job.id):
        stack.memory.recall(other)
    async with stack.working():
        assert (await stack.until(job)).version == 0  # the job itself may try again
    assert stack.memory.recall(other).state is not None


@pytest.mark.anyio
async def test_of_a_folder_only_new_and_changed_files_are_taken(tmp_path):
    stack = IngestionStack(tmp_path)
    (stack.inputs / "in").mkdir()

    async def ingest(**options):
        async with stack.working():
            return await stack.until(stack.start("numbers", path="in", only_new=True, **options))

    for number in (1, 2):
        stack.file(f"in/{number}.csv", f"n\n{number}\n".encode())
    assert (await ingest()).version == 0
    assert (await ingest()).unchanged
    stack.file("in/3.csv", b"n\n3\n")
    stack.file("in/1.csv", b"n\n10\n")
    await ingest()
    assert numbers(stack) == [1, 2, 3, 10]
    await ingest(mode=WriteMode.REPLACE)
    assert numbers(stack) == [2, 3, 10]
    stack.close()
