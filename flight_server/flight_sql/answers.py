"""What becomes of a statement, as Flight clients are told."""

import pyarrow as pa
import pyarrow.flight as fl
from google.protobuf.message import Message

from flight_core.application.parts import SplitPlan
from flight_core.application.session_statements import SessionPlan, SessionResult
from flight_core.application.sessions import ClientSession
from flight_core.domain.query import Outcome, QueryPlan
from flight_server.tickets import MAX_INLINE_BYTES, TicketOffice
from schemas.flight import InfoMetadata
from schemas.flight_sql import envelope
from schemas.flight_sql.sql_pb2 import DoPutUpdateResult, TicketStatementQuery

_HEADROOM = 4096  # of an inline ticket, for what Arrow adds to the rows


class Answers:
    def __init__(self, tickets: TicketOffice, split: SplitPlan) -> None:
        self._tickets = tickets
        self._split = split

    def info(
        self,
        descriptor: fl.FlightDescriptor,
        session: ClientSession,
        answer: QueryPlan | SessionPlan | SessionResult,
        endpoints: int,
    ) -> fl.FlightInfo:
        """One endpoint at least: some clients fail without, even where there is nothing to fetch.

        `endpoints` is how many the client would like for a result that can be split.
        """
        match answer:
            case QueryPlan():
                tickets = [self._tickets.for_plan(part) for part in self._split(answer, endpoints)]
                return _info(descriptor, answer.schema, tickets, answer.query_id)
            case SessionPlan():
                return _info(descriptor, answer.schema, [_ticket(answer.handle)], answer.query_id)
            case SessionResult():
                table = answer.outcome.table
                small = table.nbytes + _HEADROOM <= MAX_INLINE_BYTES
                ticket = self._tickets.for_result(table) if small else _ticket(session.hold(table))
                return _info(descriptor, table.schema, [ticket], answer.query_id, answer.outcome)


def own_ticket(command: Message, schema: pa.Schema, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
    """Of a command that is its own ticket, so that any replica can answer it at any time."""
    return fl.FlightInfo(schema, descriptor, [fl.FlightEndpoint(envelope.pack(command), [])])


def changed_rows(outcome: Outcome) -> int:
    """0 for statements that change none, -1 if it is unknown."""
    if outcome.affected_rows is not None:
        return outcome.affected_rows
    return -1 if outcome.table.num_columns else 0


def answer_update(writer: fl.FlightMetadataWriter, rows: int) -> None:
    writer.write(pa.py_buffer(DoPutUpdateResult(record_count=rows).SerializeToString()))


def _info(
    descriptor: fl.FlightDescriptor,
    schema: pa.Schema,
    tickets: list[bytes],
    query_id: str,
    outcome: Outcome | None = None,
) -> fl.FlightInfo:
    affected = outcome.affected_rows if outcome else None
    metadata = InfoMetadata(query_id=query_id, affected_rows=affected)
    return fl.FlightInfo(
        schema,
        descriptor,
        [fl.FlightEndpoint(ticket, []) for ticket in tickets],
        total_records=-1 if affected is None else affected,
        ordered=len(tickets) > 1,
        app_metadata=metadata.model_dump_json(exclude_none=True),
    )


def _ticket(handle: bytes) -> bytes:
    return envelope.pack(TicketStatementQuery(statement_handle=handle))
