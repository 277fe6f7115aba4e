"""The Flight service: recognise the caller, find out what is meant, let a use case do it."""

import logging
import threading
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.application.access.gate import Gate
from flight_core.application.ports.tracing import UNTRACED, Tracer
from flight_core.domain.errors import InvalidOption
from flight_server.auth import MIDDLEWARE, AuthMiddleware, Call, OpenHandshake, call_of
from flight_server.calls import Watcher
from flight_server.connections import cut_connections
from flight_server.errors import flight_errors, keep_tracebacks_home
from flight_server.flight_sql.dispatch import FlightSql
from flight_server.options import FlightOptions, FlightUseCases, TlsOptions
from flight_server.plain import PlainFlight
from flight_server.tracing import MIDDLEWARE as TRACING
from flight_server.tracing import TracingMiddleware, traced

logger = logging.getLogger(__name__)

_GRACE_S = 1.0


class SkeinFlightServer(fl.FlightServerBase):
    """Listens from construction on, until `stop`; there is no need to call `serve`.

    What parses as a Flight SQL message goes to `flight_sql`, all else to the plain commands of Skein.

    Raises:
        InvalidOption: it cannot listen where it should.
    """

    # Where types are ignored, the stubs of pyarrow are wrong about what a method takes and returns.

    def __init__(self, use_cases: FlightUseCases, options: FlightOptions, flight_sql: FlightSql) -> None:
        keep_tracebacks_home()
        self._host = f"[{options.host}]" if ":" in options.host else options.host
        self._scheme = "grpc+tls" if options.tls else "grpc"
        self._flight_sql = flight_sql
        self._plain = PlainFlight(use_cases, options)
        self._watcher = Watcher()
        try:
            super().__init__(
                (self._host, options.port),
                auth_handler=OpenHandshake(),
                middleware=_middleware(use_cases.gate, options.tracer),
                **_tls(options.tls),
            )
        except pa.ArrowException:
            self._watcher.close()
            self.__dict__.clear()  # Flight never lets go of a server that did not start
            raise InvalidOption(
                f"cannot listen on {options.host}:{options.port}: the port is taken or not allowed, or the"
                " address is not one of this machine; set SKEIN_FLIGHT_PORT or SKEIN_HOST"
            ) from None

    @property
    def uri(self) -> str:
        """What clients connect to."""
        return f"{self._scheme}://{self._host}:{self.port}"

    @property
    def running_calls(self) -> int:
        return self._watcher.running

    def stop(self, deadline_s: float = 10.0) -> bool:
        """Refuse new calls, give running ones `deadline_s` seconds, then stop their queries, and at
        last their connections.

        False where a call would still not end: the process has to be left with `os._exit` then.
        Flight's own `shutdown` waits for ever for a client that does not read.
        """
        port = self.port
        self._plain.exchanges.stop()
        ending = threading.Thread(target=self.shutdown, name="flight-shutdown", daemon=True)
        ending.start()
        ending.join(deadline_s)
        if ending.is_alive():
            self._watcher.cancel_all()
            ending.join(_GRACE_S)
        if ending.is_alive():
            logger.warning("cutting %d connections", cut_connections(port))
            ending.join(_GRACE_S)
        self._watcher.close()
        return not ending.is_alive()

    @traced
    @flight_errors()
    def get_flight_info(
        self, context: fl.ServerCallContext, descriptor: fl.FlightDescriptor
    ) -> fl.FlightInfo:
        call = self._call(context)
        if (message := self._flight_sql.parse(descriptor.command or b"")) is not None:
            return self._flight_sql.get_flight_info(call.over_flight_sql(), message, descriptor)
        return self._plain.get_flight_info(call, descriptor)

    @traced
    @flight_errors()
    def get_schema(  # type: ignore[override]
        self, context: fl.ServerCallContext, descriptor: fl.FlightDescriptor
    ) -> fl.SchemaResult:
        call = self._call(context)
        if (message := self._flight_sql.parse(descriptor.command or b"")) is not None:
            return fl.SchemaResult(self._flight_sql.get_schema(call.over_flight_sql(), message))
        return fl.SchemaResult(self._plain.get_schema(call, descriptor))

    @traced
    @flight_errors()
    def do_get(self, context: fl.ServerCallContext, ticket: fl.Ticket) -> fl.FlightDataStream:
        call = self._call(context)
        if (message := self._flight_sql.parse(ticket.ticket)) is not None:
            return self._flight_sql.do_get(call.over_flight_sql(), message)
        return self._plain.do_get(call, ticket.ticket)

    @traced
    @flight_errors()
    def do_put(
        self,
        context: fl.ServerCallContext,
        descriptor: fl.FlightDescriptor,
        reader: fl.MetadataRecordBatchReader,
        writer: fl.FlightMetadataWriter,
    ) -> None:
        call = self._call(context)
        if (message := self._flight_sql.parse(descriptor.command or b"")) is not None:
            self._flight_sql.do_put(call.over_flight_sql(), message, reader, writer)
        else:
            self._plain.do_put(call, descriptor, reader, writer)

    @traced
    @flight_errors()
    def do_exchange(
        self,
        context: fl.ServerCallContext,
        descriptor: fl.FlightDescriptor,
        reader: fl.MetadataRecordBatchReader,
        writer: fl.MetadataRecordBatchWriter,
    ) -> None:
        self._plain.exchanges.run(self._call(context), descriptor, writer)

    @traced
    @flight_errors()
    def list_flights(  # type: ignore[override]
        self, context: fl.ServerCallContext, criteria: bytes
    ) -> list[fl.FlightInfo]:
        return list(self._plain.list_flights(self._call(context), criteria))

    @traced
    @flight_errors()
    def list_actions(  # type: ignore[override]
        self, context: fl.ServerCallContext
    ) -> list[tuple[str, str]]:
        self._call(context)
        return self._plain.actions() + self._flight_sql.actions()

    @traced
    @flight_errors()
    def do_action(self, context: fl.ServerCallContext, action: fl.Action) -> list[bytes]:
        call = self._call(context)
        if self._flight_sql.has_action(action.type):
            return list(self._flight_sql.do_action(call.over_flight_sql(), action))
        return list(self._plain.do_action(call, action))

    def _call(self, context: fl.ServerCallContext) -> Call:
        return call_of(context, self._watcher)


def _middleware(gate: Gate, tracer: Tracer) -> dict[str, fl.ServerMiddlewareFactory]:
    """In the order in which they see a call."""
    tracing = {} if tracer is UNTRACED else {TRACING: TracingMiddleware(tracer)}
    return {**tracing, MIDDLEWARE: AuthMiddleware(gate)}


def _tls(options: TlsOptions | None) -> dict[str, Any]:
    if options is None:
        return {}
    return {
        "tls_certificates": [(options.cert_chain, options.private_key)],
        "verify_client": options.verify_client,
        "root_certificates": options.root_certs,
    }
