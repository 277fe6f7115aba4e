"""Parallel endpoints: together they are the result, each on its own can be fetched anywhere, any time."""

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.domain.dataset import WriteMode
from schemas.flight_sql import flight_pb2
from tests.protocol.raw_flight_sql import RawFlightSql
from tests.stack import Stack

ROWS = 300_000
BIG = pa.table({"i": range(ROWS), "k": [i % 7 for i in range(ROWS)]})
MORE = pa.table({"i": range(ROWS, ROWS + 70_000), "k": [0] * 70_000})
HEADER = "x-skein-endpoints"


@pytest.fixture(scope="module")
def stack(stack: Stack) -> Stack:
    stack.write("big", BIG)
    stack.write("big", MORE, WriteMode.APPEND)
    stack.write("small", BIG.slice(0, 10))
    return stack


@pytest.fixture
def client(stack: Stack):
    with stack.raw(**{HEADER: "4"}) as made:
        yield made


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM big",
        "SELECT i * 2 AS twice, upper('k' || k) AS s FROM datasets.big WHERE i % 3 = 0",
        "SELECT b.i FROM big AS b WHERE b.k BETWEEN 0 AND 4",
        'FROM "big@v0"',
    ],
)
def test_a_scan_has_the_endpoints_that_were_asked_for_and_they_are_the_whole_in_order(stack, client, sql):
    info = client.execute(sql)
    assert len(info.endpoints) == 4
    assert info.ordered
    parts = [client.get(endpoint.ticket) for endpoint in info.endpoints]
    assert all(part.num_rows for part in parts)
    with stack.raw() as other:
        assert pa.concat_tables(parts).combine_chunks() == other.query(sql).combine_chunks()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM big",
        "SELECT k, sum(i) FROM big GROUP BY k",
        "SELECT DISTINCT k FROM big",
        "SELECT i FROM big ORDER BY i DESC",
        "SELECT i FROM big LIMIT 5",
        "SELECT i, row_number() OVER () AS n FROM big",
        "SELECT i FROM big WHERE i = (SELECT max(i) FROM big)",
        "SELECT i FROM big JOIN small USING (i)",
        "WITH b AS (FROM big) SELECT i FROM b",
        "SELECT i FROM big USING SAMPLE 10 ROWS",
        "SELECT i FROM big UNION ALL SELECT i FROM small",
        "SELECT i FROM range(100000) t(i)",
        "SELECT * FROM small",
    ],
)
def test_what_is_no_scan_of_one_large_dataset_has_one_endpoint(client, sql):
    info = client.execute(sql)
    assert len(info.endpoints) == 1
    assert not info.ordered


def test_without_asking_there_is_one_endpoint(stack):
    with stack.raw() as client:
        assert len(client.execute("SELECT * FROM big").endpoints) == 1


def test_parts_read_the_version_that_was_planned(stack, client):
    stack.write("moving", BIG)
    info = client.execute("SELECT * FROM moving")
    assert len(info.endpoints) == 4
    stack.write("moving", pa.table({"i": [1], "k": [1]}), WriteMode.REPLACE)
    assert client.fetch(info).combine_chunks() == BIG.combine_chunks()


def test_each_part_can_be_fetched_again_and_by_anybody(stack, client):
    info = client.execute("SELECT i FROM big")
    last = info.endpoints[-1].ticket
    once = client.get(last)
    with stack.raw() as other:
        assert other.get(last) == once
    assert client.get(last) == once


def test_cancelling_stops_every_part(client):
    info = client.execute("SELECT * FROM big")
    assert client.cancel(info) == flight_pb2.CANCEL_STATUS_CANCELLED
    for endpoint in info.endpoints:
        with pytest.raises(fl.FlightServerError, match=r"\[cancelled\]"):
            client.get(endpoint.ticket)


def test_the_session_option_asks_as_well(stack):
    with stack.raw() as client:
        value = flight_pb2.SessionOptionValue(int64_value=3)
        request = flight_pb2.SetSessionOptionsRequest(session_options={"parallel_endpoints": value})
        list(client.action("SetSessionOptions", request))
        assert len(client.execute("SELECT * FROM big").endpoints) == 3


def test_there_are_no_more_parts_than_row_groups(stack):
    with stack.raw(**{HEADER: "64"}) as client:
        info = client.execute("SELECT i FROM big")
        assert 5 <= len(info.endpoints) <= 8
        assert client.fetch(info).num_rows == ROWS + 70_000


@pytest.mark.parametrize("value", ["0", "65", "-1", "many", "1.5", ""])
def test_a_wish_that_makes_no_sense_is_refused(stack, value):
    with stack.raw(**{HEADER: value}) as client, pytest.raises(pa.ArrowInvalid, match=r"\[invalid_option\]"):
        client.execute("SELECT * FROM big")


def test_a_prepared_scan_with_parameters_is_split_too(client: RawFlightSql):
    handle = client.prepare("SELECT i FROM big WHERE k = ?").prepared_statement_handle
    client.bind(handle, pa.table({"0": [3]}))
    info = client.run_prepared(handle)
    assert len(info.endpoints) == 4
    assert client.fetch(info).column("i").to_pylist() == list(range(3, ROWS, 7))


def test_adbc_executes_partitions_and_reads_them_on_other_connections(stack):
    header = {f"adbc.flight.sql.rpc.call_header.{HEADER}": "4"}
    with stack.adbc(**header) as connection, connection.cursor() as cursor:
        partitions, schema = cursor.adbc_execute_partitions("SELECT * FROM big")
    assert len(partitions) == 4
    assert schema == BIG.schema
    with stack.adbc() as connection, connection.cursor() as cursor:
        rows = []
        for partition in partitions:
            cursor.adbc_read_partition(partition)
            rows.append(cursor.fetch_arrow_table())
    assert pa.concat_tables(rows).combine_chunks() == pa.concat_tables([BIG, MORE]).combine_chunks()
