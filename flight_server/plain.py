"""Skein's own, plain Flight: datasets by path, SQL or JSON as a command, signed tickets."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.domain.errors import Unsupported
from flight_server.auth import Call
from flight_server.options import FlightOptions, FlightUseCases


class PlainFlight:
    def __init__(self, use_cases: FlightUseCases, options: FlightOptions) -> None:
        self._use_cases = use_cases
        self._options = options

    def get_flight_info(self, call: Call, descriptor: fl.FlightDescriptor) -> fl.FlightInfo:
        raise Unsupported("not there yet")

    def get_schema(self, call: Call, descriptor: fl.FlightDescriptor) -> pa.Schema:
        raise Unsupported("not there yet")

    def do_get(self, call: Call, ticket: bytes) -> fl.FlightDataStream:
        raise Unsupported("not there yet")

    def do_put(
        self,
        call: Call,
        descriptor: fl.FlightDescriptor,
        reader: fl.MetadataRecordBatchReader,
        writer: fl.FlightMetadataWriter,
    ) -> None:
        raise Unsupported("not there yet")

    def list_flights(self, call: Call, criteria: bytes) -> Iterable[fl.FlightInfo]:
        raise Unsupported("not there yet")

    def actions(self) -> list[tuple[str, str]]:
        return []

    def do_action(self, call: Call, action: fl.Action) -> Iterable[fl.Result]:
        raise Unsupported("not there yet")
