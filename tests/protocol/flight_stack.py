"""A Flight server with real parts behind it, in this process, on a free port and a temporary folder."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.queries import OpenQuery, PlanQuery, QueryLog
from flight_core.application.statements import InspectStatement, RunStatement
from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, DatasetVersion, WriteMode
from flight_core.infrastructure.database import Database
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from flight_server.options import FlightOptions, FlightUseCases
from flight_server.service import SkeinFlightServer

path = fl.FlightDescriptor.for_path
command = fl.FlightDescriptor.for_command


@dataclass
class FlightStack:
    server: SkeinFlightServer
    use_cases: FlightUseCases
    admission: Admission
    log: QueryLog

    def connect(self, **options) -> fl.FlightClient:
        return fl.connect(self.server.uri, **options)

    def write(self, name: str, table: pa.Table, mode: WriteMode = WriteMode.APPEND) -> DatasetVersion:
        return self.use_cases.write_dataset(
            DatasetName(name), table.to_batches(), table.schema, mode, actor=LOCAL
        )


@contextmanager
def flight_stack(
    folder: Path,
    *,
    limits: AdmissionLimits | None = None,
    users: tuple[Credential, ...] = (),
    tokens: tuple[Credential, ...] = (),
    **options,
) -> Iterator[FlightStack]:
    lake, temp = folder / "lake", folder / "temp"
    lake.mkdir()
    temp.mkdir()
    database = Database(f"sqlite:///{folder}/catalog.sqlite")
    database.migrate()
    datasets, store = SqlDatasetRepository(database), DeltaTableStore(lake)
    engine = DuckDbEngine(DuckDbOptions(folder / "workspace.duckdb", (lake,), temp), store)
    admission, log, key = Admission(limits or AdmissionLimits()), QueryLog(utc_now), secrets.token_bytes(32)
    use_cases = FlightUseCases(
        authenticator=StaticAuthenticator(users, tokens, key=key),
        list_datasets=ListDatasets(datasets),
        get_dataset=GetDataset(datasets),
        describe_dataset=DescribeDataset(datasets, store),
        drop_dataset=DropDataset(datasets, utc_now),
        write_dataset=WriteDataset(OpenWrite(datasets, store, Publish(datasets, utc_now), new_id)),
        plan_query=PlanQuery(datasets, engine, new_id),
        open_query=OpenQuery(datasets, engine, admission, log, utc_now, new_id),
        inspect_statement=InspectStatement(datasets, engine),
        run_statement=RunStatement(datasets, engine, admission, log, utc_now, new_id),
        queries=log,
    )
    server = SkeinFlightServer(use_cases, FlightOptions(**{"ticket_key": key, **options}))
    try:
        yield FlightStack(server, use_cases, admission, log)
    finally:
        server.stop(deadline_s=0)
        engine.close()
        database.close()


def read(client: fl.FlightClient, descriptor: fl.FlightDescriptor) -> pa.Table:
    """What the descriptor's first endpoint streams."""
    return client.do_get(ticket_of(client, descriptor)).read_all()


def ticket_of(client: fl.FlightClient, descriptor: fl.FlightDescriptor) -> fl.Ticket:
    (endpoint,) = client.get_flight_info(descriptor).endpoints
    return endpoint.ticket


def until(condition: Callable[[], object], *, deadline_s: float = 10.0) -> None:
    """Wait for something that happens in another thread and tells nobody."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)
