"""Events and live queries under load: many subscribers, slow ones, a day of traffic, clients that vanish."""

import contextlib
import json
import os
import re
import resource
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import anyio
import httpx
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from flight_core.adapters.catalog.events import append_event
from flight_core.domain.events import Event, EventKind
from tests.protocol.http_stack import HUGE, serving, until
from tests.protocol.live_client import live_client
from tests.stack import Stack, skein_stack

SUBSCRIBERS = 1000
SLOW = 5
SMALL = 5
PATIENCE_S = 0.5
NOW = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    # A result is kept whenever it can be, and not just when it happened to take long.
    with skein_stack(tmp_path_factory.mktemp("load"), cache_min_run_s=0) as stack:
        stack.write("d", pa.table({"x": [1, 2]}))
        yield stack


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * SUBSCRIBERS
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"the system allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def append(stack: Stack, subject: str, count: int, at: datetime = NOW, **data: object) -> list[int]:
    with stack.skein.control.events.log.database.write() as connection:
        events = (Event(EventKind.DATASET_COMMITTED, subject, data, at) for _ in range(count))
        return [append_event(connection, event).seq for event in events]


def events_url(base: str, query: str = "") -> str:
    return f"{base.replace('http', 'ws', 1)}/api/v1/events?{query}"


def narrow_client(base: str, query: str):
    """One whose system takes little, and which does not read."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", httpx.URL(base).port))
    return connect(
        events_url(base, query),
        sock=narrow,
        max_queue=1,
        compression=None,
        ping_interval=None,
        close_timeout=1,
    )


@pytest.mark.timeout(600)  # where others work, too
def test_a_thousand_subscribers_hear_everything_while_slow_ones_are_let_go(stack, many_files):
    heard: list[list[int]] = []

    async def subscriber(base: str, ready: anyio.Semaphore) -> None:
        url = events_url(base, "dataset=small")
        async with connect_async(url, compression=None, open_timeout=None, ping_interval=None) as connection:
            await connection.recv()
            ready.release()
            ids = []
            while len(ids) < SMALL:
                message = json.loads(await connection.recv())
                if message["type"] == "skein.dataset.committed":
                    ids.append(int(message["id"]))
            heard.append(ids)

    async def everybody(base: str) -> list[int]:
        ready = anyio.Semaphore(0)
        sent = []
        with anyio.fail_after(300):
            async with anyio.create_task_group() as tasks:
                for _ in range(SUBSCRIBERS):
                    tasks.start_soon(subscriber, base, ready)
                for _ in range(SUBSCRIBERS):
                    await ready.acquire()
                for _ in range(SMALL):
                    await anyio.to_thread.run_sync(partial(append, stack, "large", 4, text="x" * 500_000))
                    sent += await anyio.to_thread.run_sync(append, stack, "small", 1)
        return sent

    newest = stack.skein.events.bounds()[1]
    with serving(stack.skein.control, event_timeout_s=PATIENCE_S) as base, contextlib.ExitStack() as clients:
        slow = [clients.enter_context(narrow_client(base, f"after={newest}")) for _ in range(SLOW)]
        sent = anyio.run(everybody, base)
        assert heard == [sent] * SUBSCRIBERS
        threading.Event().wait(6 * PATIENCE_S)  # they read nothing for longer than the server bears
        for connection in slow:
            with contextlib.suppress(ConnectionClosed):
                while "heartbeat" not in connection.recv(timeout=60):
                    pass
            assert connection.close_code in (4008, 1006)  # told, or cut off


def test_a_day_of_events_with_pruning_is_followed_without_a_gap_that_is_not_told(stack):
    sent = list(append(stack, "day", 1))
    told: list[tuple[str, int]] = []
    position = sent[0] - 1
    pauses = {3, 4, 5, 11, 17, 18, 19}  # hours in which the follower is away
    with serving(stack.skein.control, heartbeat_s=3600) as base:
        for hour in range(24):
            sent += append(stack, "day", 120, NOW + timedelta(hours=hour))
            stack.skein.control.events.log.prune(keep=300)
            if hour in pauses:
                continue
            with connect(events_url(base, f"after={position}"), close_timeout=1) as connection:
                stop = sent[-1] if hour % 2 else sent[-1] - 30  # in the middle of things
                while position < stop:
                    message = json.loads(connection.recv(timeout=30))
                    position = int(message["id"])
                    if message["type"] != "skein.hello":
                        told.append((message["type"], position))
    heard = [seq for type, seq in told if type == "skein.dataset.committed"]
    assert heard == sorted(set(heard))
    assert heard[-1] == sent[-1]
    resets = [seq for type, seq in told if type == "skein.reset"]
    for before, after in pairwise(heard):
        assert after == before + 1 or after - 1 in resets
    assert len(resets) == 2  # away for one hour nothing was missed
    gone = sum(after - before - 1 for before, after in pairwise(heard))
    assert len(heard) + gone == len(sent)


@given(cuts=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=5))
@settings(max_examples=12)
def test_however_a_client_is_cut_off_it_hears_each_event_once_and_in_order(stack, http, log_of_forty, cuts):
    sent = log_of_forty
    heard: list[int] = []
    position = sent[0] - 1
    for count, over_websocket in [*cuts, (len(sent), True)]:
        wanted = min(count, len(sent) - len(heard))
        if over_websocket:
            part = over_websocket_from(stack.http_url, position, wanted)
        else:
            part = over_sse_from(http, position, wanted)
        heard += part
        position = part[-1] if part else position
    assert heard == sent


@pytest.fixture(scope="module")
def log_of_forty(stack):
    return append(stack, "forty", 40)


def over_websocket_from(base: str, after: int, count: int) -> list[int]:
    with connect(events_url(base, f"after={after}&dataset=fort*"), close_timeout=1) as connection:
        connection.recv(timeout=30)
        return [int(json.loads(connection.recv(timeout=30))["id"]) for _ in range(count)]


@pytest.fixture(scope="module")
def http(stack):
    with stack.http(timeout=30) as client:
        yield client


def over_sse_from(http: httpx.Client, after: int, count: int) -> list[int]:
    headers = {"Last-Event-ID": str(after)}
    with http.stream("GET", "/api/v1/events/stream?dataset=forty", headers=headers) as response:
        lines = (line for line in response.iter_lines() if line.startswith("id: "))
        next(lines)
        return [int(next(lines).removeprefix("id: ")) for _ in range(count)]


def live_stages() -> Iterator[tuple[str, Callable]]:
    def subscribed(sql: str, heard: int, **options: object) -> Callable:
        def stage(client) -> None:
            client.say(subscribe={"id": "q", "sql": sql, **options})
            for _ in range(heard):
                client.connection.recv(timeout=30)

        return stage

    def paused(client) -> None:
        subscribed("SELECT x FROM d", 4)(client)
        client.say(pause={"id": "q"})
        client.hear()

    yield "connected", lambda client: None
    yield "said nonsense", lambda client: client.connection.send("?")
    yield "subscribed", subscribed(HUGE, 0)
    yield "told so", subscribed(HUGE, 1)
    yield "a result begins", subscribed(HUGE, 2)
    yield "in the middle", subscribed(HUGE, 5)
    yield "out of credit", subscribed(HUGE, 4, credits=2)
    yield "no credit at all", subscribed(HUGE, 1, credits=0)
    yield "waiting for news", subscribed("SELECT x FROM d", 4)
    yield "paused", paused


def test_a_client_that_leaves_at_any_stage_leaves_nothing_behind(stack):
    def leave_at_every_stage() -> None:
        for _, stage in live_stages():
            with live_client(stack.http_url) as client:
                stage(client)
                client.connection.socket.shutdown(socket.SHUT_RDWR)
        for url in ("/api/v1/events/stream?after=0", "/api/v1/events/stream"):
            with httpx.stream("GET", stack.http_url + url) as response:
                next(response.iter_lines())
        with connect(events_url(stack.http_url, "after=0")) as connection:
            connection.recv(timeout=30)
            connection.socket.shutdown(socket.SHUT_RDWR)
        until(lambda: running(stack) == 0, deadline_s=30)

    leave_at_every_stage()  # what is there for good is there from now on
    threads, files = threads_of_queries(), open_files()
    for _ in range(2):
        leave_at_every_stage()
    with contextlib.suppress(AssertionError):  # what is left is told below
        until(lambda: not (threads_of_queries() - threads or open_files() - files), deadline_s=60)
    assert (threads_of_queries() - threads, open_files() - files) == (Counter(), Counter())


def running(stack: Stack) -> int:
    control = stack.skein.control
    return control.queries.admission.open_streams + len(control.queries.log.running_since())


def threads_of_queries() -> Counter[str]:
    """By name, without those of the pool, which stay for the next piece of work."""
    names = (re.sub(r"\d+", "", thread.name) for thread in threading.enumerate())
    return Counter(name for name in names if not name.startswith("AnyIO worker"))


def open_files() -> Counter[str]:
    """By kind, without those of the catalog, whose pool keeps connections for the next piece of work."""
    targets = (os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir())
    return Counter(re.sub(r"\d+", "", target) for target in targets if "catalog.sqlite" not in target)
