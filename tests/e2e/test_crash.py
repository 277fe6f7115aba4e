"""A server that dies or stops in the middle of an ingestion: the next start ends it right, and once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import psutil
import pytest

from tests.stack import SkeinProcess, skein_process, until

ROWS = 200_000
BODY = b"n,text\n" + b"".join(b"%d,row %d\n" % (n, n) for n in range(ROWS))
COMPLETE = [{"n": ROWS, "s": ROWS * (ROWS - 1) // 2}]


class HalfwaySource(ThreadingHTTPServer):
    """Sends half of a CSV file, and the rest once `released`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.released = threading.Event()
        self.halfway = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/numbers.csv"


class _Handler(BaseHTTPRequestHandler):
    server: HalfwaySource

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        middle = len(BODY) // 2
        self.wfile.write(BODY[:middle])
        self.server.halfway.set()
        if self.server.released.wait(60):
            self.wfile.write(BODY[middle:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def source() -> Iterator[HalfwaySource]:
    with HalfwaySource() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def started(server: SkeinProcess, source: HalfwaySource) -> str:
    """The path of a job that waits in the middle of its source."""
    reply = httpx.post(
        server.endpoints["http"] + "/api/v1/ingestions",
        json={"dataset": "numbers", "source": {"kind": "http", "url": source.url}},
    )
    assert reply.status_code == 202, reply.text
    assert source.halfway.wait(30)
    job = reply.headers["Location"]
    until(lambda: job_of(server, job)["bytes"] > 0)
    assert job_of(server, job)["state"] == "running"
    return job


def job_of(server: SkeinProcess, job: str) -> dict:
    return httpx.get(server.endpoints["http"] + job).json()


def succeeded(server: SkeinProcess, job: str) -> dict:
    until(lambda: job_of(server, job)["finished_at"], deadline_s=60)
    assert job_of(server, job)["error"] is None
    return job_of(server, job)


def rows(server: SkeinProcess) -> list[dict]:
    sql = {"sql": "SELECT count(*) AS n, sum(n) AS s FROM numbers"}
    return httpx.post(server.endpoints["http"] + "/api/v1/query", json=sql).json()["rows"]


def test_an_ingestion_outlives_the_death_of_its_server_and_commits_once(tmp_path, source):
    with skein_process(tmp_path) as server:
        job = started(server, source)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    assert (tmp_path / "skein.json").exists()
    source.released.set()
    with skein_process(tmp_path) as server:
        ended = succeeded(server, job)
        assert (ended["attempt"], ended["version"]) == (2, 0)
        assert rows(server) == COMPLETE
        assert httpx.get(server.endpoints["http"] + "/api/v1/datasets/numbers").json()["version"] == 0
        assert not any((tmp_path / "jobs").iterdir())


def test_an_ingestion_that_a_stop_interrupts_is_taken_up_by_the_next_start(tmp_path, source):
    with skein_process(tmp_path) as server:
        job = started(server, source)
        assert server.stop() == 0
        assert not any((tmp_path / "jobs").iterdir())
    source.released.set()
    with skein_process(tmp_path) as server:
        succeeded(server, job)
        assert rows(server) == COMPLETE


def test_a_parser_that_does_not_end_does_not_keep_the_server_alive(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_bytes(BODY * 20)
    data = tmp_path / "data"
    settings = {"SKEIN_INGEST_ROOTS": str(tmp_path), "SKEIN_DRAIN_TIMEOUT_S": "0.5"}
    with skein_process(data, **settings) as server:
        httpx.post(
            server.endpoints["http"] + "/api/v1/ingestions",
            json={"dataset": "numbers", "source": {"kind": "file", "path": str(path)}, "format": "csv"},
        )
        family = psutil.Process(server.process.pid)
        until(lambda: len(family.children(recursive=True)) > 2)  # the template, a keeper, a parser
        with ExitStack() as stack:
            for child in family.children(recursive=True):
                child.suspend()
                stack.callback(child.kill)  # they hold the standard error of the server
            server.process.terminate()
            assert server.process.wait(30) == 0
        server.wait()
        assert "stopped before everything was closed" in "".join(server.errors)


def test_the_death_of_the_server_takes_its_parser_along(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_bytes(BODY * 20)
    data = tmp_path / "data"
    with skein_process(data, SKEIN_INGEST_ROOTS=str(tmp_path)) as server:
        httpx.post(
            server.endpoints["http"] + "/api/v1/ingestions",
            json={"dataset": "numbers", "source": {"kind": "file", "path": str(path)}, "format": "csv"},
        )
        family = psutil.Process(server.process.pid)
        until(lambda: family.children(recursive=True), deadline_s=30)
        children = family.children(recursive=True)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: not any(child.is_running() for child in children))
