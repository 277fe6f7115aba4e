"""What Flight SQL is given, and the session of a call."""

from dataclasses import dataclass

from flight_core.application.queries.log import CancelQuery, QueryLog
from flight_core.application.queries.parts import SplitPlan
from flight_core.application.sessions.registry import SessionRegistry
from flight_core.application.sessions.session import ClientSession
from flight_core.application.sessions.statements import (
    AnswerInSession,
    BrowseCatalog,
    InspectInSession,
    ReadInSession,
)
from flight_core.application.sessions.writes import LoadInSession
from flight_server.auth import SESSION_COOKIE, Call


@dataclass(frozen=True, slots=True)
class FlightSqlUseCases:
    sessions: SessionRegistry
    inspect: InspectInSession
    answer: AnswerInSession
    split: SplitPlan
    read: ReadInSession
    load: LoadInSession
    catalog: BrowseCatalog
    cancel: CancelQuery
    queries: QueryLog


def session_of(call: Call, sessions: SessionRegistry) -> ClientSession:
    """The caller's session, in use until the call is over. Raises TooManySessions.

    A new one is answered with a cookie, by which clients that keep it find their session again on
    another connection.
    """
    session = sessions.enter(call.session_key, call.actor)
    call.scope.on_end(lambda: sessions.leave(session))
    if not session.announced:
        session.announced = True
        call.context.add_header("set-cookie", f"{SESSION_COOKIE}={session.id}; Path=/; HttpOnly")
    return session


def session_holding(handle: bytes, call: Call, sessions: SessionRegistry) -> ClientSession:
    """The session a handle came from, in use until the call is over. Raises HandleNotFound."""
    session = sessions.enter_by_handle(handle, call.actor)
    call.scope.on_end(lambda: sessions.leave(session))
    return session
