"""A Flight SQL server with real parts behind it, and clients for it."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as fl

from flight_core.adapters.authentication.static import Credential, StaticAuthenticator
from flight_core.adapters.catalog.datasets import SqlDatasetRepository
from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.application.admission import Admission, AdmissionLimits
from flight_core.application.catalog import (
    DescribeDataset,
    DropDataset,
    GetDataset,
    ListDatasets,
    OpenWrite,
    Publish,
    WriteDataset,
)
from flight_core.application.parts import SplitPlan
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.queries import OpenQuery, PlanQuery, QueryLog
from flight_core.application.session_registry import SessionRegistry
from flight_core.application.session_statements import (
    AnswerInSession,
    BrowseCatalog,
    InspectInSession,
    ReadInSession,
)
from flight_core.application.session_writes import LoadInSession, WriteDatasetInSession
from flight_core.application.sessions import SessionLimits
from flight_core.application.statements import InspectStatement, RunStatement
from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.infrastructure.database import Database
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from flight_server.flight_sql.dispatch import FlightSql
from flight_server.flight_sql.use_cases import FlightSqlUseCases
from flight_server.options import FlightOptions, FlightUseCases
from flight_server.service import SkeinFlightServer


@dataclass
class SqlStack:
    server: SkeinFlightServer
    use_cases: FlightUseCases
    sql: FlightSqlUseCases
    engine: DuckDbEngine
    admission: Admission

    @property
    def uri(self) -> str:
        return f"grpc://127.0.0.1:{self.server.port}"

    def flight(self, **options) -> fl.FlightClient:
        return fl.connect(self.uri, **options)

    def adbc(self, *, autocommit: bool = True, **options) -> adbc.Connection:
        return adbc.connect(self.uri, db_kwargs=options, autocommit=autocommit)

    def write(self, name: str, table: pa.Table, mode: WriteMode = WriteMode.REPLACE) -> None:
        self.use_cases.write_dataset(DatasetName(name), table.to_batches(), table.schema, mode, actor=LOCAL)


@contextmanager
def sql_stack(
    folder: Path,
    *,
    limits: SessionLimits | None = None,
    admission_limits: AdmissionLimits | None = None,
    users: tuple[Credential, ...] = (),
    **options,
) -> Iterator[SqlStack]:
    lake, temp = folder / "lake", folder / "temp"
    lake.mkdir()
    temp.mkdir()
    database = Database(f"sqlite:///{folder}/catalog.sqlite")
    database.migrate()
    datasets, store = SqlDatasetRepository(database), DeltaTableStore(lake)
    engine = DuckDbEngine(DuckDbOptions(folder / "workspace.duckdb", (lake,), temp), store)
    admission, log, key = (
        Admission(admission_limits or AdmissionLimits()),
        QueryLog(utc_now),
        secrets.token_bytes(32),
    )
    plan_query = PlanQuery(datasets, engine, new_id)
    open_query = OpenQuery(datasets, engine, admission, log, utc_now, new_id)
    drop_dataset = DropDataset(datasets, utc_now)
    open_write = OpenWrite(datasets, store, Publish(datasets, utc_now), new_id)
    use_cases = FlightUseCases(
        authenticator=StaticAuthenticator(users, (), key=key),
        list_datasets=ListDatasets(datasets),
        get_dataset=GetDataset(datasets),
        describe_dataset=DescribeDataset(datasets, store),
        drop_dataset=drop_dataset,
        write_dataset=WriteDataset(open_write),
        plan_query=plan_query,
        open_query=open_query,
        inspect_statement=InspectStatement(datasets, engine),
        run_statement=RunStatement(datasets, engine, admission, log, utc_now, new_id),
        queries=log,
    )
    write_dataset = WriteDatasetInSession(datasets, open_write, drop_dataset)
    sql = FlightSqlUseCases(
        sessions=SessionRegistry(engine, limits),
        inspect=InspectInSession(datasets, engine),
        answer=AnswerInSession(plan_query, write_dataset, log, utc_now),
        load=LoadInSession(write_dataset, log, utc_now, new_id),
        split=SplitPlan(engine),
        read=ReadInSession(datasets, open_query),
        catalog=BrowseCatalog(datasets, engine),
        queries=log,
    )
    flight_options = FlightOptions(**{"ticket_key": key, **options})
    flight_sql = FlightSql(sql, flight_options)
    server = SkeinFlightServer(use_cases, flight_options, flight_sql)
    try:
        yield SqlStack(server, use_cases, sql, engine, admission)
    finally:
        server.stop(deadline_s=0)
        flight_sql.close()
        engine.close()
        database.close()
