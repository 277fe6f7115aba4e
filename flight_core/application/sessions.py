"""What clients keep on the server between calls: connections, transactions, prepared statements.

A session begins with the first call that names it and costs little until it holds something. Its
`home` is the connection where its temp tables, variables and settings live. A transaction runs at
home when it can, so that it sees those; a second one at the same time gets a connection of its own,
and so do statements outside of the transaction that home is in.
"""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import pyarrow as pa

from flight_core.application.ports.engine import QueryEngine, Session
from flight_core.domain.errors import EngineUnavailable, FlightCoreError, HandleNotFound, LimitExceeded
from flight_core.domain.query import StatementInfo

_SEPARATOR = b"."


# Rows of parameters, the columns named as the statement's parameters are; None: it has none.
Bindings: TypeAlias = "pa.Table | None"

Held: TypeAlias = "SessionRead | pa.Table"


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """A session that nobody uses for `idle_s` is closed; a transaction, for its own time, rolled back."""

    max_sessions: int = 1000
    idle_s: float = 3600.0
    transaction_idle_s: float = 900.0
    max_prepared: int = 10_000  # a session
    max_transactions: int = 16  # a session
    max_held: int = 1000  # reads and results that wait to be fetched, a session
    max_held_bytes: int = 256 << 20  # of results, a session


def _nothing() -> None: ...


@dataclass(frozen=True, slots=True)
class Deferred:
    """A change to a dataset that waits for the end of its transaction. `drops`: it is gone after that."""

    dataset: str  # `DatasetName.key`
    commit: Callable[[], object]
    discard: Callable[[], None] = _nothing
    drops: bool = False


@dataclass(slots=True)
class Transaction:
    """Begun by a client with a call of its own; the connection comes with the first statement."""

    handle: bytes
    used_at: float
    connection: Session | None = None
    deferred: list[Deferred] = field(default_factory=list)


@dataclass(slots=True)
class Prepared:
    """A statement to be run many times. Each run takes the parameters that were bound last."""

    handle: bytes
    sql: str
    info: StatementInfo
    transaction: bytes | None
    bindings: Bindings = None


@dataclass(frozen=True, slots=True)
class SessionRead:
    """A read that depends on the state of its session; one run a row of parameters."""

    query_id: str
    sql: str
    bindings: Bindings
    connection: Session


class ClientSession:
    """One client's share of the server. Thread-safe; connections serialise their own statements."""

    def __init__(self, engine: QueryEngine, limits: SessionLimits, clock: Callable[[], float]) -> None:
        self.id = secrets.token_hex(16)
        self.announced = False  # the client was told the id
        self.parallel_endpoints = 1  # the client's wish for results that can be split
        self._engine = engine
        self._limits = limits
        self._clock = clock
        self._lock = threading.RLock()
        self._home: Session | None = None
        self._side: Session | None = None
        self._transactions: dict[bytes, Transaction] = {}
        self._prepared: dict[bytes, Prepared] = {}
        self._held: OrderedDict[bytes, Held] = OrderedDict()

    @property
    def holds_state(self) -> bool:
        """Whether the client would miss anything if the session were closed."""
        touched = any(not connection.pristine for connection in self._connections())
        return touched or bool(self._transactions or self._prepared)

    # --- connections ---

    @contextmanager
    def connection(self, transaction: bytes | None = None) -> Iterator[Session]:
        """The connection to run a statement on, within the transaction if one is named.

        Raises:
            HandleNotFound: there is no such transaction.
        """
        with self._forgetting_lost_connections():
            yield self._of_transaction(transaction) if transaction else self._of_statements()

    def reading(self, transaction: bytes | None) -> Session | None:
        """The connection whose state a read sees; None if any connection gives the same answer."""
        if transaction:
            return self._of_transaction(transaction)
        with self._lock:
            connection = self._side if self._at_home() else self._home
            if connection is None or (connection.pristine):
                return None
            return connection

    def home(self) -> Session | None:
        """The connection with the client's own objects, in whatever transaction; None: there are none."""
        return self._home

    def options(self) -> Mapping[str, object]:
        with self._forgetting_lost_connections():
            return self._opened_home().options()

    def set_option(self, name: str, value: object) -> None:
        """`value` None: back to the default. Raises InvalidOption."""
        with self._forgetting_lost_connections():
            self._opened_home().set_option(name, value)

    def _of_statements(self) -> Session:
        with self._lock:
            if not self._at_home():
                return self._opened_home()
            if self._side is None:
                self._side = self._sibling()
            return self._side

    def _of_transaction(self, handle: bytes) -> Session:
        with self._lock:
            transaction = self._transaction(handle)
            if transaction.connection is None:
                free = not self._at_home() and not self._opened_home().in_transaction
                transaction.connection = self._opened_home() if free else self._sibling()
            if not transaction.connection.in_transaction:
                transaction.connection.begin()
            return transaction.connection

    def _transaction(self, handle: bytes) -> Transaction:
        transaction = self._transactions.get(handle)
        if transaction is None:
            raise HandleNotFound("there is no such transaction; it has ended or timed out")
        transaction.used_at = self._clock()
        return transaction

    def _at_home(self) -> bool:
        """Whether a transaction occupies the home connection."""
        return self._home is not None and any(
            transaction.connection is self._home for transaction in self._transactions.values()
        )

    def _opened_home(self) -> Session:
        with self._lock:
            if self._home is None:
                self._home = self._engine.open_session()
            return self._home

    def _sibling(self) -> Session:
        """Another connection with the same options."""
        sibling = self._engine.open_session()
        for name, value in self._opened_home().options().items():
            sibling.set_option(name, value)
        return sibling

    @contextmanager
    def _forgetting_lost_connections(self) -> Iterator[None]:
        try:
            yield
        except EngineUnavailable:
            self.close()
            raise

    # --- transactions ---

    def begin(self) -> bytes:
        with self._lock:
            if len(self._transactions) >= self._limits.max_transactions:
                raise LimitExceeded(
                    f"{len(self._transactions)} transactions are open in this session; end one first"
                )
            transaction = Transaction(self._new_handle(), self._clock())
            self._transactions[transaction.handle] = transaction
            return transaction.handle

    def end(self, handle: bytes, *, commit: bool) -> None:
        """The handle is dead afterwards, whether this succeeds or not.

        Raises:
            HandleNotFound
            TransactionFailed: it could not be committed, and was rolled back.
        """
        with self._lock:
            transaction = self._transaction(handle)
            connection = transaction.connection
            try:
                if connection is not None and connection.in_transaction:
                    with self._forgetting_lost_connections():
                        connection.commit() if commit else connection.rollback()
                for change in transaction.deferred if commit else ():
                    change.commit()
            finally:
                for change in transaction.deferred:
                    change.discard()
                self._transactions.pop(handle, None)
                self._leave(connection)

    def only_transaction(self) -> bytes | None:
        """The open transaction, if there is exactly one."""
        with self._lock:
            handles = list(self._transactions)
        return handles[0] if len(handles) == 1 else None

    def defer(self, handle: bytes | None, change: Deferred) -> None:
        """Make a change when the transaction is committed; at once, if there is none."""
        if handle:
            waiting = self._transaction(handle).deferred
            if not change.drops:  # what it writes replaces what is dropped
                waiting[:] = [one for one in waiting if not (one.drops and one.dataset == change.dataset)]
            waiting.append(change)
            return
        try:
            change.commit()
        finally:
            change.discard()

    def deferred(self, handle: bytes | None) -> Sequence[Deferred]:
        """In the order in which they will be made."""
        return tuple(self._transaction(handle).deferred) if handle else ()

    def roll_back_idle(self, now: float) -> None:
        with self._lock:
            for transaction in list(self._transactions.values()):
                if now - transaction.used_at > self._limits.transaction_idle_s:
                    with suppress(FlightCoreError):
                        self.end(transaction.handle, commit=False)

    def _leave(self, connection: Session | None) -> None:
        if connection is not None and connection is not self._home:
            connection.close()
        if self._side is not None and not self._at_home():
            self._side.close()
            self._side = None

    # --- handles ---

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
            if prepared.transaction and prepared.transaction not in self._transactions:
                prepared.transaction = self._transaction_at_home()
            return prepared

    def unprepare(self, handle: bytes) -> None:
        self._prepared.pop(handle, None)

    def hold(self, held: Held) -> bytes:
        """A handle to fetch a result by. Others push it out when they become too many.

        Raises:
            LimitExceeded: it is too large to be kept.
        """
        limit = self._limits.max_held_bytes
        if _size(held) > limit:
            raise LimitExceeded(
                f"the statement was carried out, but returned {_size(held)} bytes; statements that change"
                f" data can return {limit} at most: read the rows with a SELECT"
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

    def _transaction_at_home(self) -> bytes | None:
        """Where a statement goes whose own transaction is over: clients that leave autocommit off
        begin the next one at once and use the statement again."""
        for transaction in self._transactions.values():
            if transaction.connection in (None, self._home):
                return transaction.handle
        return None

    def _new_handle(self) -> bytes:
        return self.id.encode() + _SEPARATOR + secrets.token_hex(8).encode()

    def close(self) -> None:
        """Roll back, and forget everything. The session can be used again, as a new one."""
        with self._lock:
            connections = {id(c): c for c in self._connections()}
            self._home = self._side = None
            self._transactions.clear()
            self._prepared.clear()
            self._held.clear()
        for connection in connections.values():
            connection.close()

    def _connections(self) -> Iterator[Session]:
        for connection in (self._home, self._side, *(t.connection for t in self._transactions.values())):
            if connection is not None:
                yield connection


def _size(held: Held) -> int:
    return held.nbytes if isinstance(held, pa.Table) else 0


def session_id(handle: bytes) -> str:
    """The session a handle belongs to."""
    return handle.partition(_SEPARATOR)[0].decode("ascii", errors="replace")
