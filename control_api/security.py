"""Who may talk to the API: host names, web pages' origins, credentials, sizes, and response headers."""

import asyncio
import logging
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import anyio
from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_api.errors import HttpProblem, problem_response
from flight_core.application.access.authorization import credentials_in, decoded
from flight_core.application.access.gate import Gate, Shown, Token
from flight_core.domain.access import Actor
from flight_core.domain.errors import FlightCoreError, Unauthenticated

logger = logging.getLogger(__name__)

# Browsers cannot set headers on WebSockets: a page offers its token, as base64url, as a subprotocol.
TOKEN_SUBPROTOCOL = "skein.token."  # noqa: S105 - not a secret
# A probe, and pages that ask for a token and hold nothing themselves.
ANONYMOUS_PATHS = frozenset({"/healthz", "/", "/docs", "/redoc", "/openapi.json"})
# Another probe, which tells more to those who show credentials.
_READINESS = "/readyz"
_ANONYMOUS_FILES = "/static/"

# Their bodies are streamed to disk, within limits of their own.
_STREAMED_PATHS = re.compile(r"/api/v1/(uploads(/[^/]+)?|datasets/[^/]+/upload)")

_HOST = re.compile(r"(\[[^]]*\]|[^:]*)(?::\d*)?")

_POLICY_VIOLATION = 1008
_BODY_S = 30.0
_BODY_BYTES_PER_S = 1000  # that extend it
_ADMITTING = 16  # at the same time; a password takes a moment and memory
_MAX_REASON = 120  # bytes of a close frame

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_API_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Of a page that is all ours.
STRICT_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI and ReDoc style elements as they go, and start a worker of their own code.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " font-src 'self'; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Adds the headers that a route did not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                _add_headers(MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, with_headers)


def _add_headers(headers: MutableHeaders) -> None:
    is_page = headers.get("content-type", "").startswith("text/html")
    headers.setdefault("Content-Security-Policy", _PAGE_POLICY if is_page else _API_POLICY)
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if "etag" not in headers:
        headers.setdefault("Cache-Control", "no-store")


@dataclass(frozen=True, slots=True)
class GuardOptions:
    hosts: frozenset[str]
    origins: frozenset[str]
    max_body_bytes: int


class Guard:
    """Lets in what names a known host, does not come from a stranger's web page, and has credentials.

    The routes find the caller in `request.state.actor`.
    """

    def __init__(self, app: ASGIApp, options: GuardOptions, gate: Gate) -> None:
        self._app = app
        self._options = options
        self._gate = gate
        self._threads = anyio.CapacityLimiter(_ADMITTING)  # nobody waits at the door for slow routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            await self._admit(scope, Headers(scope=scope))
        except (FlightCoreError, HttpProblem) as refusal:
            await problem_response(scope, refusal)(scope, receive, send)
            return
        limit = self._max_body_bytes(scope)
        if limit != math.inf:
            receive = _limited(receive, limit)
        await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Until the application ends, or what the client showed is worthless."""
        if self._is_anonymous(scope):
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        refusals: list[Unauthenticated] = []
        answered = False

        async def answer(message: Message) -> None:
            nonlocal answered
            if answered or not refusals:
                answered = True
                await send(message)

        with anyio.CancelScope() as serving:

            def refuse(refusal: Unauthenticated) -> None:
                refusals.append(refusal)
                loop.call_soon_threadsafe(serving.cancel)

            shown = _shown(scope, Headers(scope=scope))
            release = self._gate.hold(shown, scope["state"]["actor"], refuse)
            try:
                await self._app(scope, receive, answer)
            finally:
                release()
        if refusals and not answered:
            await problem_response(scope, refusals[0])(scope, receive, send)
        elif serving.cancelled_caught:
            await _hang_up(scope, send, refusals[0])

    def _max_body_bytes(self, scope: Scope) -> float:
        streamed = _STREAMED_PATHS.fullmatch(scope["path"])
        return math.inf if streamed else self._options.max_body_bytes

    async def _admit(self, scope: Scope, headers: Headers) -> None:
        try:
            _check_host(headers, self._options.hosts)
            _check_origin(scope, headers, self._options.origins)
        except HttpProblem as refusal:
            self._gate.turned_away(refusal.code, door=scope["type"], address=_address(scope))
            raise
        _check_length(headers, self._max_body_bytes(scope))
        if not self._is_anonymous(scope):
            admit = partial(self._actor, scope, headers)
            actor = admit() if self._gate.open else await to_thread.run_sync(admit, limiter=self._threads)
            scope.setdefault("state", {})["actor"] = actor

    def _is_anonymous(self, scope: Scope) -> bool:
        if scope["path"] == _READINESS:
            return not self._gate.open and _shown(scope, Headers(scope=scope)) is None
        return scope["path"] in ANONYMOUS_PATHS or scope["path"].startswith(_ANONYMOUS_FILES)

    def _actor(self, scope: Scope, headers: Headers) -> Actor:
        return self._gate(_shown(scope, headers), door=scope["type"], address=_address(scope))


def _shown(scope: Scope, headers: Headers) -> Shown:
    if (shown := credentials_in(headers.get("authorization", ""))) is not None:
        return shown
    for offer in scope.get("subprotocols", ()):
        if offer.startswith(TOKEN_SUBPROTOCOL):
            return Token(decoded(offer.removeprefix(TOKEN_SUBPROTOCOL)))
    return None


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


async def _hang_up(scope: Scope, send: Send, refusal: Unauthenticated) -> None:
    """Sockets are told why. Of a result nothing more comes, which breaks the connection: nobody takes a part
    of it for the whole."""
    logger.warning("ended: its credentials are worthless", extra={"path": scope["path"]})
    if scope["type"] == "websocket":
        with suppress(RuntimeError):  # it was closed already
            reason = str(refusal).encode()[:_MAX_REASON].decode(errors="ignore")
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason})


def _check_host(headers: Headers, allowed: frozenset[str]) -> None:
    hosts = headers.getlist("host")
    host = hosts[0] if len(hosts) == 1 else ""
    match = _HOST.fullmatch(host)
    name = match[1] if match else ""
    if "*" not in allowed and name.lower() not in allowed:
        raise HttpProblem(
            421,
            "host_not_allowed",
            f"the host {host[:100]!r} is not one of this server's; use {', '.join(sorted(allowed))},"
            " or add it to SKEIN_ALLOWED_HOSTS",
        )


def _check_origin(scope: Scope, headers: Mapping[str, str], allowed: frozenset[str]) -> None:
    """Web pages of other origins get nothing, unless they are configured.

    Browsers tell where a request comes from; other clients send none of these headers.
    """
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "none")
    if origin is not None:
        foreign = origin not in allowed and urlsplit(origin).netloc != headers.get("host")
    elif scope["type"] == "http" and scope["method"] in _SAFE_METHODS:
        foreign = site == "cross-site" and headers.get("sec-fetch-mode") != "navigate"
    else:
        foreign = site not in ("none", "same-origin")
    if foreign:
        raise HttpProblem(
            403,
            "origin_not_allowed",
            f"a page of {(origin or 'another site')[:100]!r} may not use this API;"
            " add its origin to SKEIN_ALLOWED_ORIGINS if it should",
        )


def _check_length(headers: Mapping[str, str], limit: float) -> None:
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)


def _limited(receive: Receive, limit: float) -> Receive:
    """Bodies that do not tell their length are counted, and all of them have to keep coming."""
    size = 0
    waited_s = 0.0
    ended = False

    async def counted() -> Message:
        nonlocal size, waited_s, ended
        patience_s = math.inf if ended else _BODY_S + size / _BODY_BYTES_PER_S - waited_s
        began_at = anyio.current_time()
        try:
            with anyio.fail_after(patience_s):
                message = await receive()
        except TimeoutError:
            raise _too_slow() from None
        waited_s += anyio.current_time() - began_at
        ended = not message.get("more_body", False)
        size += len(message.get("body", b""))
        if size > limit:
            raise _too_large(limit)
        return message

    return counted


def _too_slow() -> HttpProblem:
    return HttpProblem(
        408,
        "deadline_exceeded",
        f"the body does not arrive; it has {_BODY_S:g} s, and one more for each {_BODY_BYTES_PER_S} bytes;"
        " send it faster, or use /api/v1/uploads",
        headers={"Connection": "close"},
    )


def _too_large(limit: float) -> HttpProblem:
    return HttpProblem(
        413,
        "limit_exceeded",
        f"the body is larger than {limit:,} bytes; send large data to /api/v1/uploads, or ingest it from"
        " a file or a URL, or raise SKEIN_MAX_BODY_BYTES",
        headers={"Connection": "close"},
    )
