"""Stopping queries: the one that is named, and no other."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.domain.access import LOCAL
from flight_core.domain.query import QueryState
from schemas.flight_sql import envelope, flight_pb2, sql_pb2
from tests.protocol.raw_flight_sql import RawFlightSql
from tests.stack import Stack, until

# No rows until it is done, and it is not done for hours.
ENDLESS = "SELECT count(*) AS n FROM range(100000000000) a(i), range(1000) b(j) WHERE (i * j) % 7 = 3"
CANCELLED, NOT_CANCELLABLE = flight_pb2.CANCEL_STATUS_CANCELLED, flight_pb2.CANCEL_STATUS_NOT_CANCELLABLE


def running(stack: Stack, sql: str) -> Callable[[], bool]:
    """Whether a statement that begins so is running now."""

    def check() -> bool:
        records = stack.skein.flight_sql.queries.list()
        return any(record.sql.startswith(sql) and record.state is QueryState.RUNNING for record in records)

    return check


def cancelled_while_fetched(stack: Stack, client: RawFlightSql, info: fl.FlightInfo) -> int:
    """Fetches in another thread, cancels when it runs, and checks that the fetch failed for that reason."""
    with ThreadPoolExecutor(1) as pool:
        fetch = pool.submit(client.fetch, info)
        until(running(stack, ENDLESS))
        status = client.cancel(info)
        with pytest.raises(fl.FlightServerError, match=r"\[cancelled\]"):
            fetch.result(10)
    return status


def test_a_query_is_stopped_before_its_first_row(stack, client):
    assert cancelled_while_fetched(stack, client, client.execute(ENDLESS)) == CANCELLED


def test_a_query_that_belongs_to_a_session_is_stopped(stack, client):
    client.execute("CREATE TEMP TABLE mine AS SELECT 1 AS i")
    assert cancelled_while_fetched(stack, client, client.execute(ENDLESS)) == CANCELLED
    assert client.rows("FROM mine") == [(1,)]


def test_the_older_action_stops_a_query_too(stack, client):
    info = client.execute(ENDLESS)
    with ThreadPoolExecutor(1) as pool:
        fetch = pool.submit(client.fetch, info)
        until(running(stack, ENDLESS))
        (body,) = client.action("CancelQuery", sql_pb2.ActionCancelQueryRequest(info=info.serialize()))
        answer = envelope.unpack(body)
        with pytest.raises(fl.FlightServerError, match=r"\[cancelled\]"):
            fetch.result(10)
    assert answer.result == sql_pb2.ActionCancelQueryResult.CANCEL_RESULT_CANCELLED


def test_another_query_of_the_same_text_goes_on(stack, client):
    first, second = client.execute(ENDLESS), client.execute(ENDLESS)
    with ThreadPoolExecutor(2) as pool:
        fetches = [pool.submit(client.fetch, info) for info in (first, second)]
        until(lambda: sum(r.state is QueryState.RUNNING for r in stack.skein.flight_sql.queries.list()) == 2)
        assert client.cancel(first) == CANCELLED
        with pytest.raises(fl.FlightServerError):
            fetches[0].result(10)
        assert not fetches[1].done()
        assert client.cancel(second) == CANCELLED
        with pytest.raises(fl.FlightServerError):
            fetches[1].result(10)


def test_a_query_cancelled_before_it_is_fetched_does_not_run(client):
    info = client.execute("SELECT 1")
    assert client.cancel(info) == CANCELLED
    with pytest.raises(fl.FlightServerError, match=r"\[cancelled\]"):
        client.fetch(info)
    assert client.rows("SELECT 1") == [(1,)]


def test_what_has_ended_cannot_be_cancelled_and_the_next_statement_is_not_disturbed(client):
    client.execute("CREATE TEMP TABLE steady AS SELECT range AS i FROM range(1000)")
    for _ in range(20):
        info = client.execute("SELECT sum(i) AS s FROM steady")
        assert client.fetch(info).to_pylist() == [{"s": 499500}]
        assert client.cancel(info) == NOT_CANCELLABLE
        assert client.rows("SELECT count(*) FROM steady") == [(1000,)]


def test_results_of_statements_that_ran_at_once_cannot_be_cancelled(client):
    assert client.cancel(client.execute("CREATE OR REPLACE TABLE done (i INTEGER)")) == NOT_CANCELLABLE


def test_a_stalled_stream_is_cancelled_between_two_batches(client):
    info = client.execute("SELECT i, repeat('x', 200) AS s FROM range(30000000) t(i)")
    reader = client.client.do_get(info.endpoints[0].ticket)
    reader.read_chunk()
    assert client.cancel(info) == CANCELLED
    with pytest.raises(fl.FlightServerError, match=r"\[cancelled\]"):
        deque(reader, maxlen=0)


def test_a_statement_that_runs_at_once_stops_when_its_client_goes_away(stack, client):
    client.execute("CREATE OR REPLACE TABLE half (n BIGINT)")
    options = fl.FlightCallOptions(timeout=0.5)
    insert = f"INSERT INTO half {ENDLESS}"
    command = fl.FlightDescriptor.for_command(envelope.pack(sql_pb2.CommandStatementQuery(query=insert)))
    with pytest.raises(fl.FlightTimedOutError):
        client.client.get_flight_info(command, options)
    until(lambda: not running(stack, insert)())
    assert client.rows("SELECT count(*) FROM half") == [(0,)]


def test_waiting_for_a_turn_is_cancelled_without_harm_to_the_one_that_runs(stack, client):
    """Both statements want the session's one connection."""
    client.execute("CREATE OR REPLACE TABLE turns (n BIGINT)")
    first, second = f"INSERT INTO turns {ENDLESS}", "INSERT INTO turns VALUES (2)"
    log = stack.skein.flight_sql.queries
    with ThreadPoolExecutor(2) as pool:
        runs = pool.submit(client.update, first)
        until(running(stack, first))
        waits = pool.submit(client.update, second)
        until(running(stack, second))
        ids = {record.sql: record.query_id for record in log.list() if record.finished_at is None}
        assert log.cancel(ids[second], actor=LOCAL)
        assert not runs.done()
        assert log.cancel(ids[first], actor=LOCAL)
        for run in (runs, waits):
            with pytest.raises(fl.FlightServerError, match=r"\[cancelled\]"):
                run.result(10)
    assert client.rows("SELECT count(*) FROM turns") == [(0,)]


def test_metadata_cannot_be_cancelled_and_nonsense_is_refused(client):
    assert client.cancel(client.info(sql_pb2.CommandGetCatalogs())) == NOT_CANCELLABLE
    request = flight_pb2.CancelFlightInfoRequest()
    request.info.endpoint.add().ticket.ticket = b"nonsense"
    with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_ticket\]"):
        list(client.action("CancelFlightInfo", request))


def test_adbc_stops_a_query(stack):
    with stack.adbc() as connection, connection.cursor() as cursor:
        cursor.execute(ENDLESS)

        def cancel_when_it_runs() -> None:
            until(running(stack, ENDLESS))
            cursor.adbc_cancel()

        with ThreadPoolExecutor(1) as pool:
            cancelled = pool.submit(cancel_when_it_runs)
            with pytest.raises(adbc.OperationalError, match=r"(?i)cancel"):
                cursor.fetchall()
            cancelled.result()
        until(lambda: not running(stack, ENDLESS)())
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == [(1,)]


def renewed(client: RawFlightSql, info: fl.FlightInfo) -> flight_pb2.FlightEndpoint:
    request = flight_pb2.RenewFlightEndpointRequest()
    request.endpoint.ParseFromString(info.endpoints[0].serialize())
    (body,) = client.action("RenewFlightEndpoint", request)
    return flight_pb2.FlightEndpoint.FromString(body)


def test_an_endpoint_tells_how_long_its_ticket_is_good(client):
    info = client.execute("SELECT 7 AS i")
    before = info.endpoints[0].expiration_time
    assert before is not None
    assert renewed(client, info).expiration_time.seconds >= before.cast(pa.int64()).as_py() // 10**9


@pytest.mark.parametrize(
    "sql", ["SELECT 7 AS i", "CREATE OR REPLACE TABLE r (i INTEGER)", "FROM own", "SHOW TABLES"]
)
def test_a_renewed_endpoint_gives_the_same_rows_and_tells_how_long(client, sql):
    client.execute("CREATE TEMP TABLE own AS SELECT 1 AS i")
    info = client.execute(sql)
    endpoint = renewed(client, info)
    assert endpoint.HasField("expiration_time")
    assert client.get(fl.Ticket(endpoint.ticket.ticket)) == client.fetch(info)
