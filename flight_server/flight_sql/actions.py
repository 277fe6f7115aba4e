"""The actions of Flight SQL, and how their bodies travel: in an Any, or bare where Flight itself has them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from flight_core.domain.errors import InvalidCommand
from flight_server.auth import Call
from flight_server.flight_sql.cancel import Cancel
from flight_server.flight_sql.prepared import PreparedStatements
from flight_server.flight_sql.session_options import SessionOptions
from flight_server.flight_sql.transactions import Transactions
from schemas.flight_sql import envelope, flight_pb2, sql_pb2


@dataclass(frozen=True, slots=True)
class Action:
    description: str
    request: type[Message]
    handle: Callable[[Call, Any], Iterator[Message | None]]

    def run(self, call: Call, body: bytes) -> Iterator[bytes]:
        """
        Raises:
            InvalidCommand: the body is something else.
        """
        wrapped = self.request.DESCRIPTOR.file is sql_pb2.DESCRIPTOR
        try:
            request = envelope.unpack(body) if wrapped else envelope.decode(self.request, body)
        except envelope.MalformedMessage as error:
            raise InvalidCommand(str(error)) from None
        if not isinstance(request, self.request):
            raise InvalidCommand(f"the body of the action is not a {self.request.DESCRIPTOR.name}")
        for answer in self.handle(call, request):
            if answer is not None:
                yield envelope.pack(answer) if wrapped else answer.SerializeToString()


def actions(
    prepared: PreparedStatements, transactions: Transactions, cancel: Cancel, options: SessionOptions
) -> dict[str, Action]:
    return {
        "CreatePreparedStatement": Action(
            "Prepare a statement; tells its parameters and the schema of its result.",
            sql_pb2.ActionCreatePreparedStatementRequest,
            prepared.create,
        ),
        "CreatePreparedSubstraitPlan": Action(
            "Not available: this server has no Substrait.",
            sql_pb2.ActionCreatePreparedSubstraitPlanRequest,
            prepared.create_from_plan,
        ),
        "ClosePreparedStatement": Action(
            "Forget a prepared statement.",
            sql_pb2.ActionClosePreparedStatementRequest,
            prepared.close,
        ),
        "BeginTransaction": Action(
            "Begin a transaction.", sql_pb2.ActionBeginTransactionRequest, transactions.begin
        ),
        "EndTransaction": Action(
            "Commit a transaction or roll it back.", sql_pb2.ActionEndTransactionRequest, transactions.end
        ),
        "BeginSavepoint": Action(
            "Not available: DuckDB has no savepoints.",
            sql_pb2.ActionBeginSavepointRequest,
            transactions.savepoint,
        ),
        "EndSavepoint": Action(
            "Not available: DuckDB has no savepoints.",
            sql_pb2.ActionEndSavepointRequest,
            transactions.savepoint,
        ),
        "CancelFlightInfo": Action(
            "Stop the query behind a FlightInfo.",
            flight_pb2.CancelFlightInfoRequest,
            cancel.cancel_flight_info,
        ),
        "CancelQuery": Action(
            "Stop the query behind a FlightInfo, the older way.",
            sql_pb2.ActionCancelQueryRequest,
            cancel.cancel_query,
        ),
        "RenewFlightEndpoint": Action(
            "Keep the ticket of an endpoint good for longer.",
            flight_pb2.RenewFlightEndpointRequest,
            cancel.renew,
        ),
        "SetSessionOptions": Action(
            "Change options of the session: catalog, schema, TimeZone and others.",
            flight_pb2.SetSessionOptionsRequest,
            options.set,
        ),
        "GetSessionOptions": Action(
            "The options of the session.", flight_pb2.GetSessionOptionsRequest, options.get
        ),
        "CloseSession": Action(
            "End the session: roll back and forget everything.",
            flight_pb2.CloseSessionRequest,
            options.close,
        ),
    }
