"""DoExchange: a live query over Flight. Nothing is read from the client; it ends the call by leaving."""

import threading
from collections.abc import Callable

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.application.ports.clock import new_id
from flight_core.application.queries.live import FollowQuery, LiveQuery, LiveResult
from flight_core.application.queries.log import QueryLog
from flight_core.domain.errors import EngineUnavailable, InvalidCommand, SchemaMismatch
from flight_core.domain.lineage import versions_read
from flight_core.domain.query import Statement, as_parameters
from flight_server.auth import DOOR, Call
from flight_server.commands import parse
from flight_server.streams import Streams, write_options
from schemas.live import LiveSubscription, ResultMetadata, SubscribeMessage

_POLL_S = 0.1

_FORM = 'DoExchange takes a command such as {"subscribe": {"sql": "SELECT ..."}}'


class LiveExchanges:
    """Those of one server. `stop` ends them all."""

    def __init__(self, follow_query: FollowQuery, queries: QueryLog, streams: Streams) -> None:
        self._follow_query = follow_query
        self._queries = queries
        self._streams = streams
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run(self, call: Call, descriptor: fl.FlightDescriptor, writer: fl.MetadataRecordBatchWriter) -> None:
        """Until the client leaves. Raises as `LiveQuery.open`, and

        Raises:
            InvalidCommand: the descriptor asks for something else.
            SchemaMismatch: the columns of the result are not those that the stream began with.
            EngineUnavailable: the server stops.
            Unauthenticated: the caller may not go on.
        """
        asked = _asked(descriptor)
        live = self._follow_query(
            Statement(asked.sql, as_parameters(asked.params), asked.limit),
            actor=call.actor,
            door=DOOR,
            whole=asked.mode == "refresh",
        )
        exchange = _Exchange(call, live, writer, self._queries, self._streams)
        call.scope.probe(exchange.probe)
        while not exchange.gone.wait(0):
            if self._stopping.is_set():
                raise EngineUnavailable("the server stops; follow the query again in a moment")
            due = live.changed()
            if due:
                exchange.send_result()
            exchange.gone.wait(max(_POLL_S, asked.interval_ms / 1000) if due else _POLL_S)
        call.scope.check()


class _Exchange:
    def __init__(
        self,
        call: Call,
        live: LiveQuery,
        writer: fl.MetadataRecordBatchWriter,
        queries: QueryLog,
        streams: Streams,
    ) -> None:
        self.gone = threading.Event()
        self._call = call
        self._live = live
        self._writer = writer
        self._queries = queries
        self._streams = streams
        self._schema: pa.Schema | None = None
        self._number = 0
        self._query_id = ""
        self._probe_pull: Callable[[bool], None] = _nothing

    def probe(self, gone: bool) -> None:
        """From the watcher's thread."""
        self._probe_pull(gone)
        if gone:
            self.gone.set()
            self._queries.stop(self._query_id, actor=self._call.actor)

    def send_result(self) -> None:
        self._query_id = new_id()
        result = self._live.open(self._query_id)
        with result.running:
            self._begin(result.running.schema)
            self._number += 1
            pull = self._streams.pull(self._call, result.running)
            self._probe_pull = pull.probe
            sent = 0
            for batch in pull.batches():
                self._write(batch, result, sent, last=False)
                sent += 1
            self._probe_pull = _nothing
        end = pa.RecordBatch.from_pylist([], result.running.schema)
        self._write(end, result, sent, last=True)

    def _begin(self, schema: pa.Schema) -> None:
        if self._schema is None:
            self._schema = schema
            self._writer.begin(schema, options=write_options(self._call))
        elif not self._schema.equals(schema):
            raise SchemaMismatch(
                "the columns of the result have changed, and those of a stream cannot; follow the query again"
            )

    def _write(self, batch: pa.RecordBatch, result: LiveResult, number: int, *, last: bool) -> None:
        about = ResultMetadata(
            number=self._number,
            mode="append" if result.added else "refresh",
            datasets=versions_read(result.pins),
            batch=number,
            last=last,
        )
        try:
            self._writer.write_with_metadata(batch, pa.py_buffer(about.model_dump_json().encode()))
        except (pa.ArrowException, fl.FlightError, OSError):
            if not self._call.context.is_cancelled():
                raise
            self.gone.set()


def _nothing(_gone: bool) -> None:
    """Between results nothing has to be watched."""


def _asked(descriptor: fl.FlightDescriptor) -> LiveSubscription:
    if descriptor.command is None:
        raise InvalidCommand(_FORM)
    asked = parse(SubscribeMessage, descriptor.command).subscribe
    if asked.credits is not None:
        raise InvalidCommand(
            "'credits' go with WebSockets; Flight sends no more than the client reads, so leave them out"
        )
    return asked
