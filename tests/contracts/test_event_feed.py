"""What every feed of events promises."""

import asyncio
import subprocess
import sys
import textwrap
from datetime import UTC, datetime

import anyio
import pytest

from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.adapters.events.log import LogEventFeed
from flight_core.domain.events import Event, EventKind

NOW = datetime(2026, 3, 4, tzinfo=UTC)
DEADLINE_S = 20


class CountingEvents:
    """A log that counts how often it is asked."""

    def __init__(self, events):
        self._events = events
        self.questions = 0

    def append(self, event):
        return self._events.append(event)

    def after(self, seq, *, limit=1000):
        return self._events.after(seq, limit=limit)

    def bounds(self):
        self.questions += 1
        return self._events.bounds()

    def prune(self, *, keep):
        return self._events.prune(keep=keep)


@pytest.fixture
def events(database):
    return CountingEvents(SqlEventRepository(database))


@pytest.fixture
def feed(events):
    return LogEventFeed(events, poll_s=0.01, batch=3)


def event(number=0):
    return Event(EventKind.DATASET_COMMITTED, "Flights", {"number": number}, NOW)


async def until_asked(events, questions):
    with anyio.fail_after(DEADLINE_S):
        while events.questions < questions:
            await anyio.sleep(0)


async def take(feed, after, count):
    """The numbers of so many events after `after`, however many come at once."""
    taken = []
    with anyio.fail_after(DEADLINE_S):
        while len(taken) < count:
            taken += await feed.after(taken[-1].seq if taken else after)
    assert len(taken) == count
    return [stored.event.data["number"] for stored in taken]


@pytest.mark.anyio
async def test_a_subscriber_gets_what_it_missed_and_then_what_happens(feed, events):
    stored = [events.append(event(number)) for number in range(10)]
    assert await take(feed, stored[1].seq, 8) == list(range(2, 10))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, events.append, event(10))
        assert await take(feed, stored[-1].seq, 1) == [10]


@pytest.mark.anyio
async def test_who_waits_in_vain_is_told_so_after_its_time(feed, events):
    last = events.append(event(0)).seq
    with anyio.fail_after(DEADLINE_S):
        assert await feed.after(last, wait_s=0.05) == ()
        assert await feed.after(last, wait_s=0) == ()
    events.append(event(1))
    assert await take(feed, last, 1) == [1]


@pytest.mark.anyio
async def test_a_slow_subscriber_holds_up_nobody_and_misses_nothing(feed, events):
    events.append(event(0))
    (slow,) = await feed.after(0)
    for number in range(1, 50):
        events.append(event(number))
    assert await take(feed, 0, 50) == list(range(50))
    assert await take(feed, slow.seq, 49) == list(range(1, 50))


@pytest.mark.anyio
async def test_many_idle_subscribers_ask_the_log_no_more_often_than_one(events):
    """With a poll that never ends in this test, one question is all there is however many wait."""
    feed = LogEventFeed(events, poll_s=3600)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(feed.after, 0)
        await until_asked(events, 1)
        await anyio.wait_all_tasks_blocked()
        assert events.questions == 1
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_log_nobody_waits_for_is_left_in_peace(feed, events):
    before = len(asyncio.all_tasks())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.after, 0)
        await until_asked(events, 3)
        tasks.cancel_scope.cancel()
    with anyio.fail_after(DEADLINE_S):
        while len(asyncio.all_tasks()) > before:  # what asks ends by itself
            await anyio.sleep(0)


@pytest.mark.anyio
async def test_all_waiting_subscribers_hear_of_the_same_events(feed, events):
    heard = []

    async def listen():
        heard.append(await feed.after(0))

    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(listen)
            await until_asked(events, 3)
            events.append(event(7))
    assert [[stored.event.data["number"] for stored in one] for one in heard] == [[7]] * 10
    assert len({id(one[0]) for one in heard}) == 1  # read once, for all


@pytest.mark.anyio
async def test_a_subscriber_that_is_cancelled_leaves_the_others_in_peace(feed, events):
    async with anyio.create_task_group() as tasks:
        gone = anyio.CancelScope()

        async def leave():
            with gone:
                await feed.after(0)

        tasks.start_soon(leave)
        await until_asked(events, 2)
        gone.cancel()
        tasks.start_soon(anyio.to_thread.run_sync, events.append, event(3))
        assert await take(feed, 0, 1) == [3]


@pytest.mark.anyio
async def test_events_that_were_pruned_are_skipped(feed, events):
    for number in range(10):
        events.append(event(number))
    events.prune(keep=2)
    assert await take(feed, 3, 2) == [8, 9]


@pytest.mark.anyio
async def test_a_log_that_was_pruned_to_nothing_is_waited_on_in_peace(feed, events):
    for number in range(9):
        events.append(event(number))
    assert await take(feed, 0, 9) == list(range(9))  # the feed has seen the end of the log
    events.prune(keep=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.after, 0)
        await until_asked(events, events.questions + 3)  # it waits; it does not spin on what is gone
        events.append(event(2))


@pytest.mark.anyio
async def test_events_of_another_process_arrive(feed, catalog_url):
    program = textwrap.dedent(
        """
        import sys
        from datetime import UTC, datetime
        from flight_core.adapters.catalog.events import SqlEventRepository
        from flight_core.domain.events import Event, EventKind
        from flight_core.infrastructure.database import Database

        events = SqlEventRepository(Database(sys.argv[1]))
        for number in range(5):
            data = {"number": number}
            events.append(Event(EventKind.DATASET_COMMITTED, "x", data, datetime.now(UTC)))
        """
    )
    child = subprocess.Popen([sys.executable, "-P", "-c", program, catalog_url])
    try:
        assert await take(feed, 0, 5) == [0, 1, 2, 3, 4]
    finally:
        assert await anyio.to_thread.run_sync(child.wait) == 0
