"""Live queries over DoExchange."""

import contextlib
import json
import threading
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.domain.dataset import WriteMode
from tests.protocol.flight_stack import command, flight_stack, path
from tests.protocol.http_stack import ENDLESS, HUGE
from tests.stack import until

ROWS = pa.table({"x": pa.array([1, 2], pa.int64())})


@pytest.fixture
def stack(tmp_path):
    with flight_stack(tmp_path) as stack:
        yield stack


@pytest.fixture
def client(stack):
    with stack.connect() as client:
        yield client


def subscribe(**asked: object) -> fl.FlightDescriptor:
    return command(json.dumps({"subscribe": {"interval_ms": 0, **asked}}))


@contextlib.contextmanager
def following(client: fl.FlightClient, sql: str, **asked: object) -> Iterator[fl.FlightStreamReader]:
    writer, reader = client.do_exchange(subscribe(sql=sql, **asked))
    try:
        yield reader
    finally:
        reader.cancel()
        with contextlib.suppress(pa.ArrowException):
            writer.close()


def result(reader: fl.FlightStreamReader) -> tuple[str, dict, list]:
    """Mode, versions and the values of x."""
    values = []
    while True:
        chunk = reader.read_chunk()
        about = json.loads(chunk.app_metadata.to_pybytes())
        values += chunk.data.column(0).to_pylist()
        if about["last"]:
            assert chunk.data.num_rows == 0
            return about["mode"], about["datasets"], values


def settled(stack) -> bool:
    return stack.server.running_calls == 0 and stack.admission.open_streams == 0


def test_results_and_added_rows_come_over_one_stream(stack, client):
    stack.write("d", ROWS)
    with following(client, "SELECT x FROM d") as reader:
        assert result(reader) == ("refresh", {"d": 0}, [1, 2])
        assert stack.admission.open_streams == 0
        stack.write("d", ROWS)
        assert result(reader) == ("append", {"d": 1}, [1, 2])
        stack.write("d", ROWS, WriteMode.REPLACE)
        assert result(reader) == ("refresh", {"d": 2}, [1, 2])
    until(lambda: settled(stack), deadline_s=30)


def test_texts_of_few_values_travel_in_every_result(stack, client):
    stack.write("d", ROWS)
    sql = "SELECT (CASE WHEN sum(x) > 3 THEN 'b' ELSE 'a' END)::ENUM('a', 'b') AS e FROM d"
    with following(client, sql) as reader:
        assert result(reader)[2] == ["a"]
        stack.write("d", ROWS)
        assert result(reader)[2] == ["b"]


@pytest.mark.parametrize("codec", [b"zstd", b"lz4"])
def test_streams_can_be_compressed(stack, client, codec):
    options = fl.FlightCallOptions(headers=[(b"x-skein-compression", codec)])
    writer, reader = client.do_exchange(subscribe(sql="SELECT i FROM range(1000) t(i)"), options)
    assert result(reader)[2] == list(range(1000))
    reader.cancel()
    with pytest.raises(pa.ArrowException):
        writer.close()


def test_other_columns_end_the_stream(stack, client):
    stack.write("d", ROWS)
    with following(client, "SELECT * FROM d") as reader:
        result(reader)
        stack.write("d", pa.table({"y": ["a"]}), WriteMode.REPLACE)
        with pytest.raises(pa.ArrowInvalid, match=r"\[schema_mismatch\]"):
            result(reader)
    until(lambda: settled(stack), deadline_s=30)


@pytest.mark.parametrize(
    ("descriptor", "failure", "text"),
    [
        (path("sales"), pa.ArrowInvalid, "invalid_command.*subscribe"),
        (command("SELECT 1"), pa.ArrowInvalid, "invalid_command"),
        (command("{}"), pa.ArrowInvalid, "invalid_command.*subscribe"),
        (subscribe(sql="SELECT 1", credits=1), pa.ArrowInvalid, "invalid_command.*credits"),
        (subscribe(sql="SELEC"), pa.ArrowInvalid, "invalid_sql"),
        (subscribe(sql="SELECT * FROM nowhere"), pa.ArrowKeyError, "dataset_not_found"),
        (subscribe(sql="DROP TABLE x"), fl.FlightUnauthorizedError, "statement_not_allowed"),
        (subscribe(sql="SELECT error('boom')"), pa.ArrowInvalid, "query_failed"),
    ],
)
def test_what_cannot_be_followed_is_refused(stack, client, descriptor, failure, text):
    writer, reader = client.do_exchange(descriptor)
    with pytest.raises(failure, match=text):
        list(reader)
    with pytest.raises(failure):
        writer.close()
    until(lambda: settled(stack), deadline_s=30)


@pytest.mark.parametrize("sql", [ENDLESS, HUGE, "SELECT 1 AS x"])
def test_nothing_runs_on_when_the_client_leaves(stack, client, sql):
    with following(client, sql) as reader:
        until(lambda: any(record.sql == sql for record in stack.log.list()), deadline_s=30)
        if sql != ENDLESS:
            reader.read_chunk()
    until(lambda: settled(stack), deadline_s=30)


def test_a_stopping_server_does_not_wait_for_those_who_follow(tmp_path):
    with flight_stack(tmp_path) as stack, stack.connect() as client:
        with following(client, "SELECT 1 AS x") as reader:
            result(reader)
            ended = threading.Event()
            stopping = threading.Thread(target=lambda: (stack.server.stop(deadline_s=300), ended.set()))
            stopping.start()
            with pytest.raises(fl.FlightUnavailableError, match="engine_unavailable"):
                result(reader)
        assert ended.wait(60)
        stopping.join()
