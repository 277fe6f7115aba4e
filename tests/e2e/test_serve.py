"""`skein serve` as people and supervisors use it: start, find, stop, restart."""

import contextlib
import json
import os
import resource
import signal
import socket
import threading

import duckdb
import httpx
import psutil
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from websockets.sync.client import connect as websocket

from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName
from skein.welcome import load_demo
from tests.e2e.commands import skein, started
from tests.protocol import certificates
from tests.stack import SkeinProcess, skein_process, skein_stack, until

# Streamed in many batches, with work for the server in each.
MANY_ROWS = 20_000_000
MANY = f"SELECT i, i % 7 AS j, 'row ' || i AS k FROM range({MANY_ROWS}) t(i)"


def ask(uri: str, sql: str) -> pa.Table:
    with fl.connect(uri) as client:
        info = client.get_flight_info(fl.FlightDescriptor.for_command(sql))
        return client.do_get(info.endpoints[0].ticket).read_all()


def opened(client: fl.FlightClient, sql: str) -> fl.FlightStreamReader:
    return client.do_get(client.get_flight_info(fl.FlightDescriptor.for_command(sql)).endpoints[0].ticket)


def refused(*arguments: str, **environment: str) -> str:
    """The one line that a start ends with which cannot work."""
    result = skein(*arguments, **{"SKEIN_FLIGHT_PORT": 0, "SKEIN_HTTP_PORT": 0, **environment})
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def test_it_may_open_as_many_files_as_the_system_lets_it(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    try:
        with skein_process(tmp_path, installed=True) as server:
            assert psutil.Process(server.process.pid).rlimit(psutil.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_a_server_cleanly(tmp_path, number):
    with skein_process(tmp_path, installed=True) as server:
        ends = server.endpoints
        assert ends["pid"] == server.process.pid
        assert ask(ends["flight"], "SELECT 42 AS answer").to_pylist() == [{"answer": 42}]
        assert httpx.get(ends["http"] + "/readyz").json()["status"] == "ready"
        assert ends["flight"] in "".join(server.output)
        assert ends["http"] in "".join(server.output)
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert server.stop(number) == 0
        assert not (tmp_path / "skein.json").exists()
        assert not any(child.is_running() for child in children)
        # Where nobody watches a terminal every line of the log is JSON; a traceback would not be.
        assert "query ended" in [json.loads(line)["event"] for line in server.errors]


@pytest.mark.parametrize(
    ("number", "loaded", "code"),
    [
        (signal.SIGINT, "typer", -signal.SIGINT),
        (signal.SIGINT, "uvloop", 0),
        (signal.SIGTERM, "uvloop", 0),
    ],
)
def test_a_signal_ends_a_server_that_is_still_being_loaded(tmp_path, number, loaded, code):
    with started("serve", "--data", tmp_path, PYTHONPROFILEIMPORTTIME="1") as process:
        assert any(line.split("|")[-1].strip() == loaded for line in process.stderr)
        process.send_signal(number)
        assert "Traceback" not in process.stderr.read()
        assert process.wait(60) == code


def test_a_stream_that_is_being_read_is_drained_before_the_server_stops(tmp_path):
    with (
        skein_process(tmp_path, SKEIN_DRAIN_TIMEOUT_S="60") as server,
        fl.connect(server.endpoints["flight"]) as client,
    ):
        reader = opened(client, MANY)
        rows = reader.read_chunk().data.num_rows
        server.process.terminate()
        until(lambda: not (tmp_path / "skein.json").exists())
        with contextlib.suppress(StopIteration):
            while True:
                rows += reader.read_chunk().data.num_rows
        assert rows == MANY_ROWS
        assert server.wait() == 0


def test_a_stream_that_nobody_reads_does_not_keep_the_server_alive(tmp_path):
    with (
        skein_process(tmp_path, SKEIN_DRAIN_TIMEOUT_S="0.5") as server,
        fl.connect(server.endpoints["flight"]) as client,
    ):
        reader = opened(client, MANY)
        reader.read_chunk()
        assert server.stop() == 0


def test_an_http_result_and_an_event_stream_do_not_keep_the_server_alive(tmp_path):
    with (
        skein_process(tmp_path, SKEIN_DRAIN_TIMEOUT_S="0.5") as server,
        httpx.Client(base_url=server.endpoints["http"], timeout=None) as client,
        client.stream("POST", "/api/v1/query", json={"sql": MANY}) as reply,
        websocket(server.endpoints["http"].replace("http", "ws") + "/api/v1/events") as events,
    ):
        next(reply.iter_raw())
        events.recv(10)
        assert server.stop() == 0
        told = [json.loads(line) for line in server.errors]
        assert not [line for line in told if "exception" in line]


def test_a_server_whose_greeting_nobody_reads_serves_on(tmp_path):
    with started(
        "serve", "--data", tmp_path, SKEIN_FLIGHT_PORT="0", SKEIN_HTTP_PORT="0", SKEIN_DRAIN_TIMEOUT_S="5"
    ) as process:
        process.stdout.close()
        until((tmp_path / "skein.json").exists, deadline_s=60)
        ends = json.loads((tmp_path / "skein.json").read_text())
        assert ask(ends["flight"], "SELECT 42 AS answer").to_pylist() == [{"answer": 42}]
        process.terminate()
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()


def test_a_second_signal_stops_at_once(tmp_path):
    with (
        skein_process(tmp_path, SKEIN_DRAIN_TIMEOUT_S="600") as server,
        fl.connect(server.endpoints["flight"]) as client,
    ):
        reader = opened(client, MANY)
        reader.read_chunk()
        server.process.terminate()
        until(lambda: not (tmp_path / "skein.json").exists())
        assert server.stop() == 1


def test_a_data_directory_serves_one_process_at_a_time(tmp_path):
    with skein_process(tmp_path) as server:
        line = refused("serve", "--data", str(tmp_path))
        assert line.startswith("error: [conflict] the data directory")
        assert f"process {server.process.pid};" in line
        assert "--data" in line


def test_a_path_that_databases_would_misread_is_refused(tmp_path):
    line = refused("serve", "--data", str(tmp_path / "what?"))
    assert line.startswith(f"error: [invalid_option] the data directory '{tmp_path}/what?' has a '?'")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--flight-port", "--http-port"])
def test_a_taken_port_is_told_with_the_flag_that_changes_it(tmp_path, flag):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = refused("serve", "--data", str(tmp_path), flag, str(taken.getsockname()[1]))
    assert line.startswith("error: [conflict] the port ")
    assert flag in line


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        (None, certificates.SERVER_KEY, "SKEIN_TLS_CERT is '"),
        (b"none", certificates.SERVER_KEY, "SKEIN_TLS_CERT ("),
        (certificates.SERVER, certificates.CLIENT_KEY, "SKEIN_TLS_CERT ("),
    ],
    ids=["missing", "not a certificate", "another key"],
)
def test_certificates_that_cannot_work_are_told_by_their_settings(tmp_path, cert, key, said):
    paths = {"SKEIN_TLS_CERT": tmp_path / "cert.pem", "SKEIN_TLS_KEY": tmp_path / "key.pem"}
    for path, content in zip(paths.values(), (cert, key), strict=True):
        if content is not None:
            path.write_bytes(content)
    line = refused("serve", "--data", str(tmp_path / "data"), **{k: str(v) for k, v in paths.items()})
    assert line.startswith(f"error: [invalid_option] {said}")


def test_a_workspace_that_another_program_has_open_is_told(tmp_path):
    with duckdb.connect(tmp_path / "workspace.duckdb"):
        line = refused("serve", "--data", str(tmp_path))
    assert line.startswith("error: [engine_unavailable]")
    assert f"workspace.duckdb, is open in another program, process {os.getpid()};" in line


def test_a_server_that_others_can_reach_needs_credentials(tmp_path):
    line = refused("serve", "--data", str(tmp_path), "--host", "0.0.0.0")
    assert line.startswith("error: [invalid_option] SKEIN_HOST")
    assert "SKEIN_TOKENS" in line


def test_the_demo_and_the_tables_of_users_outlive_a_restart(tmp_path):
    with skein_process(tmp_path, "--demo-rows", "1000") as server:
        sql = {"sql": "CREATE TABLE mine AS SELECT 42 AS answer"}
        assert httpx.post(server.endpoints["http"] + "/api/v1/query", json=sql).is_success
        assert server.stop() == 0
    with skein_process(tmp_path) as server:
        assert ask(server.endpoints["flight"], "SELECT * FROM mine").to_pylist() == [{"answer": 42}]
        assert ask(server.endpoints["flight"], "FROM flights").num_rows == 1000


def test_the_demo_is_there_once_and_keeps_its_size_unless_another_is_asked_for(tmp_path):
    def demo(**settings):
        with skein_stack(tmp_path, demo=True, **settings) as stack:
            load_demo(stack.skein)
            dataset = stack.skein.flight.get_dataset(DatasetName("flights"), actor=LOCAL)
            return dataset.version, dataset.current.row_count

    assert demo() == (0, 200_000)
    assert demo() == (0, 200_000)
    assert demo(demo_rows=1000) == (1, 1000)
    assert demo(demo_rows=1000) == (1, 1000)
    assert demo() == (1, 1000)


def test_a_dataset_that_is_not_the_demo_is_left_alone(tmp_path):
    with skein_stack(tmp_path, demo=True, demo_rows=1000) as stack:
        stack.write("flights", pa.table({"mine": [1, 2, 3]}))
        load_demo(stack.skein)
        assert ask(stack.flight_uri, "FROM flights").num_rows == 3


def test_a_signal_during_start_up_ends_it_cleanly(tmp_path):
    server = SkeinProcess(tmp_path, "--demo-rows", "80000000")
    until(lambda: any((tmp_path / "lake").rglob("*.parquet")), deadline_s=60)
    assert server.stop() == 0
    assert not (tmp_path / "skein.json").exists()
    assert not any((tmp_path / "lake").rglob("*.parquet"))
    assert "Traceback" not in "".join(server.errors)


def test_servers_come_and_go_without_leaving_threads_or_files(tmp_path):
    def counts():
        return threading.active_count(), psutil.Process().num_fds()

    def round_trip():
        with skein_stack(tmp_path) as stack:
            assert ask(stack.flight_uri, "SELECT 1 AS one").num_rows == 1
            assert httpx.get(stack.http_url + "/healthz").is_success

    for _ in range(2):
        round_trip()
    before = counts()
    for _ in range(5):
        round_trip()
    until(lambda: counts() <= before)
