"""A Flight SQL server with real parts behind it, and clients for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as fl

from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_server.flight_sql.use_cases import FlightSqlUseCases
from skein.directory import Role
from tests.protocol.raw_flight_sql import RawFlightSql
from tests.stack import Stack, skein_stack


class SqlStack:
    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    @property
    def uri(self) -> str:
        return self._stack.flight_uri

    @property
    def use_cases(self) -> FlightSqlUseCases:
        return self._stack.skein.flight_sql

    def write(self, name: str, table: pa.Table, mode: WriteMode = WriteMode.REPLACE) -> None:
        self._stack.write(name, table, mode)

    def describe(self, name: str, **columns: str) -> None:
        """Say what columns of a dataset are."""
        self._stack.skein.control.datasets.annotate(DatasetName(name), {"columns": columns}, actor=LOCAL)

    @contextmanager
    def adbc(self, *, autocommit: bool = True, **options: str) -> Iterator[Any]:
        """A DBAPI connection."""
        with adbc.connect(self.uri, db_kwargs=options, autocommit=autocommit) as connection:
            yield connection

    @contextmanager
    def raw(self, **headers: str) -> Iterator[RawFlightSql]:
        """pyarrow.flight with Flight SQL messages made by hand."""
        with fl.connect(self.uri) as client:
            yield RawFlightSql(client, headers)


@contextmanager
def sql_stack(folder: Path, **settings) -> Iterator[SqlStack]:
    with skein_stack(folder, roles={Role.FLIGHT}, **settings) as stack:
        yield SqlStack(stack)
