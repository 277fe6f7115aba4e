"""Streams that end early: cancelled, abandoned, stalled, one too many. Nothing stays behind."""

import gc
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_server.streams import Pull
from tests.protocol.flight_stack import command, flight_stack, read, ticket_of
from tests.stack import until

# Works for minutes before the first batch.
BLOCKED = command("SELECT count(*) FROM range(1000000) a(i), range(1000000) b(j) WHERE (a.i * b.j) % 7 = 3")
# Gigabytes, flowing at once: a client that does not read stops it with its first megabytes.
FLOWING = command("SELECT i, repeat('x', 100) AS s FROM range(100000000) t(i)")
SMALL = command("SELECT 1 AS x")

LIMITS = {"max_streams": 4, "max_queue": 4, "queue_timeout_s": 30}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with flight_stack(tmp_path_factory.mktemp("streams"), **LIMITS) as stack:
        yield stack


@pytest.fixture
def client(stack):
    with stack.connect() as client:
        yield client
    until(lambda: stack.server.running_calls == 0)


def started(stack, client, descriptor=BLOCKED) -> fl.FlightStreamReader:
    """A stream whose query runs."""
    before = stack.admission.open_streams
    reader = client.do_get(ticket_of(client, descriptor))
    until(lambda: stack.admission.open_streams == before + 1)
    return reader


def released(stack):
    until(lambda: stack.admission.open_streams == 0)
    assert stack.log.list()[0].state == "cancelled"


def cancel(reader):
    reader.cancel()


def read_some_and_cancel(reader):
    reader.read_chunk()
    reader.cancel()


@pytest.mark.parametrize(
    ("descriptor", "leave"),
    [(BLOCKED, cancel), (FLOWING, cancel), (FLOWING, read_some_and_cancel)],
    ids=["before the first batch", "while the server waits", "in the middle"],
)
def test_a_cancelled_stream_stops_its_query(stack, client, descriptor, leave):
    leave(started(stack, client, descriptor))
    released(stack)


def test_a_stream_that_was_left_keeps_no_batches_until_garbage_is_collected(stack, client):
    gc.collect()
    gc.disable()
    try:
        reader = started(stack, client, FLOWING)
        read_some_and_cancel(reader)
        released(stack)
        until(lambda: not any(isinstance(each, Pull) for each in gc.get_objects()))
    finally:
        gc.enable()


@pytest.mark.parametrize("descriptor", [BLOCKED, FLOWING], ids=["blocked", "flowing"])
def test_a_forgotten_stream_stops_its_query(stack, client, descriptor):
    reader = started(stack, client, descriptor)
    del reader
    released(stack)


@pytest.mark.parametrize("descriptor", [BLOCKED, FLOWING], ids=["blocked", "flowing"])
def test_a_timeout_of_the_client_stops_its_query(stack, client, descriptor):
    ticket = ticket_of(client, descriptor)
    with pytest.raises(fl.FlightTimedOutError):
        client.do_get(ticket, fl.FlightCallOptions(timeout=0.2)).read_all()
    released(stack)


READER = """
import sys, pyarrow.flight as fl
client = fl.connect(sys.argv[1])
(endpoint,) = client.get_flight_info(fl.FlightDescriptor.for_command(sys.argv[2])).endpoints
reader = client.do_get(endpoint.ticket)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("descriptor", [BLOCKED, FLOWING], ids=["blocked", "flowing"])
def test_a_client_that_dies_stops_its_query(stack, descriptor):
    arguments = [sys.executable, "-P", "-c", READER, stack.server.uri, descriptor.command.decode()]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        until(lambda: stack.admission.open_streams == 1)
        process.send_signal(signal.SIGKILL)
    released(stack)


def test_a_query_is_cancelled_by_its_id_from_another_connection(stack, client):
    info = client.get_flight_info(BLOCKED)
    query_id = json.loads(info.app_metadata)["query_id"]
    with ThreadPoolExecutor() as threads, stack.connect() as another:
        reading = threads.submit(lambda: client.do_get(info.endpoints[0].ticket).read_all())
        until(lambda: any(query.query_id == query_id for query in stack.log.list()))
        (answer,) = another.do_action(("cancel", info.app_metadata))
        with pytest.raises(fl.FlightServerError, match=r"\[cancelled\]"):
            reading.result()
    assert json.loads(answer.body.to_pybytes())["cancelled"] is True
    released(stack)


def test_cancelling_in_the_middle_of_a_stream_is_no_keyboard_interrupt(stack, client):
    info = client.get_flight_info(FLOWING)
    reader = client.do_get(info.endpoints[0].ticket)
    reader.read_chunk()
    list(client.do_action(("cancel", info.app_metadata)))
    with pytest.raises(fl.FlightServerError, match=r"\[cancelled\]"):
        reader.read_all()
    released(stack)


def test_cancelling_frees_the_slot_of_a_client_that_does_not_read(stack, client):
    info = client.get_flight_info(FLOWING)
    reader = client.do_get(info.endpoints[0].ticket)
    reader.read_chunk()
    until(lambda: stack.admission.open_streams == 1)
    list(client.do_action(("cancel", info.app_metadata)))
    until(lambda: stack.admission.open_streams == 0)
    with pytest.raises(fl.FlightServerError, match=r"\[cancelled\]"):
        reader.read_all()
    released(stack)


def test_a_query_that_has_ended_cannot_be_cancelled_any_more(stack, client):
    info = client.get_flight_info(SMALL)
    client.do_get(info.endpoints[0].ticket).read_all()
    until(lambda: stack.server.running_calls == 0)
    (answer,) = client.do_action(("cancel", info.app_metadata))
    assert json.loads(answer.body.to_pybytes())["cancelled"] is False


def test_a_statement_that_writes_stops_with_its_client_and_changes_nothing(stack, client):
    query = BLOCKED.command.decode()
    with pytest.raises(fl.FlightTimedOutError):
        client.get_flight_info(
            command(f"CREATE TABLE abandoned AS {query}"), fl.FlightCallOptions(timeout=0.3)
        )
    until(lambda: stack.server.running_calls == 0)
    with pytest.raises(pa.ArrowKeyError, match="abandoned"):
        read(client, command("SELECT * FROM abandoned"))


def test_a_client_that_stalls_loses_its_query_and_is_told_so(tmp_path):
    with flight_stack(tmp_path, stall_timeout_s=0.2) as stack, stack.connect() as client:
        reader = started(stack, client, FLOWING)
        reader.read_chunk()
        released(stack)
        with pytest.raises(fl.FlightTimedOutError, match=r"\[deadline_exceeded\].*SKEIN_STALL_TIMEOUT_S"):
            reader.read_all()


def test_a_slow_query_is_no_stalled_client(tmp_path):
    with flight_stack(tmp_path, stall_timeout_s=0.1) as stack, stack.connect() as client:
        slow = "SELECT count(*) AS n FROM range(30000) a(i), range(20000) b(j) WHERE (a.i * b.j) % 7 = 3"
        assert read(client, command(slow)).num_rows == 1


def test_one_stream_too_many_is_refused_when_the_queue_is_full(tmp_path):
    with flight_stack(tmp_path, max_streams=1, max_queue=0) as stack, stack.connect() as client:
        first = started(stack, client)
        with pytest.raises(fl.FlightUnavailableError, match=r"\[too_many_streams\]") as caught:
            read(client, SMALL)
        assert json.loads(caught.value.extra_info)["retryable"] is True
        first.cancel()
        until(lambda: stack.admission.open_streams == 0)
        assert read(client, SMALL).num_rows == 1


def test_a_stream_waits_for_its_turn(tmp_path):
    limits = {"max_streams": 1, "max_queue": 1, "queue_timeout_s": 60}
    with flight_stack(tmp_path, **limits) as stack, stack.connect() as client:
        first = started(stack, client)
        with ThreadPoolExecutor() as threads:
            second = threads.submit(read, client, SMALL)
            until(lambda: stack.admission.waiting == 1)
            first.cancel()
            assert second.result().to_pylist() == [{"x": 1}]


def test_parallel_streams_do_not_mix(stack):
    def total(number: int) -> int:
        with stack.connect() as client:
            table = read(client, command(f"SELECT i * {number} AS v FROM range(200000) t(i)"))
            return pa.compute.sum(table.column("v")).as_py()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(total, range(8))) == [n * sum(range(200_000)) for n in range(8)]


def test_two_hundred_abandoned_streams_leave_nothing_behind(stack):
    process = psutil.Process()
    blocked_and_flowing = [BLOCKED, FLOWING]

    def rounds(number: int) -> None:
        with stack.connect() as client:
            tickets = [ticket_of(client, descriptor) for descriptor in blocked_and_flowing]
            for round in range(number):
                reader = client.do_get(tickets[round % 2])
                if round % 4 == 1:
                    reader.read_chunk()
                if round % 3:
                    reader.cancel()
                del reader
        until(lambda: stack.server.running_calls == 0, deadline_s=30)

    rounds(20)
    threads, descriptors = threads_of_ours(), process.num_fds()
    rounds(200)
    assert stack.admission.open_streams == 0
    until(lambda: threads_of_ours() <= threads)
    until(lambda: process.num_fds() <= descriptors)


def threads_of_ours() -> int:
    """Without those of gRPC, which come and go as it likes."""
    return sum(not thread.name.startswith("Dummy") for thread in threading.enumerate())
