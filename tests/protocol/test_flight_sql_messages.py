"""The messages: the declaration, the generated code and the bytes on the wire agree."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as Envelope

from schemas.flight_sql import envelope, flight_pb2, sql_pb2

FOLDER = Path(sql_pb2.__file__).parent
_ASSIGNMENT = re.compile(r"(\w+) = (\d+);")  # of a number to a field, or to a name of an enumeration


@pytest.mark.parametrize(("name", "module"), [("sql.proto", sql_pb2), ("flight.proto", flight_pb2)])
def test_the_generated_code_is_that_of_the_declaration(name, module):
    declared = sorted(
        (field, int(number)) for field, number in _ASSIGNMENT.findall((FOLDER / name).read_text())
    )
    generated = list(numbers(module.DESCRIPTOR.message_types_by_name.values()))
    generated += [(v.name, v.number) for e in module.DESCRIPTOR.enum_types_by_name.values() for v in e.values]
    assert declared == sorted(generated)


def numbers(messages: Iterable[Any]) -> Iterator[tuple[str, int]]:
    for message in messages:
        if not message.GetOptions().map_entry:
            yield from ((field.name, field.number) for field in message.fields)
            yield from ((value.name, value.number) for enum in message.enum_types for value in enum.values)
            yield from numbers(message.nested_types)


# Written by hand from the specification: tag bytes are (field number << 3) | wire type.
GOLDEN = [
    (sql_pb2.CommandStatementQuery(query="q", transaction_id=b"t"), "0a0171 120174"),
    (sql_pb2.CommandStatementQuery(query="q"), "0a0171"),
    (sql_pb2.CommandStatementUpdate(query="q", transaction_id=b""), "0a0171 1200"),
    (sql_pb2.TicketStatementQuery(statement_handle=b"h"), "0a0168"),
    (sql_pb2.DoPutUpdateResult(record_count=300), "08ac02"),
    (sql_pb2.DoPutUpdateResult(record_count=-1), "08ffffffffffffffffff01"),
    (sql_pb2.CommandGetSqlInfo(info=[8, 517]), "0a03 08 8504"),
    (sql_pb2.CommandGetTables(catalog="", table_types=["T"], include_schema=True), "0a00 220154 2801"),
    (sql_pb2.ActionEndTransactionRequest(transaction_id=b"t", action=2), "0a0174 1002"),
    (
        sql_pb2.ActionCreatePreparedStatementResult(
            prepared_statement_handle=b"h", dataset_schema=b"d", parameter_schema=b"p", is_update=False
        ),
        "0a0168 120164 1a0170 2000",
    ),
    (
        sql_pb2.CommandStatementIngest(
            table_definition_options={"if_not_exist": 1, "if_exists": 2},
            table="t",
            temporary=True,
            options={"k": "v"},
        ),
        "0a04 0801 1002 120174 2801 c23e06 0a016b 120176",
    ),
    (sql_pb2.CommandGetCrossReference(pk_table="p", fk_catalog="c", fk_table="f"), "1a0170 220163 320166"),
    (flight_pb2.SessionOptionValue(int64_value=1), "190100000000000000"),
    (flight_pb2.CancelFlightInfoResult(status=3), "0803"),
    (flight_pb2.CloseSessionResult(status=1), "0801"),
    (
        flight_pb2.FlightEndpoint(ticket={"ticket": b"t"}, expiration_time={"seconds": 5}),
        "0a030a0174 1a020805",
    ),
]


@pytest.mark.parametrize(("message", "bytes_"), GOLDEN, ids=lambda value: type(value).__name__)
def test_messages_have_the_bytes_of_the_specification(message, bytes_):
    assert message.SerializeToString(deterministic=True) == bytes.fromhex(bytes_.replace(" ", ""))


def test_messages_travel_under_their_type_url():
    message = sql_pb2.CommandGetCatalogs()
    carried = Envelope.FromString(envelope.pack(message))
    assert carried.type_url == "type.googleapis.com/arrow.flight.protocol.sql.CommandGetCatalogs"
    assert envelope.unpack(envelope.pack(message)) == message


def test_only_what_follows_the_last_slash_of_the_url_counts():
    carried = Envelope(type_url="example.org/a/arrow.flight.protocol.sql.CommandGetCatalogs")
    assert envelope.unpack(carried.SerializeToString()) == sql_pb2.CommandGetCatalogs()


@pytest.mark.parametrize(
    "data", [b"", b"SELECT 1", b'{"sql": "SELECT 1"}', b"\xff\xff", b"SKT\x01" + bytes(40)]
)
def test_other_commands_are_none_of_ours(data):
    assert envelope.unpack(data) is None


def test_what_claims_to_be_ours_and_is_not_is_refused():
    unknown = Envelope(type_url="type.googleapis.com/arrow.flight.protocol.sql.CommandMakeCoffee")
    with pytest.raises(envelope.MalformedMessage, match="CommandMakeCoffee"):
        envelope.unpack(unknown.SerializeToString())
    broken = Envelope(
        type_url="type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery", value=b"\x0a\xff"
    )
    with pytest.raises(envelope.MalformedMessage, match="CommandStatementQuery"):
        envelope.unpack(broken.SerializeToString())
