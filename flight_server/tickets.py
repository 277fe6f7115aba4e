"""Plans and results into tickets and back."""

import time
from dataclasses import dataclass

import pyarrow as pa

from flight_core.application.queries.parameters import pack, unpack
from flight_core.domain.arrow import ipc_stream
from flight_core.domain.dataset import VersionRef
from flight_core.domain.errors import InvalidTicket, LimitExceeded
from flight_core.domain.query import Part, Pins, QueryPlan, Statement
from flight_server.options import FlightOptions
from schemas.tickets import BadTicket, InlineTicket, QueryTicket, TicketSealer

# A ticket travels twice, in messages that some clients cap at 4 MiB.
MAX_INLINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PlannedRead:
    """What `QueryPlan` holds of a read, apart from the schema, which running it tells."""

    query_id: str
    statement: Statement
    pins: Pins


class TicketOffice:
    """Thread-safe; keeps nothing: every server with the same key opens the tickets of the others."""

    def __init__(self, options: FlightOptions) -> None:
        self._sealer = TicketSealer(options.ticket_key)
        self._ttl_s = options.ticket_ttl_s

    def for_plan(self, plan: QueryPlan) -> bytes:
        """Raises InvalidParameters for values that cannot travel."""
        part = plan.statement.part
        return self._seal(
            QueryTicket(
                query_id=plan.query_id,
                sql=plan.statement.sql,
                parameters=pack(plan.statement.parameters),
                pins={key: (ref.dataset_id, ref.version) for key, ref in plan.pins.items()},
                row_limit=plan.statement.row_limit,
                narrow_decimals=plan.statement.narrow_decimals,
                part=(part.index, part.count) if part else None,
            )
        )

    def for_result(self, table: pa.Table) -> bytes:
        """A ticket that holds a small result, of a statement that may run only once.

        Raises:
            LimitExceeded: it is larger than MAX_INLINE_BYTES.
        """
        result = ipc_stream(table)
        if result.size > MAX_INLINE_BYTES:
            raise LimitExceeded(
                f"the statement was carried out, but the {table.num_rows} rows it returned are"
                f" {result.size} bytes; at most {MAX_INLINE_BYTES} can be returned by a statement that"
                " changes data: read them with a SELECT, or name the values of a PIVOT with IN (...)"
            )
        return self._seal(InlineTicket(result.to_pybytes()))

    def open(self, ticket: bytes) -> PlannedRead | pa.Table:
        """
        Raises:
            InvalidTicket: it is not ours, damaged or out of date.
        """
        try:
            opened = self._sealer.open(ticket)
        except BadTicket as error:
            raise InvalidTicket(f"{error}; get a new one with GetFlightInfo") from None
        if isinstance(opened, InlineTicket):
            return pa.ipc.open_stream(opened.result).read_all()
        statement = Statement(
            opened.sql,
            unpack(opened.parameters),
            opened.row_limit,
            opened.narrow_decimals,
            Part(*opened.part) if opened.part else None,
        )
        pins = {key: VersionRef(dataset_id, version) for key, (dataset_id, version) in opened.pins.items()}
        return PlannedRead(opened.query_id, statement, pins)

    def _seal(self, ticket: QueryTicket | InlineTicket) -> bytes:
        return self._sealer.seal(ticket, expires_at=int(time.time() + self._ttl_s))
