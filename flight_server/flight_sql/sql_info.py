"""GetSqlInfo: facts about the server, each in the child of a union that fits it."""

from collections.abc import Collection, Mapping

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.domain.access import Scope
from flight_server.auth import Call
from flight_server.flight_sql.answers import own_ticket
from flight_server.flight_sql.sql_facts import Info, Kind, ServerFacts, infos
from flight_server.flight_sql.use_cases import FlightSqlUseCases
from flight_server.streams import Streams
from schemas.flight_sql.sql_pb2 import CommandGetSqlInfo

_VALUE = pa.dense_union(
    [
        pa.field("string_value", pa.utf8()),
        pa.field("bool_value", pa.bool_()),
        pa.field("bigint_value", pa.int64()),
        pa.field("int32_bitmask", pa.int32()),
        pa.field("string_list", pa.list_(pa.utf8())),
        pa.field("int32_to_int32_list_map", pa.map_(pa.int32(), pa.list_(pa.int32()))),
    ]
)
SCHEMA = pa.schema(
    [pa.field("info_name", pa.uint32(), nullable=False), pa.field("value", _VALUE, nullable=False)]
)


class SqlInfo:
    def __init__(self, use_cases: FlightSqlUseCases, streams: Streams, version: str) -> None:
        self._use_cases = use_cases
        self._streams = streams
        self._version = version

    def get_flight_info(
        self, call: Call, command: CommandGetSqlInfo, descriptor: fl.FlightDescriptor
    ) -> fl.FlightInfo:
        return own_ticket(command, SCHEMA, descriptor)

    def get_schema(self, call: Call, command: CommandGetSqlInfo) -> pa.Schema:
        return SCHEMA

    def do_get(self, call: Call, command: CommandGetSqlInfo) -> fl.FlightDataStream:
        return self._streams.table(call, sql_info(infos(self._facts(call)), command.info))

    def _facts(self, call: Call) -> ServerFacts:
        limits = self._use_cases.sessions.limits
        return ServerFacts(
            version=self._version,
            vocabulary=self._use_cases.catalog.vocabulary(),
            read_only=not call.actor.may(Scope.WRITE),
            transaction_timeout_s=limits.transaction_idle_s,
            max_sessions=limits.max_sessions,
            max_prepared_statements=limits.max_prepared,
        )


def sql_info(infos: Mapping[int, Info], wanted: Collection[int]) -> pa.Table:
    """One row a code, in order. Without `wanted` all there are; codes nobody knows are left out."""
    codes = sorted(set(wanted) & infos.keys() if wanted else infos)
    children: list[list[object]] = [[] for _ in Kind]
    kinds, offsets = [], []
    for code in codes:
        kind, value = infos[code]
        kinds.append(kind)
        offsets.append(len(children[kind]))
        children[kind].append(value)
    values = pa.UnionArray.from_dense(
        pa.array(kinds, pa.int8()),
        pa.array(offsets, pa.int32()),
        [pa.array(values, field.type) for values, field in zip(children, _VALUE, strict=True)],
        [field.name for field in _VALUE],
    )
    return pa.Table.from_arrays([pa.array(codes, pa.uint32()), values], schema=SCHEMA)
