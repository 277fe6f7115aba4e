"""Prepared statements: looked at once, run many times, with parameters of any Arrow type."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.application.sessions.session import (
    BoundStatement,
    ClientSession,
    Prepared,
    SessionTransaction,
)
from flight_core.domain.query import Statement
from flight_server.auth import Call
from flight_server.flight_sql.answers import Answers, answer_update, changed_rows
from flight_server.flight_sql.bindings import read_bindings
from flight_server.flight_sql.partitions import wanted_endpoints
from flight_server.flight_sql.substrait import no_substrait
from flight_server.flight_sql.use_cases import FlightSqlUseCases, session_holding, session_of
from flight_server.uploads import send_result
from schemas.flight_sql.sql_pb2 import (
    ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult,
    ActionCreatePreparedSubstraitPlanRequest,
    CommandPreparedStatementQuery,
    CommandPreparedStatementUpdate,
    DoPutPreparedStatementResult,
)


class PreparedStatements:
    def __init__(self, use_cases: FlightSqlUseCases, answers: Answers) -> None:
        self._use_cases = use_cases
        self._answers = answers

    def create(
        self, call: Call, request: ActionCreatePreparedStatementRequest
    ) -> Iterator[ActionCreatePreparedStatementResult]:
        session = session_of(call, self._use_cases.sessions)
        transaction = request.transaction_id
        info = self._use_cases.inspect(
            SessionTransaction(session, transaction), Statement(request.query), actor=call.actor
        )
        prepared = session.prepare(request.query, info, transaction)
        yield ActionCreatePreparedStatementResult(
            prepared_statement_handle=prepared.handle,
            dataset_schema=info.schema.serialize().to_pybytes() if info.schema is not None else b"",
            parameter_schema=info.parameters.serialize().to_pybytes(),
            is_update=not info.may_return_rows,
        )

    def create_from_plan(
        self, call: Call, request: ActionCreatePreparedSubstraitPlanRequest
    ) -> Iterator[ActionCreatePreparedStatementResult]:
        raise no_substrait()

    def close(self, call: Call, request: ActionClosePreparedStatementRequest) -> Iterator[None]:
        handle = request.prepared_statement_handle
        session_holding(handle, call, self._use_cases.sessions).unprepare(handle)
        yield from ()

    def get_flight_info(
        self, call: Call, command: CommandPreparedStatementQuery, descriptor: fl.FlightDescriptor
    ) -> fl.FlightInfo:
        session, prepared = self._prepared(call, command.prepared_statement_handle)
        answer = self._use_cases.answer(
            SessionTransaction(session, prepared.transaction),
            BoundStatement(prepared.sql, prepared.bindings),
            actor=call.actor,
            started=call.scope.on_cancel,
        )
        return self._answers.info(descriptor, session, answer, wanted_endpoints(call, session))

    def get_schema(self, call: Call, command: CommandPreparedStatementQuery) -> pa.Schema:
        session, prepared = self._prepared(call, command.prepared_statement_handle)
        info = prepared.info
        if prepared.bindings is not None:  # whose types may be those of columns
            transaction = SessionTransaction(session, prepared.transaction)
            bound = BoundStatement(prepared.sql, prepared.bindings).first()
            info = self._use_cases.inspect(transaction, bound, actor=call.actor)
        return info.schema or pa.schema([])

    def bind(
        self,
        call: Call,
        command: CommandPreparedStatementQuery,
        reader: fl.MetadataRecordBatchReader,
        writer: fl.FlightMetadataWriter,
    ) -> None:
        """Keep the rows for the runs to come. The handle stays: not all clients take a new one."""
        session, prepared = self._prepared(call, command.prepared_statement_handle)
        bindings = read_bindings(reader, prepared.info.parameters)
        self._use_cases.sessions.bind(session, prepared, bindings, call.actor)
        answer = DoPutPreparedStatementResult(prepared_statement_handle=prepared.handle)
        send_result(writer, answer.SerializeToString())

    def update(
        self,
        call: Call,
        command: CommandPreparedStatementUpdate,
        reader: fl.MetadataRecordBatchReader,
        writer: fl.FlightMetadataWriter,
    ) -> None:
        session, prepared = self._prepared(call, command.prepared_statement_handle)
        bindings = read_bindings(reader, prepared.info.parameters)
        result = self._use_cases.answer.run(
            SessionTransaction(session, prepared.transaction),
            BoundStatement(prepared.sql, prepared.bindings if bindings is None else bindings),
            actor=call.actor,
            started=call.scope.on_cancel,
        )
        answer_update(writer, changed_rows(result.outcome))

    def _prepared(self, call: Call, handle: bytes) -> tuple[ClientSession, Prepared]:
        session = session_holding(handle, call, self._use_cases.sessions)
        return session, session.prepared(handle)
