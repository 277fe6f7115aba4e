"""All sessions of a server: finding the one of a call, and ending those that are idle."""

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from flight_core.application.ports.engine import QueryEngine
from flight_core.application.sessions.session import (
    Bindings,
    ClientSession,
    Prepared,
    SessionLimits,
    bytes_of,
    session_id,
)
from flight_core.domain.access import Actor
from flight_core.domain.errors import HandleNotFound, LimitExceeded, TooManySessions

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    key: str
    actor: Actor
    session: ClientSession
    used_at: float
    calls: int = 0  # the number of calls that are using it now

    @property
    def place(self) -> tuple[Actor, str]:
        return self.actor, self.key


class SessionRegistry:
    """Finds sessions by keys, such as a bearer token. Each actor has keys of their own, so that a credential
    never enters a session of the same name's that may do more. Thread-safe. A background thread closes idle
    sessions until `close`."""

    def __init__(
        self,
        engine: QueryEngine,
        limits: SessionLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits or SessionLimits()
        self._engine = engine
        self._clock = clock
        self._changed = threading.Condition()
        self._by_key: OrderedDict[tuple[Actor, str], _Entry] = OrderedDict()  # by their latest use
        self._by_id: dict[str, _Entry] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="session-expiry", daemon=True)
        self._thread.start()

    def enter(self, key: str, actor: Actor) -> ClientSession:
        """The session with that key, which is created if it does not exist. Call `leave` after the call.

        A key that ends in `/` and the id of a session also finds that session.

        Raises:
            TooManySessions: there are too many, all with state, and no other actor has more of them.
        """
        given_up = None
        with self._changed:
            entry = self._found(key, actor)
            if entry is None:
                given_up = self._make_room(actor)
                session = ClientSession(self._engine, self.limits, self._clock)
                entry = _Entry(key, actor, session, self._clock())
                self._by_key[entry.place] = self._by_id[session.id] = entry
            self._use(entry)
        if given_up is not None:
            given_up.session.close()
        return entry.session

    def enter_by_handle(self, handle: bytes, actor: Actor) -> ClientSession:
        """The session that issued the handle, also if the call came through another connection.

        Raises:
            HandleNotFound: it has ended, or belongs to somebody else or to other rights of the same name.
        """
        with self._changed:
            entry = self._by_id.get(session_id(handle))
            if entry is None or entry.actor != actor:
                raise HandleNotFound("the handle is unknown here: its session was closed, or expired")
            self._use(entry)
            return entry.session

    def bind(self, session: ClientSession, prepared: Prepared, bindings: Bindings, actor: Actor) -> None:
        """Set the parameters of a prepared statement.

        Raises:
            LimitExceeded: the parameters in all sessions of the actor would be too large.
        """
        with self._changed:
            theirs = [entry.session for entry in self._by_id.values() if entry.actor.name == actor.name]
            kept = sum(session.bound_bytes for session in theirs)
        if kept + bytes_of(bindings) - bytes_of(prepared.bindings) > self.limits.max_bound_bytes:
            raise LimitExceeded(
                f"the prepared statements of '{actor.name}' would hold more than"
                f" {self.limits.max_bound_bytes} bytes of parameters; close some, or send the rows in parts"
            )
        session.bind(prepared, bindings)

    def leave(self, session: ClientSession) -> None:
        with self._changed:
            entry = self._by_id.get(session.id)
            if entry is not None:
                entry.calls -= 1
                entry.used_at = self._clock()

    def end(self, key: str, actor: Actor) -> None:
        """Close a session, if it exists."""
        with self._changed:
            entry = self._found(key, actor)
            if entry is None:
                return
            self._remove(entry)
        entry.session.close()

    def __len__(self) -> int:
        return len(self._by_key)

    def expire(self) -> None:
        """Close idle sessions and roll back idle transactions."""
        now = self._clock()
        with self._changed:
            idle = [e for e in self._by_key.values() if not e.calls and now - e.used_at > self.limits.idle_s]
            for entry in idle:
                self._remove(entry)
            quiet = [entry for entry in self._by_key.values() if not entry.calls]
        for entry in idle:
            logger.info("session expired", extra={"actor": entry.actor.name})
            entry.session.close()
        for entry in quiet:
            entry.session.connections.roll_back_idle(self.limits.transaction_idle_s)

    def in_transaction_since(self) -> datetime | None:
        """The start of the oldest open transaction; None if there is none."""
        with self._changed:
            sessions = [entry.session for entry in self._by_key.values()]
        began = [session.connections.in_transaction_since for session in sessions]
        return min((moment for moment in began if moment is not None), default=None)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            entries = list(self._by_key.values())
            self._by_key.clear()
            self._by_id.clear()
            self._changed.notify()
        self._thread.join()
        for entry in entries:
            entry.session.close()

    def _found(self, key: str, actor: Actor) -> _Entry | None:
        entry = self._by_key.get((actor, key)) or self._by_id.get(key.rpartition("/")[2])
        return entry if entry is not None and entry.actor == actor else None

    def _use(self, entry: _Entry) -> None:
        self._by_key.move_to_end(entry.place)
        entry.calls += 1

    def _make_room(self, actor: Actor) -> _Entry | None:
        """Remove a session if there are too many: one without state, otherwise one of the actor who has the
        most, so that nobody can use up all sessions. Returns what was removed."""
        if len(self._by_key) < self.limits.max_sessions:
            return None
        idle = [entry for entry in self._by_key.values() if not entry.calls]
        empty = (entry for entry in idle if not entry.session.holds_state)
        owned = Counter(entry.actor.name for entry in self._by_key.values())
        greediest, most = owned.most_common(1)[0]
        theirs = (entry for entry in idle if entry.actor.name == greediest and most > owned[actor.name] + 1)
        for entry in chain(empty, theirs):
            self._remove(entry)
            return entry
        raise TooManySessions(
            f"{len(self._by_key)} sessions are open; close some, wait for idle ones to expire, or raise"
            " SKEIN_MAX_SESSIONS"
        )

    def _remove(self, entry: _Entry) -> None:
        del self._by_key[entry.place]
        del self._by_id[entry.session.id]

    def _run(self) -> None:
        pause_s = min(30.0, self.limits.idle_s / 4, self.limits.transaction_idle_s / 4)
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._closed, timeout=pause_s):
                    return
            self.expire()
