"""The system tables, as views over Arrow streams that are only produced when they are read.

So binding a statement does not read the catalog, running it returns current rows, and statements without
system tables cost nothing.
"""

import logging
from typing import Any

import duckdb

from flight_core.application.ports.engine import SystemTable
from flight_core.domain.errors import FlightCoreError
from flight_core.domain.system import SYSTEM, SYSTEM_TABLES

logger = logging.getLogger(__name__)


def show_system_tables(root: duckdb.DuckDBPyConnection, read: SystemTable) -> None:
    """Create the views. `read` is called from any thread, once for each scan of a table."""
    root.execute(f"ATTACH ':memory:' AS {SYSTEM}")
    with root.cursor() as cursor:
        cursor.execute(f"USE {SYSTEM}")
        for name in SYSTEM_TABLES:
            cursor.from_arrow(_Rows(name, read)).create_view(name)


class _Rows:
    """An Arrow PyCapsule object: DuckDB asks for its schema when it binds, and for its rows when it runs."""

    def __init__(self, table: str, read: SystemTable) -> None:
        self._table = table
        self._read = read

    def __arrow_c_schema__(self) -> object:
        return SYSTEM_TABLES[self._table].__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        try:
            rows: Any = self._read(self._table)
            return rows.__arrow_c_stream__(requested_schema)
        except FlightCoreError as failure:
            raise RuntimeError(failure.message) from None
        except Exception:
            logger.exception("a system table cannot be read", extra={"table": self._table})
            raise RuntimeError(f"{SYSTEM}.{self._table} cannot be read; see the server's log") from None
