"""Which names are taken by tables and views of the users' own, without asking DuckDB each time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from flight_core.infrastructure.duckdb_pool import WORKSPACE

_NAMES = f"""
    SELECT lower(table_name) FROM duckdb_tables() WHERE database_name = '{WORKSPACE}'
    UNION ALL SELECT lower(view_name) FROM duckdb_views() WHERE database_name = '{WORKSPACE}' AND NOT internal
"""


class OwnTables:
    """Thread-safe. Whatever may make or drop such a table has to run within `changing`."""

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
        """The same number as long as nothing changes; None while something does. Take it before the
        transaction begins that `names` shall be about."""
        with self._lock:
            return self._begun if self._begun == self._ended else None

    def names(self, cursor: duckdb.DuckDBPyConnection, mark: int | None) -> frozenset[str]:
        """In lower case, as the transaction of `cursor` sees them."""
        known_mark, known = self._known
        steady = mark is not None and mark == self.mark()
        if steady and mark == known_mark:
            return known
        names = frozenset(name for (name,) in cursor.execute(_NAMES).fetchall())
        if mark is not None and steady:
            self._known = (mark, names)
        return names
