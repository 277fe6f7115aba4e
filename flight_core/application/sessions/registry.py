"""Finds the session of a call, and ends those that nobody uses any more."""

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
from flight_core.domain.errors import HandleNotFound, LimitExceeded, TooManySessions

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    key: str
    actor: str
    session: ClientSession
    used_at: float
    calls: int = 0  # that are using it now

    @property
    def place(self) -> tuple[str, str]:
        return self.actor, self.key


class SessionRegistry:
    """Thread-safe. One thread looks after idle sessions; `close` ends it. Keys mean something to their actor
    alone."""

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
        self._by_key: OrderedDict[tuple[str, str], _Entry] = OrderedDict()  # the latest use comes last
        self._by_id: dict[str, _Entry] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="session-expiry", daemon=True)
        self._thread.start()

    def enter(self, key: str, actor: str) -> ClientSession:
        """The session of that key, new if need be. `leave` it after the call.

        A key that ends in `/` and a session's id finds that session, whatever key it was made with.

        Raises:
            TooManySessions: every one of them holds something, and nobody else has more of them.
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

    def enter_by_handle(self, handle: bytes, actor: str) -> ClientSession:
        """The session that issued the handle: the same client may come on another connection.

        Raises:
            HandleNotFound: it ended, or belongs to somebody else.
        """
        with self._changed:
            entry = self._by_id.get(session_id(handle))
            if entry is None or entry.actor != actor:
                raise HandleNotFound("the handle is unknown here: its session was closed, or expired")
            self._use(entry)
            return entry.session

    def bind(self, session: ClientSession, prepared: Prepared, bindings: Bindings, actor: str) -> None:
        """Keep parameters for the runs to come.

        Raises:
            LimitExceeded: the actor keeps too much in their sessions.
        """
        with self._changed:
            kept = sum(entry.session.bound_bytes for entry in self._by_id.values() if entry.actor == actor)
        if kept + bytes_of(bindings) - bytes_of(prepared.bindings) > self.limits.max_bound_bytes:
            raise LimitExceeded(
                f"the prepared statements of '{actor}' would hold more than {self.limits.max_bound_bytes}"
                " bytes of parameters; close some, or send the rows in parts"
            )
        session.bind(prepared, bindings)

    def leave(self, session: ClientSession) -> None:
        with self._changed:
            entry = self._by_id.get(session.id)
            if entry is not None:
                entry.calls -= 1
                entry.used_at = self._clock()

    def end(self, key: str, actor: str) -> None:
        """Close a session; fine if there is none."""
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
            logger.info("session expired", extra={"actor": entry.actor})
            entry.session.close()
        for entry in quiet:
            entry.session.connections.roll_back_idle(self.limits.transaction_idle_s)

    def in_transaction_since(self) -> datetime | None:
        """When the oldest transaction that is still open began; None: none is."""
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

    def _found(self, key: str, actor: str) -> _Entry | None:
        entry = self._by_key.get((actor, key)) or self._by_id.get(key.rpartition("/")[2])
        return entry if entry is not None and entry.actor == actor else None

    def _use(self, entry: _Entry) -> None:
        self._by_key.move_to_end(entry.place)
        entry.calls += 1

    def _make_room(self, actor: str) -> _Entry | None:
        """The session that was removed for it, if one had to be: one that holds nothing, else one of whoever
        has the most. So nobody keeps all others out."""
        if len(self._by_key) < self.limits.max_sessions:
            return None
        idle = [entry for entry in self._by_key.values() if not entry.calls]
        empty = (entry for entry in idle if not entry.session.holds_state)
        owned = Counter(entry.actor for entry in self._by_key.values())
        greediest, most = owned.most_common(1)[0]
        theirs = (entry for entry in idle if entry.actor == greediest and most > owned[actor] + 1)
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
