"""Stopping exactly the query behind a ticket, and keeping its endpoints good for longer."""

import time
from collections.abc import Iterator

import pyarrow as pa

from flight_core.application.sessions.session import SessionRead
from flight_core.domain.errors import InvalidCommand, InvalidTicket, QueryNotFound
from flight_core.domain.query import QueryPlan
from flight_server.auth import Call
from flight_server.flight_sql.use_cases import FlightSqlUseCases, session_holding
from flight_server.tickets import PlannedRead, TicketOffice
from schemas.flight_sql import envelope
from schemas.flight_sql.flight_pb2 import (
    CANCEL_STATUS_CANCELLED,
    CANCEL_STATUS_NOT_CANCELLABLE,
    CancelFlightInfoRequest,
    CancelFlightInfoResult,
    FlightEndpoint,
    FlightInfo,
    RenewFlightEndpointRequest,
)
from schemas.flight_sql.sql_pb2 import (
    ActionCancelQueryRequest,
    ActionCancelQueryResult,
    TicketStatementQuery,
)


class Cancel:
    def __init__(self, use_cases: FlightSqlUseCases, tickets: TicketOffice, ttl_s: float) -> None:
        self._use_cases = use_cases
        self._tickets = tickets
        self._ttl_s = ttl_s

    def cancel_flight_info(
        self, call: Call, request: CancelFlightInfoRequest
    ) -> Iterator[CancelFlightInfoResult]:
        stopped = self._cancel(call, request.info)
        yield CancelFlightInfoResult(
            status=CANCEL_STATUS_CANCELLED if stopped else CANCEL_STATUS_NOT_CANCELLABLE
        )

    def cancel_query(
        self, call: Call, request: ActionCancelQueryRequest
    ) -> Iterator[ActionCancelQueryResult]:
        try:
            info = envelope.decode(FlightInfo, request.info)
        except envelope.MalformedMessage as error:
            raise InvalidCommand(str(error)) from None
        stopped = self._cancel(call, info)
        results = ActionCancelQueryResult
        yield results(
            result=results.CANCEL_RESULT_CANCELLED if stopped else results.CANCEL_RESULT_NOT_CANCELLABLE
        )

    def renew(self, call: Call, request: RenewFlightEndpointRequest) -> Iterator[FlightEndpoint]:
        endpoint = FlightEndpoint()
        endpoint.CopyFrom(request.endpoint)
        match self._opened(call, endpoint.ticket.ticket):
            case PlannedRead(query_id, statement, pins):
                plan = QueryPlan(query_id, statement, pa.schema([]), pins)
                endpoint.ticket.ticket = self._tickets.for_plan(plan)
            case pa.Table() as result if envelope.unpack(endpoint.ticket.ticket) is None:
                endpoint.ticket.ticket = self._tickets.for_result(result)
            case _:
                pass  # held by the session, which being used keeps alive, or good for ever
        endpoint.expiration_time.FromSeconds(int(time.time() + self._ttl_s))
        yield endpoint

    def _cancel(self, call: Call, info: FlightInfo) -> bool:
        """Whether anything was stopped, or kept from starting."""
        queries = [self._query_id(call, endpoint.ticket.ticket) for endpoint in info.endpoint]
        stopped = [self._stop(call, query_id) for query_id in queries if query_id is not None]
        return any(stopped)

    def _stop(self, call: Call, query_id: str) -> bool:
        try:
            return self._use_cases.cancel(query_id, actor=call.actor)
        except QueryNotFound:
            self._use_cases.queries.refuse(query_id, actor=call.actor)
            return True

    def _query_id(self, call: Call, ticket: bytes) -> str | None:
        """None where there is no query to stop: the ticket holds or names a result that is there already."""
        opened = self._opened(call, ticket)
        return opened.query_id if isinstance(opened, SessionRead | PlannedRead) else None

    def _opened(self, call: Call, ticket: bytes) -> SessionRead | PlannedRead | pa.Table | None:
        """What a ticket stands for; None for a metadata command.

        Raises:
            InvalidTicket, HandleNotFound
        """
        try:
            message = envelope.unpack(ticket)
        except envelope.MalformedMessage as error:
            raise InvalidTicket(str(error)) from None
        if message is None:
            return self._tickets.open(ticket)
        if not isinstance(message, TicketStatementQuery):
            return None
        handle = message.statement_handle
        return session_holding(handle, call, self._use_cases.sessions).held(handle)
