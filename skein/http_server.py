"""uvicorn, started and stopped by us."""

import math
import socket
import ssl
from asyncio import TimerHandle, Transport
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import uvicorn
from anyio.abc import TaskStatus
from fastapi import FastAPI
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from skein.listening import bind, http_uri
from skein.settings import Settings

_FLUSH_S = 5.0
_HEAD_S = 30.0
_HEAD_BYTES = 64 << 10


class HttpServer:
    def __init__(self, app: FastAPI, settings: Settings, port: int, *, flag: str) -> None:
        """`flag` is what sets the port."""
        self._app = app
        self._settings = settings
        self._port = port
        self._flag = flag
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                http=_Http,
                ws=_WebSocket,
                ws_per_message_deflate=False,  # results have their own codecs; a window costs 300 KB a socket
                timeout_graceful_shutdown=math.ceil(settings.drain_timeout_s),
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
                ssl_ca_certs=str(settings.tls_client_ca) if settings.tls_client_ca else None,
                ssl_cert_reqs=ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
            )
        )

    async def run(self, stop: anyio.Event, *, task_status: TaskStatus[str]) -> None:
        """Serve until `stop` is set, then drain; tells its address once it listens. Raises as `bind`."""
        settings = self._settings
        with bind(settings.host, self._port, flag=self._flag) as listener:
            uri = http_uri(settings, listener.getsockname()[1])
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._server.serve, [listener])
                await self._server.listening.wait()
                task_status.started(uri)
                await stop.wait()
                self._app.state.stopping.set()  # event streams would never end by themselves
                self._server.should_exit = True


class _Http(HttpToolsProtocol):
    """The head of a request, its first line and headers, has to come soon and be small: uvicorn would wait
    for the rest for ever, and copy all that there is with each piece that comes."""

    _head_bytes: int | None = None  # so far; None while none is awaited
    _deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._end_head()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:  # nobody waits for the rest of the request
            self._deadline = self.loop.call_later(_HEAD_S, self.transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")

    def _await_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._deadline = self.loop.call_later(_HEAD_S, self._refuse, b"408 Request Timeout")

    def _end_head(self) -> None:
        self._head_bytes = None
        if self._deadline is not None:
            self._deadline.cancel()

    def _refuse(self, status: bytes) -> None:
        self._end_head()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status)
            self.transport.close()


class _WebSocket(WebSocketsSansIOProtocol):
    """Once the application has let go of a socket, its client has a moment to take what is left: uvicorn
    would wait for it for ever."""

    async def run_asgi(self) -> None:
        try:
            await super().run_asgi()
        finally:
            self.loop.call_later(_FLUSH_S, self._give_up)

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # it was refused; uvicorn would log that there was no answer

    def _give_up(self) -> None:
        if not self.disconnected and self.transport.get_write_buffer_size():
            self.transport.abort()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are not uvicorn's business here."""
        yield
