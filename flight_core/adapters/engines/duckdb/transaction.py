"""The transaction of a session: begun by a call or in SQL, and the views that last as long as it does."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import duckdb

from flight_core.adapters.engines.duckdb.lake import LakeViews
from flight_core.adapters.engines.duckdb.statements import ParsedStatement
from flight_core.adapters.engines.duckdb.types import identifier
from flight_core.application.ports.engine import Change
from flight_core.domain.dataset import LAKE, VersionRef
from flight_core.domain.errors import DatasetNotFound

_IN_SIGHT = (
    "SELECT 1 FROM information_schema.tables"
    f" WHERE table_catalog = '{LAKE}' AND system.main.lower(table_name) = system.main.lower($1)"
)


class DuckDbTransaction:
    """The one that a connection is in, if `began_at` tells when. Not thread-safe."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, views: LakeViews) -> None:
        self.began_at: datetime | None = None
        self._connection = connection
        self._views = views
        self._untouched = False  # nothing ran in it yet
        self._own_views: set[str] = set()  # older versions of datasets
        self._changes: list[Change] = []

    @property
    def open(self) -> bool:
        return self.began_at is not None

    @property
    def changes(self) -> Sequence[Change]:
        """Of datasets, in the order in which they will be made when it is committed."""
        return tuple(self._changes)

    def add(self, change: Change) -> None:
        self.touch()
        if not change.drops:  # what it writes replaces what is dropped
            same = change.dataset
            self._changes = [one for one in self._changes if not (one.drops and one.dataset == same)]
        self._changes.append(change)

    def discard_changes(self) -> None:
        while self._changes:
            self._changes.pop().discard()

    def touch(self) -> None:
        """Something is about to run."""
        self._untouched = False

    def begin(self) -> None:
        self.began_at = datetime.now(UTC)
        self._untouched = True
        try:
            self._connection.execute("BEGIN TRANSACTION")
        except BaseException:
            self._ended()
            raise

    def commit(self) -> None:
        try:
            self._connection.execute("SELECT 1")  # COMMIT would roll back a failed transaction silently
            self._connection.execute("COMMIT")
            for change in self._changes:
                change.commit()
        except duckdb.TransactionException:
            with suppress(duckdb.Error):
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._ended()

    def rollback(self) -> None:
        try:
            self._connection.execute("ROLLBACK")
        finally:
            self._ended()

    def control(self, parsed: ParsedStatement) -> None:
        """BEGIN, COMMIT, ROLLBACK as SQL. Clients without autocommit may begin what was begun for them."""
        match parsed.tokens[0].word:
            case "begin" | "start":
                if not self._untouched:
                    self._connection.execute(parsed.sql)
                    self.began_at = datetime.now(UTC)
                self._untouched = False
            case "commit" | "end":
                self.commit()
            case _:
                self.rollback()

    @contextmanager
    def atomically(self) -> Iterator[None]:
        """All that the block does or nothing: in this transaction, or in one of the block's own."""
        if self.open:
            yield
            return
        self._connection.execute("BEGIN TRANSACTION")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(duckdb.Error):
                self._connection.execute("ROLLBACK")
            raise

    def see(self, pins: Mapping[str, VersionRef], statements: Sequence[ParsedStatement]) -> None:
        """Give it views of its own of older versions: it does not see those made after it began.

        Raises:
            DatasetNotFound: nor does it see a dataset made after that.
        """
        if not self.open:
            return
        for key in pins.keys() - self._own_views:
            if "@" in key:
                self._connection.execute(self._views.temporary(key, pins[key]))
                self._own_views.add(key)
        for statement in statements:
            for table in statement.tables:
                if table.name.lower() in pins and "@" not in table.name:
                    self._require_in_sight(table.name)

    def _require_in_sight(self, name: str) -> None:
        if not self._connection.execute(_IN_SIGHT, [name]).fetchall():
            raise DatasetNotFound(
                f"dataset '{name}' was made after this transaction began, which does not see it;"
                " commit or roll back first",
                name=name,
            )

    def _ended(self) -> None:
        self.began_at = None
        self._untouched = False
        self.discard_changes()
        while self._own_views:
            with suppress(duckdb.Error):
                self._connection.execute(f"DROP VIEW IF EXISTS temp.{identifier(self._own_views.pop())}")
