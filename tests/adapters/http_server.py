"""An HTTP server that does exactly what a test tells it, byte by byte."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    method: str = "GET"
    body: bytes = b""

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))

    @property
    def start(self) -> int:
        """Where the range asked for begins; 0 without one."""
        return int(self.headers.get("range", "bytes=0-")[len("bytes=") :].rstrip("-"))


@dataclass
class Server:
    url: str
    requests: list[Request] = field(default_factory=list)


Handler = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def head(status: str = "200 OK", **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def answer(body: bytes, status: str = "200 OK", **headers: object) -> bytes:
    return head(status, **{"Content_Length": len(body), **headers}) + body


def always(content: bytes) -> Handler:
    async def handle(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(content)

    return handle


def in_turn(*contents: bytes) -> Handler:
    """One answer after the other; the last one again and again."""
    rest = list(contents)

    async def handle(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(rest.pop(0) if len(rest) > 1 else rest[0])

    return handle


@asynccontextmanager
async def serving(handle: Handler, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    """Closes each connection when `handle` returns, which may be in the middle of an answer."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
                method, path, _ = lines[0].split()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = Request(path, headers, method, body)
                server.requests.append(request)
                await handle(request, writer)
                await writer.drain()
        finally:
            tasks.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    listener = await asyncio.start_server(connected, host, 0)
    port = listener.sockets[0].getsockname()[1]
    server = Server(f"http://{host}:{port}")
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()
