"""What runs with a token when it is revoked: it ends, and says why where the protocol can."""

import base64
import threading
from collections.abc import Callable, Iterator

import adbc_driver_flightsql as flight_sql
import httpx
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from adbc_driver_manager import AdbcConnection, AdbcStatement
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from flight_core.domain.access import LOCAL
from tests.protocol.http_stack import until
from tests.protocol.live_client import LiveClient
from tests.stack import Stack, skein_stack

ADMIN = {"Authorization": "Bearer r00t"}
ENDLESS = "SELECT a.range AS i FROM range(1000000000) a, range(1000) b"

# Tells that something runs, then reads on until it ends; what ended it is raised.
Following = Callable[[Stack, str, Callable[[], None]], object]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with skein_stack(tmp_path_factory.mktemp("revoked") / "data", tokens="root=r00t") as made:
        made.write("d", pa.table({"x": pa.array([1, 2], pa.int64())}))
        yield made


def flight_options(token: str) -> fl.FlightCallOptions:
    return fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())])


def flight_stream(stack: Stack, token: str, runs: Callable[[], None]) -> None:
    with stack.flight() as client:
        options = flight_options(token)
        info = client.get_flight_info(fl.FlightDescriptor.for_command(ENDLESS.encode()), options)
        reader = client.do_get(info.endpoints[0].ticket, options)
        reader.read_chunk()
        runs()
        for _ in reader:
            pass


def flight_exchange(stack: Stack, token: str, runs: Callable[[], None]) -> None:
    with stack.flight() as client:
        command = fl.FlightDescriptor.for_command(b'{"subscribe": {"sql": "SELECT x FROM d"}}')
        _, reader = client.do_exchange(command, flight_options(token))
        reader.read_chunk()
        runs()
        for _ in reader:
            pass


def flight_upload(stack: Stack, token: str, runs: Callable[[], None]) -> None:
    with stack.flight() as client:
        rows = pa.table({"x": pa.array(range(10_000), pa.int64())})
        writer, _ = client.do_put(fl.FlightDescriptor.for_path("never"), rows.schema, flight_options(token))
        writer.write_table(rows)
        runs()
        for _ in range(1_000_000):
            writer.write_table(rows)
        writer.close()


def flight_sql_stream(stack: Stack, token: str, runs: Callable[[], None]) -> None:
    header = {"adbc.flight.sql.authorization_header": f"Bearer {token}"}
    with (
        flight_sql.connect(stack.flight_uri, header) as database,
        AdbcConnection(database) as connection,
        AdbcStatement(connection) as statement,
    ):
        statement.set_sql_query(ENDLESS)
        stream, _ = statement.execute_query()
        reader = pa.RecordBatchReader._import_from_c(stream.address)
        reader.read_next_batch()
        runs()
        for _ in reader:
            pass


def http_stream(stack: Stack, token: str, runs: Callable[[], None]) -> None:
    asked = {"json": {"sql": ENDLESS}, "headers": {"Authorization": f"Bearer {token}"}}
    with httpx.stream("POST", stack.http_url + "/api/v1/query", timeout=60, **asked) as response:
        chunks = response.iter_raw()
        next(chunks)
        runs()
        for _ in chunks:
            pass


def http_before_the_first_row(stack: Stack, token: str, runs: Callable[[], None]) -> None:
    sql = f"SELECT count(*) FROM ({ENDLESS})"
    threading.Thread(
        target=lambda: (until(lambda: running(stack), deadline_s=30), runs()), daemon=True
    ).start()
    asked = {"json": {"sql": sql}, "headers": {"Authorization": f"Bearer {token}"}}
    httpx.post(stack.http_url + "/api/v1/query", timeout=60, **asked).raise_for_status()


def server_sent_events(stack: Stack, token: str, runs: Callable[[], None]) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    url = stack.http_url + "/api/v1/events/stream"
    with httpx.stream("GET", url, timeout=60, headers=headers) as response:
        lines = response.iter_lines()
        next(lines)
        runs()
        for _ in lines:
            pass


def events_socket(stack: Stack, token: str, runs: Callable[[], None]) -> None:
    with socket(stack, token, "events") as connection:
        connection.recv(timeout=30)
        runs()
        while True:
            connection.recv(timeout=60)


def live_socket(stack: Stack, token: str, runs: Callable[[], None]) -> None:
    with socket(stack, token, "live") as connection:
        LiveClient(connection).follow(ENDLESS)
        connection.recv(timeout=30)
        runs()
        while True:
            connection.recv(timeout=60)


def socket(stack: Stack, token: str, name: str):
    url = stack.http_url.replace("http", "ws") + f"/api/v1/{name}"
    return connect(url, additional_headers={"Authorization": f"Bearer {token}"}, max_size=None)


def running(stack: Stack) -> list:
    return [each for each in stack.skein.control.queries.log.list() if each.finished_at is None]


REFUSED = "unauthenticated.*revoked"
DOORS: dict[str, tuple[Following, type[Exception], str]] = {
    "flight": (flight_stream, fl.FlightUnauthenticatedError, REFUSED),
    "exchange": (flight_exchange, fl.FlightUnauthenticatedError, REFUSED),
    "upload": (flight_upload, fl.FlightUnauthenticatedError, REFUSED),
    "flight_sql": (flight_sql_stream, OSError, REFUSED),
    "http": (http_stream, httpx.RemoteProtocolError, ""),
    "blocked": (http_before_the_first_row, httpx.HTTPStatusError, "401"),
    "sse": (server_sent_events, httpx.RemoteProtocolError, ""),
    "events": (events_socket, ConnectionClosed, r"1008.*revoked"),
    "live": (live_socket, ConnectionClosed, r"1008.*revoked"),
}


@pytest.mark.parametrize("door", DOORS)
def test_what_runs_with_a_token_ends_when_it_is_revoked(stack, door):
    follow, failure, told = DOORS[door]
    with stack.http(headers=ADMIN, timeout=60) as admin:
        asked = {"name": "reader", "scopes": ["read", "write"]}
        made = admin.post("/api/v1/tokens", json=asked).json()

        def revoke() -> None:
            assert admin.delete(f"/api/v1/tokens/{made['id']}").status_code == 204

        with pytest.raises(failure, match=f"(?is){told}"):
            follow(stack, made["token"], revoke)
    until(lambda: not running(stack), deadline_s=30)
    assert "never" not in {str(each.name) for each in stack.skein.control.datasets.list(actor=LOCAL)}


def test_what_runs_ends_when_its_credentials_stand_for_other_rights(stack):
    user = {"name": "sue", "password": "sue-passw0rd", "scopes": ["read"]}
    credentials = base64.b64encode(b"sue:sue-passw0rd").decode()
    url = stack.http_url.replace("http", "ws") + "/api/v1/events"
    with stack.http(headers=ADMIN, timeout=60) as admin:
        assert admin.post("/api/v1/users", json=user).status_code == 201
        with connect(url, additional_headers={"Authorization": f"Basic {credentials}"}) as events:
            events.recv(timeout=30)
            assert admin.delete("/api/v1/users/sue").status_code == 204
            assert admin.post("/api/v1/users", json={**user, "datasets": ["other"]}).status_code == 201
            with pytest.raises(ConnectionClosed, match="1008"):
                list(events)
