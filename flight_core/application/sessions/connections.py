"""The connections of a session, and the transactions on them.

The connection `home` has the session's temporary tables, variables and settings. The first transaction uses
it, so that it sees these. Meanwhile other transactions, and statements without one, use further connections.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from flight_core.application.ports.engine import QueryEngine, Session
from flight_core.domain.errors import EngineUnavailable, FlightCoreError, HandleNotFound, LimitExceeded

MAX_TRANSACTIONS = 16  # at a time


@dataclass(slots=True)
class Transaction:
    """A transaction that a client has begun. It gets a connection with its first statement."""

    handle: bytes
    used_at: float
    connection: Session | None = None


class SessionConnections:
    """Thread-safe. Each connection runs one statement at a time."""

    def __init__(
        self, engine: QueryEngine, new_handle: Callable[[], bytes], clock: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._new_handle = new_handle
        self._clock = clock
        self._lock = threading.RLock()
        self._home: Session | None = None
        self._side: Session | None = None
        self._options: Mapping[str, object] = {}
        self._transactions: dict[bytes, Transaction] = {}

    @property
    def holds_state(self) -> bool:
        """Whether the client would lose anything if they were closed."""
        return bool(self._transactions) or any(not connection.pristine for connection in self._open())

    @property
    def in_transaction_since(self) -> datetime | None:
        """The start of the oldest open transaction; None if there is none."""
        with self._lock:
            began = [connection.in_transaction_since for connection in self._open()]
        return min((moment for moment in began if moment is not None), default=None)

    @contextmanager
    def use(self, transaction: bytes | None) -> Iterator[Session]:
        """The connection for a statement, in the given transaction or in its own.

        Raises:
            HandleNotFound: there is no such transaction.
        """
        with self._forgetting_lost_connections():
            yield self._of_transaction(transaction) if transaction else self._of_statements()

    def reading(self, transaction: bytes | None) -> Session | None:
        """The connection on whose state a read depends; None if any connection gives the same result."""
        if transaction:
            return self._of_transaction(transaction)
        with self._lock:
            connection = self._side if self._at_home() else self._home
            return None if connection is None or connection.pristine else connection

    @property
    def home(self) -> Session | None:
        """The connection with the client's temporary objects; None if it was not opened yet."""
        return self._home

    def options(self) -> Mapping[str, object]:
        with self._forgetting_lost_connections():
            return self._opened_home().options()

    def set_option(self, name: str, value: object) -> None:
        """The value None resets the option. Raises InvalidOption."""
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
                transaction.connection = self._free_home() or self._sibling()
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
        """Whether a transaction uses the home connection."""
        return self._home is not None and any(
            transaction.connection is self._home for transaction in self._transactions.values()
        )

    def _opened_home(self) -> Session:
        with self._lock:
            if self._home is None:
                self._home = self._engine.open_session()
            return self._home

    def _free_home(self) -> Session | None:
        """The home connection, if no transaction uses it."""
        home = self._opened_home()
        if self._at_home() or home.in_transaction:
            return None
        self._options = {} if home.pristine else home.options()
        return home

    def _sibling(self) -> Session:
        """A further connection, with the options that `home` had when a transaction began to use it."""
        sibling = self._engine.open_session()
        for name, value in self._options.items():
            sibling.set_option(name, value)
        return sibling

    @contextmanager
    def _forgetting_lost_connections(self) -> Iterator[None]:
        try:
            yield
        except EngineUnavailable:
            self.close()
            raise

    def begin(self) -> bytes:
        with self._lock:
            if len(self._transactions) >= MAX_TRANSACTIONS:
                raise LimitExceeded(
                    f"{len(self._transactions)} transactions are open in this session; end one first"
                )
            transaction = Transaction(self._new_handle(), self._clock())
            self._transactions[transaction.handle] = transaction
            return transaction.handle

    def end(self, handle: bytes, *, commit: bool) -> None:
        """End a transaction. Its handle becomes invalid even if this fails.

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
            finally:
                self._transactions.pop(handle, None)
                self._leave(connection)

    def only_transaction(self) -> bytes | None:
        """The open transaction, if there is exactly one."""
        with self._lock:
            handles = list(self._transactions)
        return handles[0] if len(handles) == 1 else None

    def lasting(self, handle: bytes) -> bytes | None:
        """The transaction for a prepared statement: its own one, or if that has ended, the present one on the
        home connection. Clients without autocommit begin the next transaction at once and use the statement
        again."""
        with self._lock:
            if handle in self._transactions:
                return handle
            here = (one.handle for one in self._transactions.values() if one.connection in (None, self._home))
            return next(here, None)

    def roll_back_idle(self, idle_s: float) -> None:
        with self._lock:
            for transaction in list(self._transactions.values()):
                if self._clock() - transaction.used_at > idle_s:
                    with suppress(FlightCoreError):
                        self.end(transaction.handle, commit=False)

    def _leave(self, connection: Session | None) -> None:
        if connection is not None and connection is not self._home:
            connection.close()
        if self._side is not None and not self._at_home():
            self._side.close()
            self._side = None

    def close(self) -> None:
        """Roll back everything and close all connections. Later statements get new ones."""
        with self._lock:
            connections = list(self._open())
            self._home = self._side = None
            self._transactions.clear()
        for connection in connections:
            connection.close()

    def _open(self) -> Iterator[Session]:
        of_transactions = [one.connection for one in self._transactions.values()]
        beside = [connection for connection in of_transactions if connection is not self._home]
        yield from (connection for connection in (self._home, self._side, *beside) if connection is not None)
