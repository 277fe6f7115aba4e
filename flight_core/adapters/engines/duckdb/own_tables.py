"""The users' own tables, views and macros: a cache of their names, and the dataset versions that they
read."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from flight_core.adapters.engines.duckdb.statements import tokenize
from flight_core.infrastructure.duckdb_pool import WORKSPACE, WORKSPACE_SCHEMA

# The schema in which names without one are looked up before datasets.
_NAMES = f"""
    SELECT system.main.lower(table_name) FROM information_schema.tables
    WHERE table_catalog = '{WORKSPACE}' AND table_schema = '{WORKSPACE_SCHEMA}'
"""
_TEXTS = f"""
    SELECT sql FROM duckdb_views() WHERE database_name = '{WORKSPACE}' AND NOT internal
    UNION ALL SELECT macro_definition FROM duckdb_functions() WHERE NOT internal
"""


def versions_read(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """The versions that views and macros read, as `name@version` in lower case."""
    texts = [text for (text,) in connection.cursor().execute(_TEXTS).fetchall() if "@" in (text or "")]
    tokens = (token for text in texts for token in tokenize(text) if token.kind == "identifier")
    return frozenset(token.text.strip('"').lower() for token in tokens if "@" in token.text)


class OwnTables:
    """Thread-safe. Statements that may create or drop such a table must run within `changing`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = 0
        self._ended = 0
        self._known: tuple[int, frozenset[str]] = (-1, frozenset())

    @contextmanager
    def changing(self) -> Iterator[None]:
        with self._lock:
            self._begun += 1
        try:
            yield
        finally:
            with self._lock:
                self._ended += 1

    def mark(self) -> int | None:
        """A number that stays the same as long as nothing changes; None during a change. Take it before the
        transaction for `names` begins."""
        with self._lock:
            return self._begun if self._begun == self._ended else None

    def names(self, cursor: duckdb.DuckDBPyConnection, mark: int | None) -> frozenset[str]:
        """The names in lower case, as the transaction of `cursor` sees them."""
        known_mark, known = self._known
        steady = mark is not None and mark == self.mark()
        if steady and mark == known_mark:
            return known
        names = frozenset(name for (name,) in cursor.execute(_NAMES).fetchall())
        if mark is not None and steady:
            self._known = (mark, names)
        return names
