"""Bad input, lost clients, crowds and a broken engine: the right status, and nothing left behind."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import duckdb
import psutil
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from google.protobuf.any_pb2 import Any as Envelope
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight_core.domain.errors import EngineUnavailable
from schemas.flight_sql import envelope, flight_pb2, sql_pb2
from tests.stack import Stack, skein_stack, until

BIRDS = pa.table({"name": ["goose", "duck"], "weight_kg": [3.5, 1.1]})
PREFIX = "type.googleapis.com/arrow.flight.protocol.sql."


@pytest.fixture(scope="module")
def stack(stack: Stack) -> Stack:
    stack.write("birds", BIRDS)
    return stack


# --- malformed ---


def test_a_body_that_cannot_be_decoded_is_an_invalid_argument_everywhere(client):
    broken = Envelope(type_url=PREFIX + "CommandStatementQuery", value=b"\x0a\xff").SerializeToString()
    for use in (client.info, client.schema, client.put, lambda data: client.get(fl.Ticket(data))):
        with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_command\].*CommandStatementQuery"):
            use(broken)


def test_an_unknown_message_is_refused_by_name(client):
    unknown = Envelope(type_url=PREFIX + "CommandMakeCoffee").SerializeToString()
    with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_command\].*CommandMakeCoffee"):
        client.info(unknown)


def test_a_message_of_somebody_else_is_no_command(client):
    foreign = Envelope(type_url="type.googleapis.com/google.protobuf.Empty").SerializeToString()
    with pytest.raises(pa.ArrowInvalid):
        client.info(foreign)


def test_a_message_sent_to_the_wrong_call_is_unimplemented(client):
    with pytest.raises(NotImplementedError, match=r"CommandStatementUpdate is not answered by GetFlightInfo"):
        client.info(sql_pb2.CommandStatementUpdate(query="SELECT 1"))
    with pytest.raises(NotImplementedError, match=r"CommandStatementQuery is not answered by DoGet"):
        client.get(fl.Ticket(envelope.pack(sql_pb2.CommandStatementQuery(query="SELECT 1"))))
    with pytest.raises(NotImplementedError, match=r"CommandGetTables is not answered by DoPut"):
        client.put(sql_pb2.CommandGetTables())


def test_substrait_is_unimplemented(client):
    command = sql_pb2.CommandStatementSubstraitPlan(plan={"plan": b"x", "version": "1"})
    for use in (client.info, client.schema, client.put):
        with pytest.raises(NotImplementedError, match="Substrait"):
            use(command)
    request = sql_pb2.ActionCreatePreparedSubstraitPlanRequest()
    with pytest.raises(NotImplementedError, match="Substrait"):
        list(client.action("CreatePreparedSubstraitPlan", request))


WRAPPED = [
    "CreatePreparedStatement",
    "ClosePreparedStatement",
    "BeginTransaction",
    "EndTransaction",
    "CancelQuery",
]
BARE = ["CancelFlightInfo", "RenewFlightEndpoint", "SetSessionOptions"]


@pytest.mark.parametrize("name", WRAPPED + BARE)
@pytest.mark.parametrize("body", [b"\xff\xff\xff", envelope.pack(sql_pb2.CommandGetCatalogs())[:-3]])
def test_an_action_with_a_damaged_body_is_refused(client, name, body):
    with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_command\]"):
        list(client.client.do_action(fl.Action(name, body)))


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("body", [b"", envelope.pack(sql_pb2.CommandGetCatalogs())])
def test_an_action_with_the_wrong_body_is_refused(client, name, body):
    with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_command\].*is not a Action"):
        list(client.client.do_action(fl.Action(name, body)))


def test_empty_bodies_are_messages_without_fields(client):
    for name in ("GetSessionOptions", "CloseSession"):
        assert len(list(client.client.do_action(fl.Action(name, b"")))) == 1


def test_every_action_is_listed_with_a_description(client):
    listed = dict(client.client.list_actions())
    for name in (*WRAPPED, *BARE, "GetSessionOptions", "CloseSession", "BeginSavepoint", "EndSavepoint"):
        assert listed[name].strip()


def test_a_huge_statement_is_refused_and_a_large_one_runs(client):
    with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_sql\].*limit"):
        client.execute("SELECT '" + "x" * (5 << 20) + "'")
    assert len(client.rows("SELECT '" + "x" * (1 << 20) + "' AS s")[0][0]) == 1 << 20


VALID = [
    envelope.pack(message)
    for message in (
        sql_pb2.CommandStatementQuery(query="SELECT 1", transaction_id=b"x"),
        sql_pb2.CommandPreparedStatementQuery(prepared_statement_handle=b"h" * 40),
        sql_pb2.CommandGetTables(catalog="lake", table_name_filter_pattern="b%", include_schema=True),
        sql_pb2.CommandGetSqlInfo(info=[1, 517]),
        sql_pb2.CommandGetCrossReference(pk_table="a", fk_table="b"),
        sql_pb2.TicketStatementQuery(statement_handle=b"h" * 40),
    )
]


@st.composite
def damaged(draw) -> bytes:
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data) - 1))
        data[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
        data = data or bytearray(b"x")
    return bytes(data)


@settings(
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=damaged())
def test_damaged_messages_get_an_answer_or_a_clear_refusal(client, data):
    for use in (client.info, client.schema, lambda ticket: client.get(fl.Ticket(ticket))):
        answer = refusal(lambda: use(data))  # noqa: B023 - called at once
        assert "internal" not in answer
        assert "Traceback" not in answer


def refusal(use: Callable[[], object]) -> str:
    """What a call is refused with, if it is; other kinds of failure come through."""
    try:
        use()
    except (pa.ArrowException, fl.FlightError, KeyError, NotImplementedError) as error:
        return str(error)
    return ""


def test_handles_that_nobody_gave_out_are_not_found(client):
    for handle in (b"", b"x", b"." * 10, b"\xff" * 40, b"0" * 32 + b"." + b"0" * 16):
        with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
            client.run_prepared(handle)
        with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
            client.get(fl.Ticket(envelope.pack(sql_pb2.TicketStatementQuery(statement_handle=handle))))
        with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
            client.update_prepared(handle)


def test_parameters_whose_offsets_lie_are_refused(client):
    lying = pa.StringArray.from_buffers(
        2, pa.array([0, 1 << 20, 3], pa.int32()).buffers()[1], pa.py_buffer(b"abc")
    )
    handle = client.prepare("SELECT ?").prepared_statement_handle
    with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_parameters\]"):
        client.bind(handle, pa.table({"0": lying}))
    assert client.rows("SELECT 1") == [(1,)]


# --- lost clients ---

VANISHING = """
import os, sys
import pyarrow.flight as fl
sys.path.insert(0, os.getcwd())
from tests.protocol.raw_flight_sql import RawFlightSql
client = RawFlightSql(fl.connect(sys.argv[1]), {})
client.execute("CREATE TEMP TABLE much AS SELECT range AS i FROM range(5000000)")
STEPS = {
    "planned": lambda: client.execute("SELECT i FROM much"),
    "streaming": lambda: client.client.do_get(STEPS["planned"]().endpoints[0].ticket).read_chunk(),
    "prepared": lambda: client.prepare("SELECT ?"),
    "writing": lambda: client.update(f"CREATE TABLE never_{os.getpid()} (i INTEGER)", client.begin()),
}
kept = STEPS[sys.argv[2]]()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("step", ["planned", "streaming", "prepared", "writing"])
def test_clients_that_vanish_leave_nothing_once_their_session_expires(tmp_path, step):
    with skein_stack(tmp_path, session_idle_s=0.5, transaction_idle_s=0.5) as stack:
        with stack.raw() as client:
            client.rows("SELECT 1")
        until(lambda: len(stack.skein.flight_sql.sessions) == 0)
        before = resources()
        for _ in range(2):
            vanish(stack, step)
        until(lambda: len(stack.skein.flight_sql.sessions) == 0)
        until(lambda: all(record.finished_at for record in stack.skein.flight_sql.queries.list()))
        until(lambda: all(now <= then for now, then in zip(resources(), before, strict=True)))
        with stack.raw() as client:
            assert client.rows("SELECT * FROM duckdb_tables() WHERE table_name LIKE 'never%'") == []


def vanish(stack: Stack, step: str) -> None:
    command = [sys.executable, "-P", "-c", VANISHING, stack.flight_uri, step]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as lost:
        assert lost.stdout.readline() == b"ready\n"
        os.kill(lost.pid, signal.SIGKILL)


def resources() -> tuple[int, int, int]:
    """Threads of Python's, open files and sockets of this process."""
    me = psutil.Process()
    return threading.active_count(), len(me.open_files()), len(me.net_connections())


def test_nothing_is_left_of_many_sessions(stack):
    def use() -> None:
        with stack.raw() as client:
            client.execute("CREATE TEMP TABLE t AS SELECT 1 AS i")
            client.bind(client.prepare("SELECT ?").prepared_statement_handle, pa.table({"0": [1]}))
            client.rollback(client.begin())
            client.rows("FROM t")
            list(client.action("CloseSession", flight_pb2.CloseSessionRequest()))

    use()
    before, sessions = resources(), len(stack.skein.flight_sql.sessions)
    for _ in range(30):
        use()
    assert len(stack.skein.flight_sql.sessions) == sessions
    until(lambda: all(now <= then for now, then in zip(resources(), before, strict=True)))


# --- crowds ---


def test_one_session_used_by_many_threads_answers_each(client):
    client.execute("CREATE TEMP TABLE shared AS SELECT range AS i FROM range(1000)")
    handle = client.prepare("SELECT sum(i)::BIGINT AS s FROM shared").prepared_statement_handle

    def work(number: int) -> object:
        match number % 4:
            case 0:
                return client.fetch(client.run_prepared(handle)).column(0)[0].as_py()
            case 1:
                return client.rows("SELECT sum(i)::BIGINT FROM shared")[0][0]
            case 2:
                client.update(f"CREATE OR REPLACE TEMP TABLE own_{number} AS SELECT 499500::BIGINT AS s")
                return client.rows(f"FROM own_{number}")[0][0]
            case _:
                return client.fetch(client.execute("SELECT i FROM shared")).column(0).to_numpy().sum()

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(work, range(80))) == {499500}


def test_a_hundred_sessions_read_write_and_cancel_side_by_side(tmp_path):
    with skein_stack(tmp_path, max_streams=16, max_queue=200, queue_timeout_s=60.0) as stack:
        stack.write("birds", BIRDS)
        with stack.raw() as client:
            client.execute("CREATE TABLE crowd (who INTEGER, n INTEGER)")

        def visit(who: int) -> None:
            chance = random.Random(who)
            with stack.raw() as client:
                client.execute(f"CREATE TEMP TABLE mine AS SELECT {who} AS who")
                for n in range(4):
                    step = chance.randrange(4)
                    if step == 0:
                        client.update(f"INSERT INTO crowd VALUES ({who}, {n})")
                    elif step == 1:
                        transaction = client.begin()
                        client.update(f"INSERT INTO crowd VALUES ({who}, {n})", transaction)
                        client.rollback(transaction)
                    elif step == 2:
                        info = client.execute("SELECT count(*) FROM range(10000000000) t(i) WHERE i % 7 = 3")
                        assert client.cancel(info) == flight_pb2.CANCEL_STATUS_CANCELLED
                    assert client.query("FROM birds") == BIRDS
                assert client.rows("SELECT * FROM mine") == [(who,)]
                list(client.action("CloseSession", flight_pb2.CloseSessionRequest()))

        with ThreadPoolExecutor(100) as pool:
            assert list(pool.map(visit, range(100))) == [None] * 100
        with stack.raw() as client:
            written = sum(
                [chance.randrange(4) for _ in range(4)].count(0) for chance in map(random.Random, range(100))
            )
            assert client.rows("SELECT count(*) FROM crowd") == [(written,)]
        assert len(stack.skein.flight_sql.sessions) <= 2


# --- a broken engine ---


def test_a_fatal_failure_costs_what_was_in_memory_and_nothing_else(tmp_path):
    with skein_stack(tmp_path) as stack, stack.raw() as client:
        stack.write("birds", BIRDS)
        client.execute("CREATE TABLE kept AS SELECT 1 AS i")
        client.execute("CREATE TEMP TABLE lost AS SELECT 2 AS i")
        break_engine(stack)
        with pytest.raises(fl.FlightUnavailableError, match=r"\[engine_unavailable\]"):
            client.rows("FROM lost")
        assert client.rows("FROM kept") == [(1,)]
        assert client.query("FROM birds") == BIRDS
        with pytest.raises(KeyError):
            client.rows("FROM lost")
        client.execute("CREATE TEMP TABLE lost AS SELECT 3 AS i")
        assert client.rows("FROM lost") == [(3,)]


def break_engine(stack: Stack) -> None:
    engine = stack.skein.flight_sql.catalog.reader.engine
    failures = engine._instance.failures  # no SQL of a client's can do this
    with pytest.raises(EngineUnavailable), failures.translated():
        raise duckdb.FatalException("FATAL Error: database has been invalidated")


def test_a_client_without_state_notices_nothing_of_a_fatal_failure(tmp_path):
    with skein_stack(tmp_path) as stack, stack.raw() as client:
        stack.write("birds", BIRDS)
        assert client.query("FROM birds") == BIRDS
        break_engine(stack)
        assert client.query("FROM birds") == BIRDS
