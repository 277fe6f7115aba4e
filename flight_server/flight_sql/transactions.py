"""Transactions begun and ended by calls of their own. DuckDB has no savepoints."""

from collections.abc import Iterator

from flight_core.application.access.rights import require
from flight_core.domain.access import Scope
from flight_core.domain.errors import InvalidRequest, Unsupported
from flight_server.auth import Call
from flight_server.flight_sql.use_cases import FlightSqlUseCases, session_holding, session_of
from schemas.flight_sql.sql_pb2 import (
    ActionBeginSavepointRequest,
    ActionBeginTransactionRequest,
    ActionBeginTransactionResult,
    ActionEndSavepointRequest,
    ActionEndTransactionRequest,
)

_ENDINGS = {
    ActionEndTransactionRequest.END_TRANSACTION_COMMIT: True,
    ActionEndTransactionRequest.END_TRANSACTION_ROLLBACK: False,
}


class Transactions:
    def __init__(self, use_cases: FlightSqlUseCases) -> None:
        self._use_cases = use_cases

    def begin(
        self, call: Call, request: ActionBeginTransactionRequest
    ) -> Iterator[ActionBeginTransactionResult]:
        require(call.actor, Scope.READ)
        session = session_of(call, self._use_cases.sessions)
        yield ActionBeginTransactionResult(transaction_id=session.connections.begin())

    def end(self, call: Call, request: ActionEndTransactionRequest) -> Iterator[None]:
        commit = _ENDINGS.get(request.action)
        if commit is None:
            raise InvalidRequest(
                f"a transaction can be committed (1) or rolled back (2), not {request.action}"
            )
        handle = request.transaction_id
        session_holding(handle, call, self._use_cases.sessions).connections.end(handle, commit=commit)
        yield from ()

    def savepoint(
        self, call: Call, request: ActionBeginSavepointRequest | ActionEndSavepointRequest
    ) -> Iterator[None]:
        raise Unsupported("DuckDB has no savepoints; use a transaction of its own for each part")
