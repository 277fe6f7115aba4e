"""`Content-Encoding` of texts: gzip or zstd, as the client prefers. Arrow and Parquet have codecs of their
own within, and are left alone."""

import re
import zlib
from typing import Literal, Protocol

import pyarrow as pa
from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_api.formats import Sink

Coding = Literal["zstd", "gzip"]
CODINGS: tuple[Coding, ...] = ("zstd", "gzip")

_TEXTS = re.compile(r"(application/([a-z.-]+\+)?json|application/x-ndjson|text/csv)($|;)")
_WISH = re.compile(r"\s*([A-Za-z*-]+)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?))?\s*")
_MIN_BYTES = 1024
_AT_ONCE_BYTES = 64 << 10  # more is compressed in a thread
_GZIP = 16 + zlib.MAX_WBITS
_FAST = 1


def preferred(accept_encoding: str) -> Coding | None:
    """What the client likes best of what there is; None: the text as it is."""
    wishes = {}
    for part in accept_encoding.split(","):
        match = _WISH.fullmatch(part)
        if match:
            wishes[match[1].lower()] = float(match[2] or 1)
    best = max(CODINGS, key=lambda coding: wishes.get(coding, 0.0))
    wanted = wishes.get(best, 0.0)
    return best if wanted > 0 and wanted >= wishes.get("identity", 0.0) else None


class Compressing:
    """Outside of whatever gives ETags: a compressed text has one of its own, which `etags` knows."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            coding = preferred(Headers(scope=scope).get("accept-encoding", ""))
            if scope["method"] == "HEAD":
                coding = None
            send = _Compressed(coding, send, known=Headers(scope=scope).get("if-none-match", ""))
        await self._app(scope, receive, send)


class _Compressed:
    def __init__(self, coding: Coding | None, send: Send, *, known: str) -> None:
        self._coding = coding
        self._known = known
        self._send = send
        self._compressor: _Compressor | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = self._started(message)
        elif self._compressor is not None:
            message = {**message, "body": await _squeezed(self._compressor, message)}
        await self._send(message)

    def _started(self, message: Message) -> Message:
        headers = MutableHeaders(raw=list(message["headers"]))
        etag = headers.get("etag", "")
        if message["status"] == 304:
            for coding in CODINGS:
                if _own(etag, coding) in self._known:
                    headers["ETag"] = _own(etag, coding)
            headers.add_vary_header("Accept-Encoding")
            return {**message, "headers": headers.raw}
        if not _TEXTS.match(headers.get("content-type", "")) or "content-encoding" in headers:
            return message
        headers.add_vary_header("Accept-Encoding")
        size = int(headers.get("content-length", _MIN_BYTES))
        if self._coding is not None and size >= _MIN_BYTES and message["status"] != 204:
            self._compressor = _Gzip() if self._coding == "gzip" else _Zstd()
            headers["Content-Encoding"] = self._coding
            del headers["content-length"]
            if etag.startswith('"'):
                headers["ETag"] = _own(etag, self._coding)
        return {**message, "headers": headers.raw}


def _own(etag: str, coding: Coding) -> str:
    """Of the compressed text."""
    return f'{etag[:-1]}-{coding}"'


class _Compressor(Protocol):
    def squeeze(self, text: bytes, *, last: bool) -> bytes:
        """What the client can read this far with: nothing is held back."""


async def _squeezed(compressor: _Compressor, message: Message) -> bytes:
    text, last = message.get("body", b""), not message.get("more_body", False)
    if len(text) <= _AT_ONCE_BYTES:
        return compressor.squeeze(text, last=last)
    return await to_thread.run_sync(lambda: compressor.squeeze(text, last=last))


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP)

    def squeeze(self, text: bytes, *, last: bool) -> bytes:
        squeezed = self._stream.compress(text)
        return squeezed + self._stream.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


class _Zstd:
    def __init__(self) -> None:
        self._sink = Sink()
        self._stream = pa.CompressedOutputStream(pa.PythonFile(self._sink, mode="w"), "zstd")

    def squeeze(self, text: bytes, *, last: bool) -> bytes:
        self._stream.write(text)
        if last:
            self._stream.close()
        else:
            self._stream.flush()
        return self._sink.take()
