"""What becomes of a statement, as Flight clients are told."""

import time
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
from google.protobuf.message import Message

from flight_core.application.queries.parts import SplitPlan
from flight_core.application.sessions.session import ClientSession
from flight_core.application.sessions.statements import SessionPlan, SessionResult
from flight_core.domain.errors import LimitExceeded
from flight_core.domain.query import Outcome, QueryPlan
from flight_server.tickets import MAX_INLINE_BYTES, TicketOffice
from flight_server.uploads import send_result
from schemas.flight import InfoMetadata
from schemas.flight_sql import envelope
from schemas.flight_sql.sql_pb2 import DoPutUpdateResult, TicketStatementQuery

_MOMENT = pa.timestamp("ns", "UTC")


class Answers:
    def __init__(self, tickets: TicketOffice, split: SplitPlan, ticket_ttl_s: float) -> None:
        self._tickets = tickets
        self._split = split
        self._ticket_ttl_s = ticket_ttl_s

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
                parts = [
                    self._sealed(self._tickets.for_plan(part)) for part in self._split(answer, endpoints)
                ]
                cached_rows = answer.cached_rows if len(parts) == 1 else None
                return _info(descriptor, answer.schema, parts, answer.query_id, cached_rows=cached_rows)
            case SessionPlan():
                return _info(descriptor, answer.schema, [_held(answer.handle)], answer.query_id)
            case SessionResult():
                table = answer.outcome.table
                endpoint = self._inline(table) or _held(session.hold(table))
                return _info(descriptor, table.schema, [endpoint], answer.query_id, answer.outcome)

    def _inline(self, table: pa.Table) -> fl.FlightEndpoint | None:
        """With the result in the ticket; None if it is too large for one."""
        if table.nbytes > MAX_INLINE_BYTES:
            return None
        with suppress(LimitExceeded):
            return self._sealed(self._tickets.for_result(table))
        return None

    def _sealed(self, ticket: bytes) -> fl.FlightEndpoint:
        expires_at: Any = pa.scalar(int(time.time() + self._ticket_ttl_s) * 1_000_000_000, _MOMENT)
        return fl.FlightEndpoint(ticket, [], expires_at)


def own_ticket(command: Message, schema: pa.Schema, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
    """Of a command that is its own ticket, so that any replica can answer it at any time."""
    return fl.FlightInfo(schema, descriptor, [fl.FlightEndpoint(envelope.pack(command), [])])


def changed_rows(outcome: Outcome) -> int:
    """0 for statements that change none, -1 if it is unknown."""
    if outcome.affected_rows is not None:
        return outcome.affected_rows
    return -1 if outcome.table.num_columns else 0


def answer_update(writer: fl.FlightMetadataWriter, rows: int) -> None:
    send_result(writer, DoPutUpdateResult(record_count=rows).SerializeToString())


def _info(
    descriptor: fl.FlightDescriptor,
    schema: pa.Schema,
    endpoints: list[fl.FlightEndpoint],
    query_id: str,
    outcome: Outcome | None = None,
    *,
    cached_rows: int | None = None,
) -> fl.FlightInfo:
    affected = outcome.affected_rows if outcome else None
    metadata = InfoMetadata(query_id=query_id, affected_rows=affected, cached=cached_rows is not None or None)
    known_rows = affected if outcome else cached_rows
    return fl.FlightInfo(
        schema,
        descriptor,
        endpoints,
        total_records=-1 if known_rows is None else known_rows,
        ordered=len(endpoints) > 1,
        app_metadata=metadata.model_dump_json(exclude_none=True),
    )


def _held(handle: bytes) -> fl.FlightEndpoint:
    """Of what the session holds, for as long as it lives."""
    return fl.FlightEndpoint(envelope.pack(TicketStatementQuery(statement_handle=handle)), [])
