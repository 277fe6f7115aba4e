"""Bulk ingestion: an Arrow stream becomes rows of a table or of a dataset."""

import pyarrow.flight as fl

from flight_core.application.sessions.session import DOOR, ClientSession, SessionTransaction
from flight_core.application.writes.rows import NewRows
from flight_core.domain.errors import InvalidRequest
from flight_core.domain.query import IfExists, LoadMode, TableTarget
from flight_server.auth import Call
from flight_server.commands import write_command_of, write_rule
from flight_server.flight_sql.answers import answer_update
from flight_server.flight_sql.use_cases import FlightSqlUseCases, session_of
from flight_server.uploads import Upload, header_options
from schemas.flight_sql.sql_pb2 import CommandStatementIngest

_Options = CommandStatementIngest.TableDefinitionOptions

_IF_EXISTS = {
    _Options.TABLE_EXISTS_OPTION_FAIL: IfExists.FAIL,
    _Options.TABLE_EXISTS_OPTION_APPEND: IfExists.APPEND,
    _Options.TABLE_EXISTS_OPTION_REPLACE: IfExists.REPLACE,
}
_CREATE = {
    _Options.TABLE_NOT_EXIST_OPTION_CREATE: True,
    _Options.TABLE_NOT_EXIST_OPTION_FAIL: False,
}


class Ingest:
    def __init__(self, use_cases: FlightSqlUseCases) -> None:
        self._use_cases = use_cases

    def do_put(
        self,
        call: Call,
        command: CommandStatementIngest,
        reader: fl.MetadataRecordBatchReader,
        writer: fl.FlightMetadataWriter,
    ) -> None:
        target, mode = _target(command), _mode(command)
        upload = Upload(call, reader)
        session = session_of(call, self._use_cases.sessions)
        how = write_command_of(command.table, {**header_options(call), **command.options})
        count = self._use_cases.load(
            SessionTransaction(session, command.transaction_id or _meant_transaction(call, session)),
            target,
            NewRows(upload.schema(), upload, DOOR, message=how.message),
            mode,
            write_rule(how),
            actor=call.actor,
            started=call.scope.on_cancel,
        )
        answer_update(writer, count)


def _meant_transaction(call: Call, session: ClientSession) -> bytes | None:
    """ADBC's driver (1.13) forgets to name its transaction in bulk ingestion: its only one is meant.

    Without it a table that was dropped just before, in the transaction, would still exist.
    """
    agent = call.header("user-agent") or ""
    return session.connections.only_transaction() if agent.startswith("ADBC ") else None


def _target(command: CommandStatementIngest) -> TableTarget:
    if not command.table:
        raise InvalidRequest("the table to ingest into has no name")
    if command.temporary and (command.schema or command.catalog):
        raise InvalidRequest("a temporary table has no catalog and no schema; leave them out")
    return TableTarget(
        command.table, command.schema or None, command.catalog or None, temporary=command.temporary
    )


def _mode(command: CommandStatementIngest) -> LoadMode:
    wanted = command.table_definition_options
    create, if_exists = _CREATE.get(wanted.if_not_exist), _IF_EXISTS.get(wanted.if_exists)
    if create is None or if_exists is None:
        raise InvalidRequest(
            "say what to do if the table is missing (create, fail) and if it exists (fail, append, replace)"
        )
    if not create and if_exists is IfExists.FAIL:
        raise InvalidRequest("to fail if the table is missing and to fail if it exists cannot succeed")
    return LoadMode(create=create, if_exists=if_exists)
