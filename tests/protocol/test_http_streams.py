"""Streams that clients leave, stall, or have cancelled: nothing stays behind."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import duckdb
import httpx
import pyarrow as pa
import pytest

from flight_core.domain.query import QueryState
from tests.protocol.http_stack import ENDLESS, HUGE, RawClient, only_query, serving, settle, until
from tests.stack import Stack, skein_stack

ARROW = "application/vnd.apache.arrow.stream"
MAX_STREAMS = 2
# What may be on its way to a client that does not read: two chunks and the sockets' buffers.
IN_FLIGHT_BYTES = 24 << 20

FAILS_LATE = (
    "SELECT CASE WHEN i < 5_000_000 THEN i ELSE ('x' || i)::BIGINT END AS i FROM range(6_000_000) t(i)"
)


@pytest.fixture
def stack(tmp_path):
    with skein_stack(tmp_path, max_streams=MAX_STREAMS, queue_timeout_s=60.0) as stack:
        yield stack


def at_rest(stack: Stack) -> bool:
    """No slot taken, no query running, no thread of a query alive."""
    control = stack.skein.control
    return (
        control.queries.admission.open_streams == 0
        and control.queries.admission.waiting == 0
        and all(record.finished_at for record in control.queries.log.list())
        and not any(thread.name == "skein-interrupt" for thread in threading.enumerate())
    )


@pytest.mark.parametrize("accept", [ARROW, "application/json", "text/csv"])
def test_a_client_that_leaves_before_the_first_row_stops_the_query(stack, accept):
    client = RawClient(stack.http_url, ENDLESS, accept=accept)
    until(lambda: stack.skein.control.queries.admission.open_streams == 1)
    record = only_query(stack, ENDLESS)
    client.leave()
    until(lambda: at_rest(stack))
    assert stack.skein.control.queries.log.get(record.query_id).state is QueryState.CANCELLED


@pytest.mark.parametrize("accept", [ARROW, "application/x-ndjson"])
def test_a_client_that_leaves_in_the_middle_stops_the_query(stack, accept):
    client = RawClient(stack.http_url, HUGE, accept=accept)
    client.read(5_000_000)
    client.leave()
    until(lambda: at_rest(stack))
    assert only_query(stack, HUGE).state is QueryState.CANCELLED


def test_a_client_that_leaves_while_it_stalls_stops_the_query(stack):
    client = RawClient(stack.http_url, HUGE)
    client.read(1000)
    settle(lambda: only_query(stack, HUGE).size_bytes)
    client.leave()
    until(lambda: at_rest(stack))


def test_a_client_that_leaves_the_queue_takes_no_slot(stack):
    busy = [RawClient(stack.http_url, HUGE) for _ in range(MAX_STREAMS)]
    until(lambda: stack.skein.control.queries.admission.open_streams == MAX_STREAMS)
    waiting = RawClient(stack.http_url, ENDLESS)
    until(lambda: stack.skein.control.queries.admission.waiting == 1)
    waiting.leave()
    until(lambda: stack.skein.control.queries.admission.waiting == 0)
    assert stack.skein.control.queries.admission.open_streams == MAX_STREAMS
    for client in busy:
        client.leave()
    until(lambda: at_rest(stack))


def test_a_client_that_leaves_stops_a_statement_that_changes_something(stack):
    statement = f"CREATE TABLE never AS {ENDLESS}"
    client = RawClient(stack.http_url, statement)
    record = only_query(stack, statement)
    client.leave()
    until(lambda: at_rest(stack))
    assert stack.skein.control.queries.log.get(record.query_id).state is QueryState.CANCELLED
    with stack.http() as http:
        assert http.post("/api/v1/query", json={"sql": "FROM never"}).json()["code"] == "dataset_not_found"


def test_a_slow_client_slows_the_engine_down(stack):
    client = RawClient(stack.http_url, HUGE)
    for megabytes in (1, 30):
        client.read(megabytes << 20)
        produced = settle(lambda: only_query(stack, HUGE).size_bytes)
        assert len(client.received) <= produced + (1 << 20)  # the wire adds a little
        assert produced < len(client.received) + IN_FLIGHT_BYTES
    client.leave()
    until(lambda: at_rest(stack))


def test_cancelling_frees_the_slot_of_a_client_that_does_not_read(stack):
    client = RawClient(stack.http_url, HUGE)
    client.read(1000)
    settle(lambda: only_query(stack, HUGE).size_bytes)
    with stack.http() as http:
        response = http.delete(f"/api/v1/queries/{only_query(stack, HUGE).query_id}")
    assert response.status_code == 202
    until(lambda: at_rest(stack))
    client.read(1 << 30)
    assert not client.received.endswith(b"\r\n0\r\n\r\n")  # the end of a chunked body
    client.leave()


def test_cancelling_before_the_first_row_answers_with_a_problem(stack):
    with stack.http(timeout=30) as http, ThreadPoolExecutor() as pool:
        answer = pool.submit(http.post, "/api/v1/query", json={"sql": ENDLESS})
        record = only_query(stack, ENDLESS)
        with stack.http() as other:
            other.delete(f"/api/v1/queries/{record.query_id}")
        assert answer.result(30).status_code == 409
        assert answer.result().json()["code"] == "cancelled"
    until(lambda: at_rest(stack))


def test_cancelling_what_has_ended_changes_nothing(stack):
    with stack.http() as http:
        done = http.post("/api/v1/query", json={"sql": "SELECT 1"}).headers["skein-query-id"]
        assert http.delete(f"/api/v1/queries/{done}").json()["state"] == "succeeded"
        assert http.delete("/api/v1/queries/nope").status_code == 404


@pytest.mark.parametrize("accept", [ARROW, "application/json", "application/x-ndjson", "text/csv"])
def test_a_failure_after_the_first_rows_breaks_the_connection_and_its_query_tells_why(stack, accept):
    with (
        stack.http() as http,
        http.stream(
            "POST", "/api/v1/query", json={"sql": FAILS_LATE}, headers={"Accept": accept}
        ) as response,
    ):
        assert response.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in response.iter_bytes():
                pass
        told = http.get(f"/api/v1/queries/{response.headers['Skein-Query-Id']}").json()
    assert (told["state"], told["error"]) == ("failed", "query_failed")
    until(lambda: at_rest(stack))


def saved_in_spite(client: RawClient) -> bytes:
    """What a careless client would keep of a body in chunks whose end never came."""
    client.read(1 << 30)
    body = bytes(client.received).partition(b"\r\n\r\n")[2]
    client.leave()
    pieces = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        pieces.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    return b"".join(pieces)


def test_what_was_saved_of_a_broken_result_does_not_read_as_a_whole(stack, tmp_path):
    saved = {
        accept: saved_in_spite(RawClient(stack.http_url, FAILS_LATE, accept=accept))
        for accept in (ARROW, "application/json", "application/x-ndjson", "text/csv")
    }
    assert all(len(body) > 1_000_000 for body in saved.values())
    with pytest.raises(pa.ArrowInvalid, match="Expected to read 8 metadata bytes"):
        pa.ipc.open_stream(saved[ARROW]).read_all()
    with pytest.raises(json.JSONDecodeError):
        json.loads(saved["application/json"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(saved["application/x-ndjson"].rpartition(b"\n")[2])
    (tmp_path / "saved.csv").write_bytes(saved["text/csv"])
    with duckdb.connect() as connection, pytest.raises(duckdb.InvalidInputException, match="quote"):
        connection.sql(f"FROM read_csv('{tmp_path}/saved.csv')").fetchall()


def test_a_client_that_stalls_for_too_long_is_cut_off(stack):
    with serving(stack.skein.control, stall_timeout_s=0.3) as url:
        client = RawClient(url, HUGE)
        client.read(1000)
        until(lambda: at_rest(stack))
        client.leave()


def test_too_many_streams_are_refused_with_a_time_to_retry(tmp_path):
    with skein_stack(tmp_path, max_streams=1, max_queue=0) as stack:
        busy = RawClient(stack.http_url, HUGE)
        busy.read(1000)
        with stack.http() as http:
            response = http.post("/api/v1/query", json={"sql": "SELECT 1"})
            assert response.status_code == 429
            assert response.json()["code"] == "too_many_streams"
            assert response.json()["retryable"] is True
            assert int(response.headers["retry-after"]) > 0
            assert http.get("/readyz").status_code == 200  # busy is not broken
            busy.leave()
            until(lambda: at_rest(stack))
            assert http.post("/api/v1/query", json={"sql": "SELECT 1"}).status_code == 200


def test_fifty_clients_that_come_and_go_leave_nothing_behind(stack):
    for size in range(0, 5_000_000, 100_000):
        client = RawClient(stack.http_url, HUGE)
        client.read(size)
        client.leave()
    until(lambda: at_rest(stack), deadline_s=30)
