"""Conditional requests and HEAD, for every route at once (RFC 9110, sections 9.3.2 and 13).

Replies that come whole get a strong ETag of their bytes, unless the route gave them a better one.
`If-Match` of a write is held against what GET of the same URL answers; conditional writes to one
URL come one after another, so that of two with the same ETag only one succeeds.
"""

import hashlib
from weakref import WeakValueDictionary

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_api.errors import HttpProblem, problem_response
from control_api.etags import etag_of, names_etag, require_match

_WRITES = ("PUT", "PATCH", "DELETE")


class Conditional:
    """Inside of the guard: it has to know who is asking."""

    def __init__(self, app: ASGIApp, *, prefix: str) -> None:
        self._app = app
        self._prefix = prefix
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        elif scope["method"] == "GET":
            await self._get(scope, receive, send)
        elif scope["method"] in _WRITES and _condition(scope) is not None:
            await self._write(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _get(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith(self._prefix):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Tagging(scope, send))

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET, left as soon as the headers are known: a result is not read for them."""

        async def headers_only(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
            elif not reading.cancel_called:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                reading.cancel()

        with anyio.CancelScope() as reading:
            await self._get({**scope, "method": "GET"}, receive, headers_only)

    async def _write(self, scope: Scope, receive: Receive, send: Send) -> None:
        lock = self._locks.setdefault(scope["path"], anyio.Lock())
        async with lock:
            try:
                await self._require_conditions(scope)
            except HttpProblem as refusal:
                await problem_response(scope, refusal)(scope, receive, send)
            else:
                await self._app(scope, receive, send)

    async def _require_conditions(self, scope: Scope) -> None:
        """Raises HttpProblem 412."""
        status, etag = await self._current(scope)
        headers = Headers(scope=scope)
        wanted = headers.get("if-match")
        if status == 200:
            require_match(wanted, etag or "")
        if wanted is not None and status == 404 and scope["method"] == "PUT":
            raise HttpProblem(412, "precondition_failed", "there is no such resource to match")
        if headers.get("if-none-match") == "*" and status == 200:
            raise HttpProblem(412, "precondition_failed", f"the resource is there already, at {etag}")

    async def _current(self, scope: Scope) -> tuple[int, str | None]:
        """What GET of the same URL answers: its status and its ETag."""
        status, etag = 500, None
        drop = (b"if-match", b"if-none-match", b"prefer")
        headers = [each for each in scope["headers"] if each[0] not in drop]
        looking = {**scope, "method": "HEAD", "headers": headers, "state": dict(scope.get("state", {}))}

        async def nothing() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def look(message: Message) -> None:
            nonlocal status, etag
            if message["type"] == "http.response.start":
                status, etag = message["status"], Headers(raw=message["headers"]).get("etag")

        await self._head(looking, nothing, look)
        return status, etag


class _Tagging:
    """Sends on what a route sends, with an ETag; nothing of it where the client has it already."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._known = Headers(scope=scope).get("if-none-match")
        self._send = send
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            if message["status"] == 200 and "etag" not in headers and "content-length" in headers:
                self._start = message
                return
        elif self._start is not None:
            start, self._start = self._start, None
            if not message.get("more_body", False):
                start, message = self._tagged(start, message)
            await self._send(start)
        await self._send(message)

    def _tagged(self, start: Message, body: Message) -> tuple[Message, Message]:
        etag = etag_of(hashlib.sha256(body.get("body", b"")).hexdigest()[:32])
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["ETag"] = etag
        headers.setdefault("Cache-Control", "private, no-cache")
        if self._known is None or not names_etag(self._known.replace("W/", ""), etag):
            return {**start, "headers": headers.raw}, body
        del headers["content-length"]
        del headers["content-type"]
        return {**start, "status": 304, "headers": headers.raw}, {**body, "body": b""}


def _condition(scope: Scope) -> str | None:
    headers = Headers(scope=scope)
    return headers.get("if-match") or headers.get("if-none-match")
