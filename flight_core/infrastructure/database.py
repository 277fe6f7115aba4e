"""The SQL database that every process of a data directory shares."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import stamina
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, OperationalError

from flight_core.domain.errors import DependencyFailed, InvalidOption, OutOfDisk, Unsupported
from flight_core.infrastructure.seal import Seal

_BUSY_TIMEOUT_MS = 30_000
_MIGRATION_TIMEOUT_S = 30.0
_REVISIONS = Path(__file__).parent / "migrations" / "versions"  # by their numbers
_MIGRATION_LOCK = 0x536B65696E  # any number that nobody else locks

# SQLite's result codes.
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
_CLOSED = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY)


class Database:
    """Short transactions on pooled connections. Thread-safe; several processes may use one database.

    `url` is an SQLAlchemy URL: `sqlite:////data/catalog.sqlite`, `postgresql+psycopg://...`. `Private`
    objects in columns of JSON are sealed with `key`.
    Inside `read` and `write` the database's own failures arrive as DependencyFailed or OutOfDisk; a text
    that it cannot hold as InvalidOption.

    Raises:
        InvalidOption: on construction, it is no URL, or its driver is not installed.
    """

    def __init__(self, url: str, key: bytes | None = None) -> None:
        seal = Seal(key)
        # Objects of their own: of methods, psycopg takes the first seal of the process for all.
        dumps, loads = partial(seal.dumps), partial(seal.loads)
        with _usable():
            self._engine = sa.create_engine(url, json_serializer=dumps, json_deserializer=loads)
        self._reader = self._engine
        self._sqlite = self._engine.dialect.name == "sqlite"
        if self._sqlite:
            sa.event.listen(self._engine, "connect", _configure_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        else:  # by themselves, others show each statement what has been committed by then
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ")
        sa.event.listen(self._engine, "checkin", self._close_if_late)
        self._writer = self._engine.execution_options(skein_write=True)
        self._closed = False
        self._watch: sa.PoolProxiedConnection | None = None
        self._watch_lock = threading.Lock()
        self._looks = 0  # for commits, so far
        self._stamp: int | None = None

    def stamp(self) -> int | None:
        """Another number once anybody has committed anything, for a hundredth of the cost of a read; None
        where the database does not tell."""
        if not self._sqlite:
            return None
        looks = self._looks
        with self._watch_lock:
            if self._looks == looks:  # else somebody has looked since we came
                self._looks += 1
                self._stamp = self._look()
            return self._stamp

    def _look(self) -> int | None:
        with suppress(DBAPIError, sqlite3.Error):
            self._watch = self._watch or self._engine.raw_connection()
            ((number,),) = self._watch.execute("PRAGMA data_version").fetchall()
            return int(number)
        return None

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent view of the data."""
        with _translated(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction, committed unless the block raises.

        SQLite lets one writer in at a time, from here on; elsewhere lock the rows that decide.
        """
        with _translated(), self._writer.begin() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the tables up to date. Of several processes that start at once one does it, the others wait.

        Raises:
            Unsupported: a newer Skein has migrated it already.
        """
        for attempt in stamina.retry_context(
            on=_may_pass, attempts=None, timeout=_MIGRATION_TIMEOUT_S, wait_max=0.5
        ):
            with attempt:  # switching SQLite to WAL does not wait for another process that does the same
                self._migrate()

    def _migrate(self) -> None:
        with self.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            if not _is_up_to_date(connection):
                _upgrade(connection)

    def close(self) -> None:
        """What other threads are in the middle of goes on to its end; its connections are closed then."""
        self._closed = True
        with self._watch_lock:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        self._engine.dispose()

    def _close_if_late(self, _connection: Any, entry: sa.pool.ConnectionPoolEntry) -> None:
        if self._closed:  # its pool has been disposed of, nobody else would
            entry.close()


def _is_up_to_date(connection: sa.Connection) -> bool:
    if not sa.inspect(connection).has_table("alembic_version"):
        return False
    revision = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return revision == max(path.stem[:4] for path in _REVISIONS.glob("[0-9]*.py"))


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command  # large, and nothing that a catalog in use needs
    from alembic.config import Config
    from alembic.script.revision import ResolutionError
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "flight_core.infrastructure:migrations")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except (CommandError, ResolutionError) as error:
        raise Unsupported("the catalog was made by a newer Skein; upgrade this one") from error


def _configure_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in (
        f"busy_timeout = {_BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later cannot wait for another writer: it fails at once.
    write = connection.get_execution_options().get("skein_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _usable() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidOption(
            f"the catalog's database needs the Python package '{error.name}'; for PostgreSQL:"
            " pip install 'skein-flight[postgresql]'"
        ) from None
    except ArgumentError:  # it may hold a password
        raise InvalidOption(
            "the URL of the catalog is none that SQLAlchemy knows; write"
            " postgresql+psycopg://USER@HOST/DATABASE"
        ) from None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        code = _sqlite_code(error)
        primary = None if code is None else code & 0xFF
        if code in _NO_ROOM or primary in _NO_ROOM:
            raise OutOfDisk("the disk that holds the catalog is full; make room and try again") from error
        if primary in DAMAGED:
            raise DependencyFailed(
                "the catalog, catalog.sqlite, is damaged; restore the data directory from a backup"
            ) from error
        if primary in _CLOSED:
            raise DependencyFailed(
                "the catalog, catalog.sqlite, cannot be opened for writing; see whom the files of the data"
                " directory belong to, and whether its disk is writable"
            ) from error
        if isinstance(error, DataError):  # PostgreSQL's, where SQLite takes anything
            raise InvalidOption(f"the catalog cannot hold {_unheld(error)}") from error
        if isinstance(error, OperationalError):
            raise DependencyFailed("the catalog does not answer; try again") from error
        raise


def _unheld(error: DataError) -> str:
    told = str(error.orig)
    if "NUL" in told or "\\u0000" in told:
        return "a NUL character, which is in a text"
    return f"a value: {told.splitlines()[0]}; send another one"


def _may_pass(error: Exception) -> bool:
    """Whether it may be better in a moment: SQLite is busy, another database is not there yet."""
    cause = error.__cause__
    if not isinstance(error, DependencyFailed) or not isinstance(cause, DBAPIError):
        return False
    code = _sqlite_code(cause)
    return code is None or code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _sqlite_code(error: DBAPIError) -> int | None:
    """SQLite's extended result code; None where another database failed."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code if isinstance(code, int) else None
