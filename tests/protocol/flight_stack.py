"""A Flight server as Skein wires it, in this process, on a free port and a temporary folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.application.queries.admission import Admission
from flight_core.application.queries.log import QueryLog
from flight_core.application.writes.rows import NewRows
from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, DatasetVersion, WriteMode, WriteRule
from flight_server.flight_sql.use_cases import FlightSqlUseCases
from flight_server.options import FlightUseCases
from flight_server.service import SkeinFlightServer
from skein.directory import DataDirectory, Role
from skein.settings import load_settings
from skein.wiring.process import flight_server, open_skein

path = fl.FlightDescriptor.for_path
command = fl.FlightDescriptor.for_command


@dataclass
class FlightStack:
    server: SkeinFlightServer
    use_cases: FlightUseCases
    sql_use_cases: FlightSqlUseCases
    admission: Admission
    log: QueryLog

    def connect(self, **options) -> fl.FlightClient:
        return fl.connect(self.server.uri, **options)

    def write(self, name: str, table: pa.Table, mode: WriteMode = WriteMode.APPEND) -> DatasetVersion:
        return self.use_cases.write_dataset(
            DatasetName(name), NewRows(table.schema, table.to_batches()), WriteRule(mode), actor=LOCAL
        )


@contextmanager
def flight_stack(folder: Path, **settings) -> Iterator[FlightStack]:
    """`settings` are those of `Settings`. Unlike in `tests.stack`, the server itself can be reached."""
    directory, roles = DataDirectory(folder / "data"), {Role.FLIGHT}
    loaded = load_settings(**{"flight_port": 0, "memory_limit": "1GB", **settings, "data": directory.root})
    directory.prepare()
    with directory.claimed(roles), open_skein(loaded, directory, roles) as skein:
        server = flight_server(skein)
        try:
            yield FlightStack(
                server, skein.flight, skein.flight_sql, skein.control.queries.admission, skein.flight.queries
            )
        finally:
            server.stop(deadline_s=0)


def read(client: fl.FlightClient, descriptor: fl.FlightDescriptor) -> pa.Table:
    """What the descriptor's first endpoint streams."""
    return client.do_get(ticket_of(client, descriptor)).read_all()


def ticket_of(client: fl.FlightClient, descriptor: fl.FlightDescriptor) -> fl.Ticket:
    (endpoint,) = client.get_flight_info(descriptor).endpoints
    return endpoint.ticket
