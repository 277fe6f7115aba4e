"""The log of events over WebSockets and as server-sent events: order, resumption, slow clients."""

import contextlib
import dataclasses
import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlencode

import httpx
import pyarrow as pa
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from flight_core.domain.access import Actor, Scope
from flight_core.domain.events import Event, EventKind
from tests.protocol.http_stack import open_to, serving, until
from tests.stack import Stack, skein_stack

NOW = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.fixture
def stack(tmp_path):
    with skein_stack(tmp_path) as stack:
        yield stack


def url_of(base: str, **query: object) -> str:
    return f"{base.replace('http', 'ws', 1)}/api/v1/events?{urlencode(query, doseq=True)}"


@contextlib.contextmanager
def following(base: str, **query: object) -> Iterator[ClientConnection]:
    with connect(url_of(base, **query), close_timeout=1) as connection:
        yield connection


def receive(connection: ClientConnection) -> dict:
    return json.loads(connection.recv(timeout=10))


def append(
    stack: Stack, subject: str, *, kind: EventKind = EventKind.DATASET_COMMITTED, **data: object
) -> int:
    return stack.skein.control.events.log.append(Event(kind, subject, data, NOW)).seq


def test_a_commit_is_heard_of_as_a_cloud_event(stack):
    with following(stack.http_url) as connection:
        hello = receive(connection)
        assert hello["type"] == "skein.hello"
        version = stack.write("flights", pa.table({"x": [1, 2]}))
        event = receive(connection)
    assert event["specversion"] == "1.0"
    assert event["type"] == "skein.dataset.committed"
    assert event["subject"] == "flights"
    assert event["source"] == "/api/v1/events"
    assert datetime.fromisoformat(event["time"]).tzinfo
    assert event["data"]["dataset"] == "flights"
    assert (event["data"]["version"], event["data"]["rows"]) == (version.ref.version, 2)
    assert int(event["id"]) > int(hello["id"])


def test_an_ingestion_is_heard_of_from_its_start_to_its_end(tmp_path):
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "a.csv").write_text("x\n1\n")
    with (
        skein_stack(tmp_path / "data", ingest_roots=str(tmp_path / "inbox")) as stack,
        stack.http() as http,
        following(stack.http_url) as connection,
    ):
        receive(connection)
        source = {"kind": "file", "path": "a.csv"}
        job = http.post("/api/v1/ingestions", json={"dataset": "d", "source": source}).json()
        events = [receive(connection)]
        while events[-1]["type"] != "skein.ingestion.succeeded":
            events.append(receive(connection))
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["skein.ingestion.queued", "skein.ingestion.started"]
    assert kinds.index("skein.dataset.committed") < kinds.index("skein.ingestion.succeeded")
    ids = [int(event["id"]) for event in events]
    assert ids == sorted(set(ids))
    assert {event["data"]["ingestion"] for event in events if "ingestion" in event["data"]} == {job["id"]}


def test_resuming_after_an_id_misses_nothing_and_repeats_nothing(stack):
    sent = [append(stack, f"d{number}") for number in range(30)]
    with following(stack.http_url, after=0) as connection:
        first = [receive(connection) for _ in range(11)]
    assert first[0]["type"] == "skein.hello"
    with following(stack.http_url, after=first[-1]["id"]) as connection:
        rest = [receive(connection) for _ in range(21)]
        assert rest[0]["data"] == {"oldest": sent[0], "newest": sent[-1]}
    assert [int(event["id"]) for event in first[1:] + rest[1:]] == sent


def test_without_an_id_one_hears_what_comes(stack):
    append(stack, "before")
    with following(stack.http_url) as connection:
        receive(connection)
        append(stack, "later")
        assert receive(connection)["subject"] == "later"


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ({"dataset": "ONE"}, ["one", "one"]),
        ({"dataset": ["one", "two"]}, ["one", "two", "one"]),
        ({"kind": "dataset.dropped"}, ["one"]),
        ({"kind": ["dataset.dropped", "ingestion.queued"]}, ["one", "three"]),
        ({"ingestion": "j1"}, ["three"]),
        ({"job": ["j1", "j2"]}, ["three"]),
        ({"dataset": "two", "kind": "dataset.dropped"}, []),
        ({"dataset": "T*"}, ["two", "three"]),
        ({"dataset": ["o?e", "thr[a-e]e"], "kind": "dataset.*"}, ["one", "one"]),
    ],
)
def test_a_subscription_can_be_narrowed(stack, query, subjects):
    append(stack, "one")
    append(stack, "two")
    append(stack, "one", kind=EventKind.DATASET_DROPPED)
    append(stack, "three", kind=EventKind.INGESTION_QUEUED, job="j1")
    last = append(stack, "end")
    with (
        serving(stack.skein.control, heartbeat_s=0.2) as base,
        following(base, after=0, **query) as connection,
    ):
        assert receive(connection)["type"] == "skein.hello"
        heard = []
        while (event := receive(connection))["type"] != "skein.heartbeat" or event["id"] != str(last):
            if event["type"] != "skein.heartbeat":
                heard.append(event["subject"])
    assert heard == subjects


def test_silence_is_filled_with_heartbeats_that_tell_where_to_resume(stack):
    with (
        serving(stack.skein.control, heartbeat_s=0.1) as base,
        following(base, dataset="wanted") as connection,
    ):
        hello = receive(connection)
        assert receive(connection) | {"time": ""} == hello | {
            "type": "skein.heartbeat",
            "time": "",
            "data": {},
        }
        seq = append(stack, "unwanted")
        while (beat := receive(connection))["id"] != str(seq):
            assert beat["type"] == "skein.heartbeat"


def test_events_that_were_pruned_are_told_by_a_reset(stack):
    sent = [append(stack, f"d{number}") for number in range(10)]
    stack.skein.control.events.log.prune(keep=3)
    with following(stack.http_url, after=sent[2]) as connection:
        assert receive(connection)["type"] == "skein.hello"
        reset = receive(connection)
        assert (reset["type"], reset["id"]) == ("skein.reset", str(sent[-4]))
        assert [int(receive(connection)["id"]) for _ in range(3)] == sent[-3:]
    with following(stack.http_url, after=sent[-4]) as connection:  # nothing is missing yet
        assert [receive(connection)["type"] for _ in range(2)] == ["skein.hello", "skein.dataset.committed"]


def test_an_id_of_another_log_is_told_by_a_reset(stack):
    append(stack, "d")
    with following(stack.http_url, after=10**6) as connection:
        assert [receive(connection)["type"] for _ in range(2)] == ["skein.hello", "skein.reset"]
        seq = append(stack, "e")
        assert receive(connection)["id"] == str(seq)


def test_a_message_narrows_the_subscription_from_where_it_is(stack):
    with following(stack.http_url) as connection:
        receive(connection)
        before = append(stack, "one")
        assert receive(connection)["id"] == str(before)
        connection.send('{"subscribe": {"datasets": ["tw*"], "kinds": ["dataset.*"]}}')
        assert receive(connection)["type"] == "skein.hello"
        append(stack, "one")
        wanted = append(stack, "Two")
        assert receive(connection)["id"] == str(wanted)
        connection.send(json.dumps({"subscribe": {"after": str(before)}}))
        assert [receive(connection)["id"] for _ in range(3)] == [str(before + more) for more in range(3)]


@pytest.mark.parametrize(
    "said",
    ["hello?", b"\x00", "{}", "[" * 100_000]
    + [json.dumps({"subscribe": x}) for x in ({"kinds": ["no"]}, {"after": "x"}, {"more": 1}, {"jobs": [1]})],
)
def test_what_makes_no_sense_is_answered_and_changes_nothing(stack, said):
    with following(stack.http_url) as connection:
        hello = receive(connection)
        connection.send(said)
        answer = receive(connection)
        assert (answer["type"], answer["id"]) == ("skein.error", hello["id"])
        assert answer["data"]["code"] == "invalid_request"
        assert "SubscribeToEvents" not in answer["data"]["detail"]
        seq = append(stack, "d")
        assert receive(connection)["id"] == str(seq)


def test_nobody_hears_of_datasets_that_they_do_not_see(stack):
    control = stack.skein.control
    seer = Actor("seer", frozenset({Scope.READ}), ("mine_*",))
    append(stack, "mine_1")
    append(stack, "theirs", kind=EventKind.INGESTION_QUEUED, job="j")
    last = append(stack, "mine_2")
    with serving(dataclasses.replace(control, gate=open_to(seer))) as base:
        with following(base, after=0, dataset="*") as connection:
            subjects = [receive(connection).get("subject") for _ in range(3)]
            assert subjects == [None, "mine_1", "mine_2"]
            connection.send('{"subscribe": {"datasets": ["theirs", "mine_2"], "after": 0}}')
            assert [receive(connection).get("subject") for _ in range(2)] == [None, "mine_2"]
        with httpx.stream("GET", f"{base}/api/v1/events/stream?after=0") as response:
            messages = sse(response)
            assert [next(messages)["id"] for _ in range(3)] == ["0", str(last - 2), str(last)]


@pytest.mark.parametrize(
    "query", [{"after": "x"}, {"after": "-1"}, {"after": "9" * 30}, {"kind": "nope"}, {"since": "5"}]
)
def test_a_subscription_that_makes_no_sense_is_refused(stack, query):
    with pytest.raises(InvalidStatus) as refusal, following(stack.http_url, **query):
        pass
    response = refusal.value.response
    assert response.status_code == 400
    assert json.loads(response.body)["code"] == "invalid_request"
    with stack.http() as http:
        assert http.get("/api/v1/events/stream", params=query).json()["code"] == "invalid_request"


def test_a_slow_client_is_let_go_and_holds_up_nobody(stack):
    large = {"text": "x" * 50_000}
    with serving(stack.skein.control, event_timeout_s=0.5) as base:
        # A client whose system takes little, and which reads nothing of it.
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", httpx.URL(base).port))
        with connect(
            url_of(base, after=0), sock=narrow, max_queue=1, compression=None, ping_interval=None
        ) as slow:
            first = receive(slow)
            with following(base) as quick:
                receive(quick)
                sent = [append(stack, f"d{number}", **large) for number in range(200)]
                assert [int(receive(quick)["id"]) for _ in sent] == sent
            until(lambda: sockets_ended(base) == 2)
            with contextlib.suppress(ConnectionClosedError):
                got = [first]
                got.extend(map(json.loads, slow))
        assert slow.close_code in (4008, 1006)
        if slow.close_code == 4008:
            assert slow.close_reason.endswith(f"after={got[-1]['id']}")
        assert len(got) < len(sent)
        with following(base, after=got[-1]["id"]) as again:
            receive(again)
            missed = sent[len(got) - 1 :]
            assert [int(receive(again)["id"]) for _ in missed] == missed


def test_clients_that_leave_are_forgotten(stack):
    with serving(stack.skein.control) as base:
        for _ in range(5):
            with following(base) as connection:
                receive(connection)
        until(lambda: sockets_ended(base) == 5)


def sockets_ended(base: str) -> int:
    """How many subscriptions have come and gone."""
    metric = 'skein_http_requests_total{method="WEBSOCKET",route="/api/v1/events",status="101"}'
    lines = httpx.get(f"{base}/metrics").text.splitlines()
    return next((int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith(metric)), 0)


def sse(response: httpx.Response) -> Iterator[dict]:
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            yield fields
            fields = {}


def test_the_same_events_come_as_server_sent_events(stack):
    sent = [append(stack, "d", number=number) for number in range(3)]
    with stack.http() as http, http.stream("GET", "/api/v1/events/stream?after=0") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        messages = sse(response)
        assert next(messages)["event"] == "skein.hello"
        events = [next(messages) for _ in sent]
    with following(stack.http_url, after=0) as connection:
        receive(connection)
        assert [json.loads(event["data"]) for event in events] == [receive(connection) for _ in sent]
    assert [int(event["id"]) for event in events] == sent
    resume = {"Last-Event-ID": str(sent[0])}
    with (
        stack.http() as http,
        http.stream("GET", "/api/v1/events/stream?after=0", headers=resume) as response,
    ):
        messages = sse(response)
        assert next(messages)["id"] == str(sent[0])
        assert next(messages)["id"] == str(sent[1])


def test_event_streams_end_when_the_server_stops(stack):
    ended = threading.Event()

    def follow(base: str) -> None:
        with httpx.stream("GET", f"{base}/api/v1/events/stream") as response:
            for _ in response.iter_lines():
                started.set()
        ended.set()

    started = threading.Event()
    with serving(stack.skein.control) as base:
        reader = threading.Thread(target=follow, args=(base,))
        reader.start()
        assert started.wait(10)
    reader.join(10)
    assert ended.is_set()  # whole, not torn


def test_sockets_are_closed_as_resumable_when_the_server_stops(stack):
    with contextlib.ExitStack() as clients:
        with serving(stack.skein.control) as base:
            connection = clients.enter_context(following(base))
            receive(connection)
        with pytest.raises(ConnectionClosed) as closing:
            receive(connection)
    assert closing.value.rcvd.code == 1012


@pytest.mark.parametrize("path", ["events", "live"])
def test_sockets_are_told_why_when_the_log_cannot_be_read(stack, path):
    url = url_of(stack.http_url).replace("/events", f"/{path}")
    with connect(url, close_timeout=1) as connection:
        if path == "events":
            receive(connection)
        lose_the_log(stack)
        with pytest.raises(ConnectionClosed) as closing:
            receive(connection)
    assert closing.value.rcvd.code == 1011
    assert closing.value.rcvd.reason.startswith("[dependency_failed] the catalog")


def test_server_sent_events_end_with_the_reason_when_the_log_cannot_be_read(stack):
    with stack.http() as http, http.stream("GET", "/api/v1/events/stream") as response:
        messages = sse(response)
        hello = next(messages)
        lose_the_log(stack)
        last = next(messages)
        assert list(messages) == []
    assert (last["event"], last["id"]) == ("skein.error", hello["id"])
    assert json.loads(last["data"])["data"]["code"] == "dependency_failed"


def lose_the_log(stack: Stack) -> None:
    with contextlib.closing(sqlite3.connect(stack.data / "catalog.sqlite", isolation_level=None)) as catalog:
        catalog.execute("ALTER TABLE events RENAME TO lost")
