"""What the Flight server is given: limits, keys, and the use cases it opens to the network."""

from dataclasses import dataclass, field

from flight_core.application.access.gate import Gate
from flight_core.application.datasets.describe import DescribeDataset, GetDataset, ListDatasets
from flight_core.application.datasets.drop import DropDataset
from flight_core.application.ports.tracing import UNTRACED, Tracer
from flight_core.application.queries.inspect import InspectStatement
from flight_core.application.queries.live import FollowQuery
from flight_core.application.queries.log import CancelQuery, QueryLog
from flight_core.application.queries.reads import OpenQuery, PlanQuery
from flight_core.application.writes.rows import WriteDataset
from flight_core.application.writes.statements import RunStatement


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """PEM texts. With `root_certs` and `verify_client`, clients must show a certificate too."""

    cert_chain: bytes
    private_key: bytes = field(repr=False)
    root_certs: bytes | None = None
    verify_client: bool = False


@dataclass(frozen=True, slots=True)
class FlightOptions:
    """`batch_bytes` is what one message holds, and half as much again where rows differ in size: there are
    clients that refuse 4 MiB.

    `stall_timeout_s` is how long a client may leave a stream unread before its query is stopped.
    """

    ticket_key: bytes = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    tls: TlsOptions | None = None
    version: str = "0"
    batch_bytes: int = 2 << 20
    stall_timeout_s: float = 600.0
    ticket_ttl_s: float = 86_400.0
    tracer: Tracer = UNTRACED


@dataclass(frozen=True, slots=True)
class FlightUseCases:
    gate: Gate
    list_datasets: ListDatasets
    get_dataset: GetDataset
    describe_dataset: DescribeDataset
    drop_dataset: DropDataset
    write_dataset: WriteDataset
    plan_query: PlanQuery
    open_query: OpenQuery
    follow_query: FollowQuery
    inspect_statement: InspectStatement
    run_statement: RunStatement
    cancel_query: CancelQuery
    queries: QueryLog
