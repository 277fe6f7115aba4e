"""Rows of another Flight server, which may be slow, hostile, or somewhere it should not be."""

import socket
import threading
from contextlib import suppress

import anyio
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.adapters.sources.flight import FlightSource
from flight_core.application.ingestion.store_rows import StoreRows
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.domain.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidSource,
    SourceNotAllowed,
    SourceUnavailable,
)
from flight_core.domain.ingestion import Ingestion, IngestionRequest, SourceSpec
from flight_core.domain.job import JobState
from flight_core.infrastructure.http_client import AddressPolicy
from tests.adapters.ingestion_stack import IngestionStack
from tests.stack import skein_stack

SCHEMA = pa.schema([("n", pa.int64())])
WAIT = {"Prefer": "wait=30"}


def batch(*numbers):
    return pa.record_batch([pa.array(numbers, pa.int64())], SCHEMA)


class Server(fl.FlightServerBase):
    """Flights by the first part of their path."""

    def __init__(self) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self.going = threading.Event()
        self.asked = threading.Event()
        self.elsewhere: list[str] = []
        self.mute_part: str | None = None

    def get_flight_info(self, context, descriptor):
        if not descriptor.path:
            raise KeyError("no such flight")
        name = descriptor.path[0].decode()
        if name == "silent":
            self._keep_silent()
        count = 0 if name == "nothing" else 2 if name == "parts" else 1
        endpoints = [fl.FlightEndpoint(f"{name}-{part}", self.elsewhere) for part in range(count)]
        return fl.FlightInfo(SCHEMA, descriptor, endpoints, -1, -1)

    def do_get(self, context, ticket):
        name, _, part = ticket.ticket.decode().partition("-")
        if name == "mute" or (name == "parts" and part == self.mute_part):
            self._keep_silent()
        return fl.GeneratorStream(SCHEMA, self._batches(name, int(part)))

    def _keep_silent(self):
        self.asked.set()
        self.going.wait(60)

    def cancelling(self, flights):
        """Cancel the run `r` as soon as this server keeps silent."""
        threading.Thread(target=lambda: self.asked.wait(60) and flights.cancel("r")).start()

    def _batches(self, name, part):
        yield batch(2 * part, 2 * part + 1)
        if name == "endless":
            self.going.wait(60)
            yield batch(7)
        if name == "failing":
            raise pa.ArrowInvalid("it broke in the middle")


class Cut:
    """A way to a port of this machine that can be cut."""

    def __init__(self, port: int) -> None:
        self._there = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> "Cut":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.now()
        for thread in self._threads:
            thread.join(30)

    def now(self) -> None:
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._there))
                self._ends += [here, there]
                for pair in ((here, there), (there, here)):
                    self._threads.append(threading.Thread(target=_copy, args=pair))
                    self._threads[-1].start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)


@pytest.fixture
def server():
    with Server() as server:
        yield server
        server.going.set()


def source(**policy):
    return FlightSource(AddressPolicy(**{"allow_loopback": True, **policy}))


def spec(server, **fields):
    return SourceSpec("flight", {"uri": f"grpc://localhost:{server.port}", **fields})


def rows(server, **fields):
    found = source().open(spec(server, **fields), actor=LOCAL, run_id="r")
    try:
        return pa.Table.from_batches(list(found), found.schema)["n"].to_pylist()
    finally:
        found.close()


def test_the_rows_of_all_endpoints_come_in_order(server):
    assert rows(server, path="parts") == [0, 1, 2, 3]
    assert rows(server, path=["one"]) == [0, 1]


@pytest.mark.parametrize("fields", [{"command": "x"}, {"path": "nothing"}, {"path": "failing"}])
def test_what_the_server_refuses_is_told(server, fields):
    with pytest.raises(InvalidSource, match="localhost"):
        rows(server, **fields)


def test_a_server_that_is_not_there_may_come_back():
    with pytest.raises(SourceUnavailable):
        source().open(
            SourceSpec("flight", {"uri": "grpc://localhost:1", "path": "x"}), actor=LOCAL, run_id="r"
        )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "0x7f000001"])
def test_addresses_that_are_not_allowed_are_not_connected_to(server, host):
    there = SourceSpec("flight", {"uri": f"grpc://{host}:{server.port}", "path": "one"})
    with pytest.raises((SourceNotAllowed, SourceUnavailable)):
        source(allow_loopback=False).open(there, actor=LOCAL, run_id="r")


def test_rows_elsewhere_are_held_to_the_same_addresses(server):
    server.elsewhere = ["grpc://10.1.2.3:8815"]
    with pytest.raises(SourceNotAllowed):
        rows(server, path="one")


def test_a_name_is_resolved_once_and_that_address_is_connected_to(server, monkeypatch):
    """As for names that lead to another address each time they are asked for."""
    answers = iter(["127.0.0.1", "10.1.2.3"])

    def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    there = SourceSpec("flight", {"uri": f"grpc://data.example.org:{server.port}", "path": "parts"})
    found = source().open(there, actor=LOCAL, run_id="r")
    assert sum(batch.num_rows for batch in found) == 4
    found.close()
    with pytest.raises(SourceNotAllowed, match=r"data\.example\.org"):
        source().open(there, actor=LOCAL, run_id="r")


def test_rows_that_end_because_the_connection_does_are_no_table(server):
    with Cut(server.port) as cut:
        there = SourceSpec("flight", {"uri": f"grpc://localhost:{cut.port}", "path": "endless"})
        found = source().open(there, actor=LOCAL, run_id="r")
        batches = iter(found)
        assert next(batches).num_rows == 2
        cut.now()
        with pytest.raises(SourceUnavailable, match="localhost"):
            next(batches)
        found.close()


def test_a_server_that_stalls_is_given_up_at_the_deadline(server, tmp_path):
    stack = IngestionStack(tmp_path)
    flights = {"flight": source()}
    store_rows = StoreRows(flights, stack.store, new_id, stack.act_as_owner, timeout_s=0.5)
    request = IngestionRequest(DatasetName("d"), spec(server, path="endless"), WriteMode.APPEND)
    job = Ingestion(id="j", request=request, state=JobState.RUNNING, created_at=utc_now(), actor="ann")

    async def report(_progress): ...

    with pytest.raises(DeadlineExceeded, match="SKEIN_INGEST_FETCH_TIMEOUT_S"):
        anyio.run(store_rows, job, tmp_path, report)
    assert not server.going.is_set()
    stack.close()


@pytest.mark.parametrize("elsewhere", ["grpc://127.0.0.2:8815", "grpc://127.0.0.1:1"])
def test_headers_do_not_go_to_another_server(server, elsewhere):
    server.elsewhere = [elsewhere]
    with pytest.raises(SourceNotAllowed, match="must not see the headers"):
        rows(server, path="one", headers={"authorization": "Bearer x"})


def test_reading_stops_while_the_server_is_silent(server):
    flights = source()
    found = flights.open(spec(server, path="endless"), actor=LOCAL, run_id="r")
    batches = iter(found)
    assert next(batches).num_rows == 2
    threading.Timer(0.1, flights.cancel, ["r"]).start()
    with pytest.raises(Cancelled):
        next(batches)
    found.close()


@pytest.mark.parametrize("path", ["silent", "mute"])
def test_asking_stops_while_the_server_does_not_answer(server, path):
    flights = source()
    server.cancelling(flights)
    with pytest.raises(Cancelled):
        flights.open(spec(server, path=path), actor=LOCAL, run_id="r")
    assert not server.going.is_set()


def test_reading_stops_while_a_later_part_is_not_answered(server):
    flights = source()
    server.mute_part = "1"
    found = flights.open(spec(server, path="parts"), actor=LOCAL, run_id="r")
    batches = iter(found)
    assert next(batches).num_rows == 2
    server.cancelling(flights)
    with pytest.raises(Cancelled):
        next(batches)
    found.close()


@pytest.mark.parametrize(
    "fields",
    [
        {"uri": "http://x:1", "path": "p"},
        {"uri": "grpc://x", "path": "p"},
        {"uri": "grpc://u@x:1", "path": "p"},
        {"uri": "grpc://x:1"},
        {"uri": "grpc://x:1", "path": "p", "command": "c"},
        {"uri": "grpc://x:1", "path": "p", "colour": "red"},
        {"uri": "grpc://x:1", "path": "p", "headers": {"a b": "c"}},
    ],
)
def test_fields_that_cannot_work_are_refused_at_once(fields):
    with pytest.raises(InvalidSource):
        source().check(SourceSpec("flight", fields), actor=LOCAL)


def test_one_skein_ingests_from_another(tmp_path):
    numbers = pa.table({"n": range(100_000), "s": ["x"] * 100_000})
    with skein_stack(tmp_path / "there", tokens="ann=secret") as there:
        there.write("numbers", numbers)
        with skein_stack(tmp_path / "here") as here, here.http(timeout=40) as client:
            wanted = {
                "kind": "flight",
                "uri": there.flight_uri,
                "command": "SELECT n, s FROM numbers WHERE n >= 1000 ORDER BY n",
                "headers": {"authorization": "Bearer secret"},
            }
            job = client.post(
                "/api/v1/ingestions", json={"dataset": "copy", "source": wanted}, headers=WAIT
            ).json()
            assert (job["state"], job["error"]) == ("succeeded", None)
            assert client.get("/api/v1/datasets/copy").json()["rows"] == 99_000
            preview = client.post("/api/v1/ingestions/preview", json={"source": wanted, "rows": 1}).json()
            assert preview["rows"] == [{"n": 1000, "s": "x"}]
            wanted["headers"] = {}
            failed = client.post(
                "/api/v1/ingestions", json={"dataset": "other", "source": wanted}, headers=WAIT
            ).json()
            assert failed["error"]["code"] == "invalid_source"
