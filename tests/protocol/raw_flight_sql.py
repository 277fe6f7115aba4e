"""Flight SQL spoken by hand over pyarrow.flight, message by message."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from schemas.flight_sql import envelope, flight_pb2, sql_pb2


class RawFlightSql:
    """One client; pyarrow gives each a connection, and so a session, of its own."""

    def __init__(self, client: fl.FlightClient, headers: dict[str, str]) -> None:
        self.client = client
        self._options = fl.FlightCallOptions(
            headers=[(name.encode(), value.encode()) for name, value in headers.items()]
        )

    # --- the four RPCs ---

    def info(self, command: Any) -> fl.FlightInfo:
        return self.client.get_flight_info(_descriptor(command), self._options)

    def schema(self, command: Any) -> pa.Schema:
        return self.client.get_schema(_descriptor(command), self._options).schema

    def fetch(self, info: fl.FlightInfo) -> pa.Table:
        """All endpoints, one after the other."""
        tables = [self.get(endpoint.ticket) for endpoint in info.endpoints]
        return pa.concat_tables(tables)

    def get(self, ticket: fl.Ticket) -> pa.Table:
        return self.client.do_get(ticket, self._options).read_all()

    def put(self, command: Any, rows: pa.Table | None = None) -> bytes | None:
        """The metadata that answers. Without rows an empty schema is sent, as C++ clients do."""
        table = pa.table({}) if rows is None else rows
        writer, reader = self.client.do_put(_descriptor(command), table.schema, self._options)
        with writer:
            if rows is not None:
                writer.write_table(rows)
            writer.done_writing()
            answer = reader.read()
        return None if answer is None else answer.to_pybytes()

    def action(self, name: str, request: Any) -> Iterator[bytes]:
        body = (
            envelope.pack(request)
            if type(request).DESCRIPTOR.file is sql_pb2.DESCRIPTOR
            else request.SerializeToString()
        )
        for result in self.client.do_action(fl.Action(name, body), self._options):
            yield result.body.to_pybytes()

    # --- what clients do with them ---

    def execute(self, sql: str, transaction: bytes | None = None) -> fl.FlightInfo:
        return self.info(sql_pb2.CommandStatementQuery(query=sql, transaction_id=transaction))

    def query(self, sql: str, transaction: bytes | None = None) -> pa.Table:
        return self.fetch(self.execute(sql, transaction))

    def rows(self, sql: str, transaction: bytes | None = None) -> list[tuple]:
        return [tuple(row.values()) for row in self.query(sql, transaction).to_pylist()]

    def update(self, sql: str, transaction: bytes | None = None) -> int:
        answer = self.put(sql_pb2.CommandStatementUpdate(query=sql, transaction_id=transaction))
        return record_count(answer)

    def prepare(
        self, sql: str, transaction: bytes | None = None
    ) -> sql_pb2.ActionCreatePreparedStatementResult:
        request = sql_pb2.ActionCreatePreparedStatementRequest(query=sql, transaction_id=transaction)
        (body,) = self.action("CreatePreparedStatement", request)
        return _unpacked(body)

    def bind(self, handle: bytes, rows: pa.Table) -> bytes:
        """The handle to go on with."""
        answer = self.put(sql_pb2.CommandPreparedStatementQuery(prepared_statement_handle=handle), rows)
        message = sql_pb2.DoPutPreparedStatementResult.FromString(answer)
        return message.prepared_statement_handle

    def run_prepared(self, handle: bytes) -> fl.FlightInfo:
        return self.info(sql_pb2.CommandPreparedStatementQuery(prepared_statement_handle=handle))

    def update_prepared(self, handle: bytes, rows: pa.Table | None = None) -> int:
        answer = self.put(sql_pb2.CommandPreparedStatementUpdate(prepared_statement_handle=handle), rows)
        return record_count(answer)

    def close_prepared(self, handle: bytes) -> None:
        request = sql_pb2.ActionClosePreparedStatementRequest(prepared_statement_handle=handle)
        assert list(self.action("ClosePreparedStatement", request)) == []

    def begin(self) -> bytes:
        (body,) = self.action("BeginTransaction", sql_pb2.ActionBeginTransactionRequest())
        return _unpacked(body).transaction_id

    def end(self, transaction: bytes, action: int) -> None:
        request = sql_pb2.ActionEndTransactionRequest(transaction_id=transaction, action=action)
        assert list(self.action("EndTransaction", request)) == []

    def commit(self, transaction: bytes) -> None:
        self.end(transaction, sql_pb2.ActionEndTransactionRequest.END_TRANSACTION_COMMIT)

    def rollback(self, transaction: bytes) -> None:
        self.end(transaction, sql_pb2.ActionEndTransactionRequest.END_TRANSACTION_ROLLBACK)

    def cancel(self, info: fl.FlightInfo) -> int:
        request = flight_pb2.CancelFlightInfoRequest()
        request.info.ParseFromString(info.serialize())
        (body,) = self.action("CancelFlightInfo", request)
        return flight_pb2.CancelFlightInfoResult.FromString(body).status

    def metadata(self, command: Any) -> pa.Table:
        """Checks that info, GetSchema and the stream agree on the schema."""
        info = self.info(command)
        table = self.fetch(info)
        assert info.schema.equals(table.schema, check_metadata=True)
        assert self.schema(command).equals(table.schema, check_metadata=True)
        return table


def record_count(answer: bytes | None) -> int:
    assert answer is not None
    return sql_pb2.DoPutUpdateResult.FromString(answer).record_count


def schema_of(data: bytes) -> pa.Schema:
    """Of an IPC message; no bytes are no fields."""
    return pa.ipc.read_schema(pa.py_buffer(data)) if data else pa.schema([])


def _descriptor(command: Any) -> fl.FlightDescriptor:
    data = command if isinstance(command, bytes) else envelope.pack(command)
    return fl.FlightDescriptor.for_command(data)


def _unpacked(body: bytes) -> Any:
    message = envelope.unpack(body)
    assert message is not None
    return message
