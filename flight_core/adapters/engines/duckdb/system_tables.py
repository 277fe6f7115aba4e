"""The system tables as views of one DuckDB instance, over Arrow streams that are made when they are read.

So a statement that names one binds without a look at the catalog, reads what is true when it runs, and
all others pay nothing.
"""

import logging
from typing import Any

import duckdb

from flight_core.application.ports.engine import SystemTable
from flight_core.domain.errors import FlightCoreError
from flight_core.domain.system import SYSTEM, SYSTEM_TABLES

logger = logging.getLogger(__name__)


def show_system_tables(root: duckdb.DuckDBPyConnection, read: SystemTable) -> None:
    """Make the views. `read` is called by any thread, once for each time that a statement scans a table."""
    root.execute(f"ATTACH ':memory:' AS {SYSTEM}")
    with root.cursor() as cursor:
        cursor.execute(f"USE {SYSTEM}")
        for name in SYSTEM_TABLES:
            cursor.from_arrow(_Rows(name, read)).create_view(name)


class _Rows:
    """What DuckDB asks for Arrow data: for the columns when it binds, for the rows when it runs."""

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
