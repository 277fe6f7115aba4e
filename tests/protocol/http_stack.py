"""What the tests of the HTTP door share: servers with other options, slow clients, patience."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import anyio
import uvicorn
from anyio.from_thread import start_blocking_portal

from control_api.app import create_app
from control_api.options import ControlOptions, ControlUseCases
from flight_core.domain.access import Actor
from flight_core.domain.query import QueryRecord
from tests.stack import Stack, until

# Runs for as long as nobody stops it, without a row.
ENDLESS = "SELECT count(*) AS n FROM range(1_000_000_000) a, range(1_000_000_000) b"
# Gigabytes of rows.
HUGE = "SELECT i, i * 2 AS j, i::VARCHAR AS s FROM range(200_000_000) t(i)"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def serving(use_cases: ControlUseCases, **options: object) -> Iterator[str]:
    """The control plane with options of its own, next to the one that the stack serves; its URL."""
    app = create_app(use_cases, ControlOptions(**options))
    server = _Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listener, start_blocking_portal() as portal:
        running = portal.start_task_soon(server.serve, [listener])
        portal.call(server.listening.wait)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            portal.call(app.state.stopping.set)
            server.should_exit = True
            running.result(30)


class open_to:  # noqa: N801 - reads like a function
    """A gate where everybody is this actor."""

    open = True

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def __call__(self, _shown: object, **_came: str) -> Actor:
        return self._actor

    def hold(self, _shown: object, _actor: object, _end: object) -> Callable[[], None]:
        return lambda: None


class RawClient:
    """A client that reads only when it is told to, and leaves without a word."""

    def __init__(self, url: str, sql: str, *, accept: str = "application/vnd.apache.arrow.stream") -> None:
        address = urlsplit(url)
        body = json.dumps({"sql": sql}).encode()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        self._socket.settimeout(30)
        self._socket.connect((address.hostname, address.port))
        head = (
            f"POST /api/v1/query HTTP/1.1\r\nHost: {address.netloc}\r\nAccept: {accept}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + body)
        self.received = bytearray()

    def read(self, size: int) -> None:
        """Read until `size` bytes have come in all, or the connection ends."""
        while len(self.received) < size:
            chunk = self._socket.recv(1 << 16)
            if not chunk:
                return
            self.received += chunk

    def leave(self) -> None:
        self._socket.close()


def only_query(stack: Stack, sql: str) -> QueryRecord:
    """The latest record of a statement; waits until there is one."""

    def found() -> list[QueryRecord]:
        return [record for record in stack.skein.control.queries.log.list() if record.sql == sql]

    until(found)
    return found()[0]


def settle(value: Callable[[], int], *, quiet_s: float = 0.5, deadline_s: float = 30.0) -> int:
    """The value, once it has not changed for `quiet_s` seconds."""
    end = time.monotonic() + deadline_s
    last, since = value(), time.monotonic()
    while time.monotonic() - since < quiet_s:
        assert time.monotonic() < end, "it never came to rest"
        time.sleep(0.01)
        if (now := value()) != last:
            last, since = now, time.monotonic()
    return last
