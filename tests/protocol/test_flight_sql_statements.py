"""Statements as text: what they return, that they run once, what their tickets are good for."""

import json

import duckdb
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.domain.dataset import WriteMode
from schemas.flight_sql.sql_pb2 import CommandStatementQuery
from tests.stack import Stack

BIRDS = pa.table({"name": ["goose", "duck", "swan"], "weight_kg": [3.5, 1.1, 9.0]})


@pytest.fixture(scope="module")
def stack(stack: Stack) -> Stack:
    stack.write("birds", BIRDS)
    return stack


def test_a_select_streams_what_duckdb_returns(client):
    sql = "SELECT i, i * 1.5 AS x, 'row ' || i AS s FROM range(5) AS t(i) ORDER BY i DESC"
    assert client.query(sql) == duckdb.sql(sql).to_arrow_table()


def test_the_schema_of_the_info_is_the_schema_of_the_stream_also_without_rows(client):
    info = client.execute("SELECT * FROM birds WHERE weight_kg > 100")
    assert info.schema == BIRDS.schema
    assert client.fetch(info) == BIRDS.schema.empty_table()


def test_a_result_has_one_endpoint_that_is_served_where_it_was_asked_for(client):
    info = client.execute("SELECT 1")
    assert [endpoint.locations for endpoint in info.endpoints] == [[]]
    assert info.total_records == -1


def test_every_statement_has_a_query_id_of_its_own(client):
    sqls = ("SELECT 1", "CREATE TEMP TABLE ids (i INTEGER)", "SELECT * FROM ids")
    ids = {json.loads(client.execute(sql).app_metadata)["query_id"] for sql in sqls}
    assert len(ids) == 3


def test_dml_runs_once_in_get_flight_info_and_tells_the_rows_it_changed(client):
    client.execute("CREATE OR REPLACE TABLE once (i INTEGER)")
    info = client.execute("INSERT INTO once SELECT * FROM range(7)")
    assert info.total_records == 7
    assert client.fetch(info).to_pylist() == [{"Count": 7}]
    assert client.fetch(info).to_pylist() == [{"Count": 7}]
    assert client.rows("SELECT count(*) FROM once") == [(7,)]


def test_ddl_has_an_endpoint_too_and_no_columns(client):
    info = client.execute("CREATE OR REPLACE TABLE made (i INTEGER)")
    assert info.schema == pa.schema([])
    assert info.total_records == -1
    assert client.fetch(info) == pa.table({})


def test_returning_gives_the_rows_and_their_number(client):
    client.execute("CREATE OR REPLACE TABLE given (i INTEGER, s VARCHAR)")
    info = client.execute("INSERT INTO given VALUES (1, 'a'), (2, 'b') RETURNING s, i + 1 AS next")
    assert info.total_records == 2
    assert client.fetch(info).to_pylist() == [{"s": "a", "next": 2}, {"s": "b", "next": 3}]


def test_a_large_result_of_a_statement_that_writes_can_be_fetched(client):
    client.execute("CREATE OR REPLACE TABLE many (s VARCHAR)")
    info = client.execute("INSERT INTO many SELECT repeat('x', 100) || i FROM range(50000) t(i) RETURNING s")
    assert client.fetch(info) == client.query("SELECT s FROM many")


def test_update_answers_with_the_number_of_rows(client):
    assert client.update("CREATE OR REPLACE TABLE counted (i INTEGER)") == 0
    assert client.update("INSERT INTO counted VALUES (1), (2), (3)") == 3
    assert client.update("UPDATE counted SET i = i + 1 WHERE i > 1") == 2
    assert client.update("DELETE FROM counted") == 3
    assert client.update("CREATE TABLE IF NOT EXISTS counted (i INTEGER)") == 0


def test_an_update_without_a_schema_message_is_served(stack):
    """Go clients send the descriptor and nothing else."""
    with stack.adbc() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE TABLE from_go (i INTEGER)")
        cursor.executemany("INSERT INTO from_go VALUES (?)", [(1,), (2,)])
        assert cursor.rowcount == 2


def test_get_schema_does_not_run_anything(client):
    client.execute("CREATE OR REPLACE TABLE untouched (i INTEGER)")
    insert = CommandStatementQuery(query="INSERT INTO untouched VALUES (1) RETURNING i AS j")
    assert client.schema(insert).names == ["j"]
    assert client.schema(CommandStatementQuery(query="DROP TABLE untouched")) == pa.schema([])
    assert client.rows("SELECT count(*) FROM untouched") == [(0,)]
    select = "SELECT 1 AS a, 'x' AS b, [1.5] AS c"
    assert client.schema(CommandStatementQuery(query=select)) == duckdb.sql(select).to_arrow_table().schema


def test_of_several_statements_the_last_one_answers(client):
    sql = "CREATE OR REPLACE TABLE several (i INTEGER); INSERT INTO several VALUES (1), (2); FROM several"
    assert client.rows(sql) == [(1,), (2,)]


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN SELECT 1",
        "SHOW TABLES",
        "DESCRIBE SELECT 1 AS a",
        "SUMMARIZE SELECT 1 AS a",
        "PRAGMA version",
        "VALUES (1, 'a'), (2, 'b')",
        "FROM range(3)",
        "PIVOT (SELECT 1 AS a, 'x' AS b) ON b USING sum(a)",
        "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t WHERE i < 5) FROM t",
    ],
)
def test_statements_that_are_no_plain_select_return_rows_too(client, sql):
    info = client.execute(sql)
    table = client.fetch(info)
    assert info.schema == table.schema
    assert table.column_names == duckdb.connect().sql(sql).columns


def test_a_ticket_reads_the_version_that_was_current_when_it_was_planned(client, stack):
    stack.write("moving", pa.table({"i": [1]}))
    info = client.execute("SELECT * FROM moving")
    stack.write("moving", pa.table({"i": [2, 3]}), WriteMode.REPLACE)
    assert client.fetch(info).to_pylist() == [{"i": 1}]
    assert client.fetch(info).to_pylist() == [{"i": 1}]
    assert client.rows("SELECT * FROM moving") == [(2,), (3,)]


def test_a_plain_select_can_be_fetched_by_anybody_who_has_the_ticket(client, stack):
    info = client.execute("SELECT * FROM birds")
    with stack.raw() as other:
        assert other.fetch(info) == BIRDS


def test_a_read_of_temporary_tables_can_be_fetched_on_another_connection(client, stack):
    client.execute("CREATE OR REPLACE TEMP TABLE mine AS SELECT 42 AS i")
    info = client.execute("SELECT * FROM mine")
    with stack.raw() as other:
        assert other.fetch(info).to_pylist() == [{"i": 42}]
        with pytest.raises(KeyError, match="mine"):
            other.execute("SELECT * FROM mine")


def test_a_temporary_table_hides_the_dataset_of_its_name(client):
    client.execute("CREATE TEMP TABLE birds (name VARCHAR)")
    assert client.update("INSERT INTO birds VALUES ('wren')") == 1
    assert client.rows("SELECT * FROM birds") == [("wren",)]
    client.execute("DROP TABLE birds")
    assert client.query("SELECT * FROM birds") == BIRDS


def test_results_come_in_messages_that_clients_accept(client):
    info = client.execute("SELECT repeat('x', 1000) AS s FROM range(20000)")
    reader = client.client.do_get(info.endpoints[0].ticket)
    sizes = [chunk.data.nbytes for chunk in reader]
    assert max(sizes) < 4 << 20
    assert len(sizes) > 5


@pytest.mark.parametrize(
    ("sql", "error", "code"),
    [
        ("SELEC 1", pa.ArrowInvalid, "invalid_sql"),
        ("SELECT nope FROM birds", pa.ArrowInvalid, "invalid_sql"),
        ("SELECT * FROM brids", KeyError, "dataset_not_found"),
        ("", pa.ArrowInvalid, "invalid_sql"),
        ("SELECT ?", pa.ArrowInvalid, "invalid_parameters"),
        ("INSERT INTO nowhere VALUES (1)", KeyError, "dataset_not_found"),
        ("SELECT * FROM read_csv('/etc/passwd')", fl.FlightUnauthorizedError, "statement_not_allowed"),
        ("COPY birds TO '/tmp/birds.csv'", fl.FlightUnauthorizedError, "statement_not_allowed"),
        ("UPDATE birds SET name = 'x' RETURNING name", fl.FlightUnauthorizedError, "statement_not_allowed"),
        ("DROP SCHEMA lake.datasets", fl.FlightUnauthorizedError, "statement_not_allowed"),
    ],
)
def test_what_cannot_run_is_refused_with_a_status_and_a_code(client, sql, error, code):
    with pytest.raises(error, match=rf"\[{code}\]"):
        client.execute(sql)


def test_a_failure_on_the_data_arrives_with_the_stream(client):
    info = client.execute("SELECT CAST(s AS INTEGER) AS i FROM (VALUES ('1'), ('x')) AS t(s)")
    with pytest.raises(pa.ArrowInvalid, match=r"\[query_failed\]"):
        client.fetch(info)


def test_position_of_a_mistake_is_told(client):
    with pytest.raises(pa.ArrowInvalid, match="line 2"):
        client.execute("SELECT 1\nFROM birds WHERE WHERE")


@pytest.mark.parametrize("name", ["current_database", "current_schema", "lower"])
def test_a_macro_with_the_name_of_a_function_is_in_nobodys_way(client, name):
    """In that of statements which call the function, but it can be dropped again."""
    client.update(f"CREATE MACRO {name}(x, y, z) AS 'shadow'")
    try:
        client.update("CREATE OR REPLACE TABLE shadowed AS SELECT 1 AS x")
        client.update("INSERT INTO shadowed VALUES (2)")
        client.update("USE workspace.main")
        assert client.rows("FROM shadowed") == [(1,), (2,)]
        with pytest.raises(pa.ArrowInvalid, match=r"\[dataset_exists\]"):
            client.update("CREATE TABLE datasets.twice AS SELECT 1 AS x; CREATE TABLE twice (x INTEGER)")
    finally:
        client.update(f"DROP MACRO {name}")
        client.update("DROP TABLE shadowed")
        client.update("DROP TABLE IF EXISTS datasets.twice")
