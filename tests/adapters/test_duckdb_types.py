"""The Arrow schema of a query that has not run, and parameters that keep their exact type."""

from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

from flight_core.adapters.engines.duckdb.parameters import runnable
from flight_core.adapters.engines.duckdb.types import ArrowFields

TYPES = [
    "BOOLEAN",
    "TINYINT",
    "UBIGINT",
    "HUGEINT",
    "UHUGEINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL(4,1)",
    "DECIMAL(38,10)",
    "VARCHAR",
    "BLOB",
    "BIT",
    "UUID",
    "JSON",
    "DATE",
    "TIME",
    "TIME_NS",
    "TIMETZ",
    "TIMESTAMP",
    "TIMESTAMP_S",
    "TIMESTAMP_MS",
    "TIMESTAMP_NS",
    "TIMESTAMPTZ",
    "INTERVAL",
    "INTEGER[]",
    "INTEGER[3]",
    'STRUCT(a INTEGER, "b c" VARCHAR[])',
    "MAP(VARCHAR, INTEGER)",
    "UNION(n INTEGER, s VARCHAR)",
    "ENUM('a', 'it''s')",
    "VARIANT",
    "BIGNUM",
    '"NULL"',
]


@pytest.fixture(scope="module")
def cursor():
    connection = duckdb.connect()
    yield connection
    connection.close()


@pytest.mark.parametrize("name", TYPES)
def test_the_schema_told_in_advance_is_the_schema_that_arrives(cursor, name):
    relation = cursor.sql(f'SELECT CAST(NULL AS {name}) AS "a b"')
    told = ArrowFields().schema(relation, cursor)
    reader = relation.to_arrow_reader(10)
    arrives = reader.schema
    reader.read_all()
    assert told.equals(arrives, check_metadata=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (pa.scalar(1_700_000_000_123_456_789, pa.timestamp("ns")), "2023-11-14 22:13:20.123456789"),
        (pa.scalar(123_456_789, pa.time64("ns")), "00:00:00.123456789"),
        (pa.scalar(2**64 - 1, pa.uint64()), "18446744073709551615"),
        (pa.scalar(7, pa.int8()), "7"),
        (pa.scalar(Decimal("12345.678"), pa.decimal128(20, 3)), "12345.678"),
        (pa.scalar(b"\x00\xff", pa.binary()), "\\x00\\xFF"),
        (pa.scalar(None, pa.int16()), None),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_arrow_parameters_arrive_in_sql_exactly(cursor, value, text):
    made = runnable(cursor, "SELECT CAST(? AS VARCHAR) AS x", (value,))
    assert cursor.sql(made.sql, params=made.parameters).fetchall() == [(text,)]
