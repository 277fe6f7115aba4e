"""Stopping the server takes a bounded time, whatever its clients do."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.domain.errors import InvalidOption
from flight_server.flight_sql.dispatch import FlightSql
from flight_server.options import FlightOptions
from flight_server.service import SkeinFlightServer
from tests.protocol.flight_stack import command, flight_stack, path, read, ticket_of
from tests.stack import until

BLOCKED = command("SELECT count(*) FROM range(1000000) a(i), range(1000000) b(j) WHERE (a.i * b.j) % 7 = 3")
FLOWING = command("SELECT i, repeat('x', 100) AS s FROM range(100000000) t(i)")
FINITE = command("SELECT i FROM range(20000000) t(i)")  # 160 MB: too much for the buffers on the way


@pytest.fixture
def stack(tmp_path):
    with flight_stack(tmp_path) as stack:
        yield stack


@pytest.fixture
def stop(stack, monkeypatch):
    """The server's own `stop`, which the fixture shall not call again."""
    stop = stack.server.stop
    monkeypatch.setattr(stack.server, "stop", lambda deadline_s: True)
    return stop


def refuses_calls(stack) -> bool:
    with stack.connect() as client:
        try:
            return not client.list_actions()
        except fl.FlightUnavailableError:
            return True


def test_a_port_that_is_taken_is_named(stack):
    threads = threading.active_count()
    options = FlightOptions(ticket_key=b"key", port=stack.server.port)
    with pytest.raises(InvalidOption, match=rf"cannot listen on 127.0.0.1:{stack.server.port}"):
        SkeinFlightServer(stack.use_cases, options, FlightSql(stack.sql_use_cases, options))
    assert threading.active_count() <= threads  # those of earlier calls may end meanwhile


def test_an_idle_server_stops_at_once(stack, stop):
    assert stop(deadline_s=60)


def test_a_stopped_server_takes_no_calls(stack, stop):
    with stack.connect() as client:
        read(client, command("SELECT 1"))
        assert stop(deadline_s=60)
        with pytest.raises(fl.FlightUnavailableError):
            read(client, command("SELECT 1"))


def test_running_streams_are_drained(stack, stop):
    with stack.connect() as client, ThreadPoolExecutor() as threads:
        reader = client.do_get(ticket_of(client, FINITE))
        first = reader.read_chunk().data
        stopping = threads.submit(stop, deadline_s=60)
        until(lambda: refuses_calls(stack))
        rest = reader.read_all()
        assert first.num_rows + rest.num_rows == 20_000_000
        assert stopping.result()


def test_a_query_that_outlives_the_deadline_is_cancelled(stack, stop):
    with stack.connect() as client, ThreadPoolExecutor() as threads:
        reading = threads.submit(read, client, BLOCKED)
        until(lambda: stack.admission.open_streams == 1)
        assert stop(deadline_s=0)
        with pytest.raises(fl.FlightServerError, match=r"\[cancelled\]"):
            reading.result()
    assert stack.admission.open_streams == 0


def test_a_client_that_does_not_read_is_cut_off(stack, stop):
    with stack.connect() as client:
        reader = client.do_get(ticket_of(client, FLOWING))
        reader.read_chunk()
        assert stop(deadline_s=0)
        assert stack.admission.open_streams == 0
        with pytest.raises((fl.FlightUnavailableError, fl.FlightServerError)):
            reader.read_all()


def test_an_upload_in_progress_is_given_up(stack, stop):
    rows = pa.table({"id": pa.array(range(1000))})
    with stack.connect() as client:
        writer, _ = client.do_put(path("unfinished"), rows.schema)
        writer.write_table(rows)
        until(lambda: stack.server.running_calls == 1)
        assert stop(deadline_s=0)
        with pytest.raises(fl.FlightError):
            writer.close()
    assert stack.use_cases.list_datasets.datasets.list() == []


def test_start_and_stop_leave_nothing_behind(tmp_path):
    process = psutil.Process()

    def rounds(name: str, number: int) -> None:
        for round in range(number):
            folder = tmp_path / f"{name}{round}"
            folder.mkdir()
            with flight_stack(folder) as stack, stack.connect() as client:
                read(client, command("SELECT 1"))
                reader = client.do_get(ticket_of(client, FLOWING))
                reader.cancel()

    rounds("warm", 3)
    threads, descriptors = threading.active_count(), process.num_fds()
    rounds("round", 15)
    until(lambda: threading.active_count() <= threads)
    until(lambda: process.num_fds() <= descriptors)
