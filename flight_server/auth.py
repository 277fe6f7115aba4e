"""Credentials -> Actor, for every RPC there is, the handshake included."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http.cookies import CookieError, SimpleCookie
from typing import Self
from urllib.parse import unquote

import pyarrow.flight as fl

from flight_core.application.access.authorization import credentials_in
from flight_core.application.access.gate import Gate, Password, Shown, Token
from flight_core.application.ports.authentication import SESSION_TOKEN_PREFIX
from flight_core.application.sessions.session import DOOR as FLIGHT_SQL_DOOR
from flight_core.domain.access import Actor
from flight_server.calls import CallScope, Watcher, keep_thread_state
from flight_server.errors import flight_errors

DOOR = "flight"
MIDDLEWARE = "skein"
SESSION_COOKIE = "arrow_flight_session_id"

Headers = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Call:
    """One RPC, after its caller was recognised.

    `session_key` names the client of the actor across calls: its session token, else the session cookie, else
    its connection. Header names are lower case.
    """

    actor: Actor
    session_key: str
    peer: str
    context: fl.ServerCallContext
    headers: Headers
    scope: CallScope

    def over_flight_sql(self) -> Self:
        """The same call, by the door that it turned out to take."""
        return replace(self, actor=self.actor.coming(FLIGHT_SQL_DOOR, self.actor.origin.address))

    def header(self, name: str) -> str | None:
        """The first value of a header, without white space around it."""
        values = self.headers.get(name)
        return values[0].strip() if values else None


class OpenHandshake(fl.ServerAuthHandler):
    """Makes Flight answer the Handshake RPC at all; `AuthMiddleware` does the checking."""

    def authenticate(self, outgoing: object, incoming: object) -> None:
        pass

    def is_valid(self, token: bytes) -> bytes:  # type: ignore[override] # the stubs are wrong
        return b""


class AuthMiddleware(fl.ServerMiddlewareFactory):
    """Recognises the caller of every RPC or refuses it.

    Basic credentials are good on any call and are answered with a bearer token, as the
    handshake of Flight SQL clients expects.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def start_call(  # type: ignore[override] # the stubs are wrong
        self, info: fl.CallInfo, headers: Headers
    ) -> CallScope:
        with flight_errors():
            shown = _shown(headers)
            actor = self._gate(shown, door=DOOR)
            answer = {}
            if isinstance(shown, Password):
                answer["authorization"] = f"Bearer {self._gate.session_token(actor)}"
            scope = CallScope(actor, shown, headers, answer)
            if isinstance(shown, Password):
                self._note_login(scope, handshake=info.method == fl.FlightMethod.HANDSHAKE)
            scope.on_end(self._gate.hold(shown, actor, scope.refuse))
            scope.on_end(keep_thread_state())
            return scope

    def _note_login(self, scope: CallScope, *, handshake: bool) -> None:
        """Where the client is only handlers of calls are told: no handshake is."""
        note = partial(self._gate.logged_in, scope.actor)
        if handshake:
            note()
        else:
            scope.once_located(note)


def call_of(context: fl.ServerCallContext, watcher: Watcher) -> Call:
    """The call that a handler was invoked for."""
    scope = context.get_middleware(MIDDLEWARE)
    assert isinstance(scope, CallScope)
    scope.attach(context, watcher)
    peer = context.peer()
    address = _address(peer)
    scope.located(address)
    actor = scope.actor.coming(DOOR, address)
    return Call(actor, _session_key(scope, peer), peer, context, scope.headers, scope)


def _address(peer: str) -> str:
    """Of `ipv4:10.0.0.1:4711` or `ipv6:%5B::1%5D:4711`, without the port."""
    return unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]")


def _shown(headers: Headers) -> Shown:
    """Of the first value: Go clients repeat all that they were ever answered."""
    return credentials_in(next(iter(headers.get("authorization", ())), ""))


def _session_key(scope: CallScope, peer: str) -> str:
    shown = scope.shown
    if isinstance(shown, Token) and shown.secret.startswith(SESSION_TOKEN_PREFIX):
        return f"token/{shown.secret}"
    if cookie := _session_cookie(scope.headers):
        return f"cookie/{cookie}"
    return f"peer/{peer}"


def _session_cookie(headers: Headers) -> str | None:
    for header in headers.get("cookie", ()):
        try:
            cookies = SimpleCookie(header)
        except CookieError:
            continue
        if SESSION_COOKIE in cookies:
            return cookies[SESSION_COOKIE].value
    return None
