"""The state of a client between its calls: connections, prepared statements, and results to fetch.

A session begins with the first call that names it, and costs little as long as it has no state.
"""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from flight_core.application.ports.engine import QueryEngine, Session
from flight_core.application.sessions.connections import SessionConnections
from flight_core.domain.errors import HandleNotFound, InvalidParameters, LimitExceeded
from flight_core.domain.query import Statement, StatementInfo, row_of

DOOR = "flight_sql"  # the only door with sessions

_SEPARATOR = b"."

# Rows of parameters, in columns with the names of the parameters; None: the statement has none.
Bindings: TypeAlias = "pa.Table | None"

# Called with the function that cancels the statement that is about to run.
Started = Callable[[Callable[[], None]], None]

Held: TypeAlias = "SessionRead | pa.Table"


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Sessions that are idle for `idle_s` are closed, and transactions that are idle for `transaction_idle_s`
    are rolled back."""

    max_sessions: int = 1000
    idle_s: float = 3600.0
    transaction_idle_s: float = 900.0
    max_prepared: int = 10_000  # prepared statements per session
    max_bound_bytes: int = 256 << 20  # of the parameters of all prepared statements of an actor
    max_held: int = 1000  # reads and results per session that wait to be fetched
    max_held_bytes: int = 256 << 20  # of these results, per session


@dataclass(frozen=True, slots=True)
class BoundStatement:
    """A statement that runs once for each row of `bindings`, or once if it has no parameters."""

    sql: str
    bindings: Bindings = None

    @property
    def one_run(self) -> bool:
        return self.bindings is None or self.bindings.num_rows == 1

    def runs(self) -> Iterator[Statement]:
        """The statement of each run, with its parameters."""
        if self.bindings is None:
            yield Statement(self.sql)
            return
        for row in range(self.bindings.num_rows):
            yield Statement(self.sql, row_of(self.bindings, row))

    def first(self) -> Statement:
        """The statement of the first run.

        Raises:
            InvalidParameters: the bindings have no rows.
        """
        first = next(self.runs(), None)
        if first is None:
            raise InvalidParameters("no row of parameters was bound; bind one at least")
        return first


@dataclass(slots=True)
class Prepared:
    """A prepared statement. It runs with the parameters that were bound last."""

    handle: bytes
    sql: str
    info: StatementInfo
    transaction: bytes | None
    bindings: Bindings = None


@dataclass(frozen=True, slots=True)
class SessionRead:
    """A read whose result depends on the state of its session."""

    query_id: str
    statement: BoundStatement
    connection: Session


class ClientSession:
    """The state of one client. Thread-safe."""

    def __init__(self, engine: QueryEngine, limits: SessionLimits, clock: Callable[[], float]) -> None:
        self.id = secrets.token_hex(16)
        self.announced = False  # whether the client knows the id
        self.bound_bytes = 0  # of the parameters of its prepared statements
        self.parallel_endpoints = 1  # into how many endpoints the client wants results to be split
        self.connections = SessionConnections(engine, self._new_handle, clock)
        self._limits = limits
        self._lock = threading.Lock()
        self._prepared: dict[bytes, Prepared] = {}
        self._held: OrderedDict[bytes, Held] = OrderedDict()

    @property
    def holds_state(self) -> bool:
        """Whether the client would lose anything if the session were closed."""
        return bool(self._prepared) or self.connections.holds_state

    def prepare(self, sql: str, info: StatementInfo, transaction: bytes | None) -> Prepared:
        with self._lock:
            if len(self._prepared) >= self._limits.max_prepared:
                raise LimitExceeded(
                    f"{len(self._prepared)} prepared statements are open in this session; close some"
                )
            prepared = Prepared(self._new_handle(), sql, info, transaction)
            self._prepared[prepared.handle] = prepared
            return prepared

    def prepared(self, handle: bytes) -> Prepared:
        with self._lock:
            prepared = self._prepared.get(handle)
            if prepared is None:
                raise HandleNotFound("there is no such prepared statement; it was closed, or its session was")
            if prepared.transaction:
                prepared.transaction = self.connections.lasting(prepared.transaction)
            return prepared

    def bind(self, prepared: Prepared, bindings: Bindings) -> None:
        """Set the parameters of the next runs."""
        with self._lock:
            self.bound_bytes += bytes_of(bindings) - bytes_of(prepared.bindings)
            prepared.bindings = bindings

    def unprepare(self, handle: bytes) -> None:
        with self._lock:
            prepared = self._prepared.pop(handle, None)
            if prepared is not None:
                self.bound_bytes -= bytes_of(prepared.bindings)

    def hold(self, held: Held) -> bytes:
        """Keep a result until it is fetched; returns its handle. The oldest results are dropped if there are
        too many.

        Raises:
            LimitExceeded: it is too large.
        """
        limit = self._limits.max_held_bytes
        if _size(held) > limit:
            raise LimitExceeded(
                f"the statement was carried out, but returned {_size(held)} bytes; statements that change"
                f" data can return {limit} at most: read the rows with a SELECT, or name the values of a"
                " PIVOT with IN (...)"
            )
        with self._lock:
            handle = self._new_handle()
            self._held[handle] = held
            while len(self._held) > self._limits.max_held or sum(map(_size, self._held.values())) > limit:
                self._held.popitem(last=False)
            return handle

    def held(self, handle: bytes) -> Held:
        held = self._held.get(handle)
        if held is None:
            raise HandleNotFound("there is no such result; it is too old, or its session was closed")
        return held

    def close(self) -> None:
        """Roll back all transactions, and drop all state."""
        with self._lock:
            self._prepared.clear()
            self._held.clear()
        self.connections.close()

    def _new_handle(self) -> bytes:
        return self.id.encode() + _SEPARATOR + secrets.token_hex(8).encode()


@dataclass(frozen=True, slots=True)
class SessionTransaction:
    """The transaction of a session in which a statement runs. Without a `handle` it runs in its own."""

    session: ClientSession
    handle: bytes | None = None

    @property
    def connections(self) -> SessionConnections:
        return self.session.connections


def _size(held: Held) -> int:
    return held.nbytes if isinstance(held, pa.Table) else 0


def bytes_of(bindings: Bindings) -> int:
    return 0 if bindings is None else bindings.nbytes


def session_id(handle: bytes) -> str:
    """The id of the session that issued a handle."""
    return handle.partition(_SEPARATOR)[0].decode("ascii", errors="replace")
