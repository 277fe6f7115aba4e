"""The ADBC driver for Flight SQL: DBAPI and the level below. Expected values are DuckDB's own."""

import datetime as dt
import decimal

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as dbapi
import adbc_driver_manager
import duckdb
import pyarrow as pa
import pytest

from tests.stack import Stack

BIRDS = pa.table({"name": ["goose", "duck", "swan"], "weight_kg": [3.5, 1.1, 9.0]})


@pytest.fixture(scope="module")
def stack(stack: Stack) -> Stack:
    stack.write("birds", BIRDS)
    return stack


@pytest.fixture
def connection(stack: Stack):
    """As DBAPI wants it: without autocommit."""
    with stack.adbc(autocommit=False) as made:
        yield made


@pytest.fixture
def cursor(connection):
    with connection.cursor() as made:
        yield made


@pytest.fixture
def autocommit(stack: Stack):
    with stack.adbc() as connection, connection.cursor() as made:
        yield made


EXPRESSIONS = [
    "true",
    "1::TINYINT",
    "1::SMALLINT",
    "1",
    "1::BIGINT",
    "170141183460469231731687303715884105727::HUGEINT",
    "255::UTINYINT",
    "65535::USMALLINT",
    "4294967295::UINTEGER",
    "18446744073709551615::UBIGINT",
    "5::UHUGEINT",
    "1.5::FLOAT",
    "1e300::DOUBLE",
    "'-inf'::DOUBLE",
    "1.50::DECIMAL(4, 2)",
    "12345678901234567890123456789.123456789::DECIMAL(38, 9)",
    "'naïve 🦆'",
    "'\\x00ab'::BLOB",
    "'10101'::BIT",
    "UUID '8a2b9e1a-4c1f-4a4f-9c77-1d1c9bd5d0d1'",
    "'{\"a\": 1}'::JSON",
    "DATE '2020-02-29'",
    "DATE 'infinity'",
    "DATE '0044-03-15 (BC)'",
    "TIME '12:34:56.789012'",
    "'12:34:56.123456789'::TIME_NS",
    "TIMETZ '12:34:56+02'",
    "TIMESTAMP '2020-01-01 12:00:00.123456'",
    "TIMESTAMP 'infinity'",
    "'2020-01-01'::TIMESTAMP_S",
    "'2020-01-01 00:00:00.123'::TIMESTAMP_MS",
    "'2020-01-01 00:00:00.123456789'::TIMESTAMP_NS",
    "INTERVAL '1 month 2 days 3 microseconds'",
    "'a'::ENUM('a', 'b')",
    "[1, NULL, 3]",
    "[1, 2, 3]::INTEGER[3]",
    "[['a'], [], NULL]",
    "{'a': 1, 'b': ['x']}",
    "MAP {'k': 1, 'z': NULL}",
    "[{'e': 'a'::ENUM('a', 'b')}]",
    "union_value(num := 2)",
    "'5'::BIGNUM",
    "'x'::VARIANT",
    "'POINT(1 2)'::GEOMETRY",
    "NULL",
    "NULL::INTEGER",
    "[]",
    "MAP {}",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_type_arrives_as_duckdb_hands_it_out(autocommit, expression):
    sql = f"SELECT {expression} AS x FROM range(3)"
    autocommit.execute(sql)
    table = autocommit.fetch_arrow_table()
    expected = duckdb.sql(sql).to_arrow_table()
    assert table.schema.equals(expected.schema)
    assert table.combine_chunks() == expected.combine_chunks()


def test_moments_with_a_time_zone_arrive_in_the_sessions_zone(autocommit):
    autocommit.execute("SET TimeZone = 'Europe/Berlin'")
    autocommit.execute("SELECT TIMESTAMPTZ '2020-07-01 12:00:00' AS t")
    column = autocommit.fetch_arrow_table().column("t")
    assert column.type == pa.timestamp("us", "Europe/Berlin")
    assert column.cast(pa.int64()).to_pylist() == [1593597600000000]


def test_rows_come_as_python_values(autocommit):
    autocommit.execute(
        "SELECT 1 AS i, 'x' AS s, 1.50::DECIMAL(9, 2) AS d, DATE '2020-01-02' AS day, NULL AS n, [1] AS l"
    )
    assert autocommit.fetchone() == (1, "x", decimal.Decimal("1.50"), dt.date(2020, 1, 2), None, [1])
    assert autocommit.fetchone() is None
    assert [column[0] for column in autocommit.description] == ["i", "s", "d", "day", "n", "l"]


def test_parameters_of_python(autocommit):
    values = (
        1,
        1.5,
        "x",
        b"\x00",
        True,
        None,
        dt.date(2020, 1, 2),
        dt.datetime.fromisoformat("2020-01-02 03:04:05.000006"),
        decimal.Decimal("1.25"),
    )
    autocommit.execute("SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?", values)
    assert autocommit.fetchone() == values


def test_rowcount_of_dml(autocommit):
    autocommit.execute("CREATE OR REPLACE TABLE counted (i INTEGER)")
    autocommit.execute("INSERT INTO counted SELECT range FROM range(5)")
    assert autocommit.rowcount == 5
    autocommit.executemany("UPDATE counted SET i = ? WHERE i = ?", [(10, 0), (11, 1), (12, 99)])
    assert autocommit.rowcount == 2
    autocommit.execute("DELETE FROM counted WHERE i > ?", (3,))
    assert autocommit.rowcount == 3


def test_what_is_not_committed_is_rolled_back(stack, connection, cursor):
    cursor.execute("CREATE OR REPLACE TABLE ledger AS SELECT 1 AS i")
    connection.commit()
    cursor.execute("INSERT INTO ledger VALUES (2)")
    cursor.execute("SELECT count(*) FROM ledger")
    assert cursor.fetchone() == (2,)
    with stack.adbc() as other, other.cursor() as outside:
        outside.execute("SELECT count(*) FROM ledger")
        assert outside.fetchone() == (1,)
    connection.rollback()
    cursor.execute("SELECT count(*) FROM ledger")
    assert cursor.fetchone() == (1,)


def test_the_same_statement_before_and_after_a_commit_is_in_two_transactions(connection, cursor):
    cursor.execute("CREATE OR REPLACE TABLE steps (i INTEGER)")
    connection.commit()
    cursor.execute("INSERT INTO steps VALUES (1)")
    connection.commit()
    cursor.execute("INSERT INTO steps VALUES (1)")
    connection.rollback()
    cursor.execute("SELECT count(*) FROM steps")
    assert cursor.fetchone() == (1,)


def test_after_an_error_and_a_rollback_it_goes_on(connection, cursor):
    cursor.execute("CREATE TABLE halfway (i INTEGER)")
    with pytest.raises(dbapi.ProgrammingError, match=r"\[query_failed\]"):
        cursor.execute("CREATE TABLE never AS SELECT s::INTEGER AS i FROM (VALUES ('x')) AS t(s)")
    with pytest.raises(dbapi.ProgrammingError, match=r"\[transaction_failed\]"):
        cursor.execute("INSERT INTO halfway VALUES (1)")
    connection.rollback()
    cursor.execute("SELECT 1")
    assert cursor.fetchone() == (1,)


def test_two_cursors_of_one_connection_can_be_read_in_turns(connection, cursor):
    cursor.execute("SELECT range AS i FROM range(100000)")
    assert cursor.fetchone() == (0,)
    with connection.cursor() as second:
        second.execute("CREATE TEMP TABLE between (i INTEGER)")
        second.execute("SELECT 'between'")
        assert second.fetchone() == ("between",)
    assert cursor.fetchone() == (1,)
    assert len(cursor.fetchall()) == 99_998


def test_bulk_ingestion_is_part_of_the_transaction(connection, cursor):
    assert cursor.adbc_ingest("loaded", BIRDS, mode="create") == 3
    cursor.execute("SELECT count(*) FROM loaded")
    assert cursor.fetchone() == (3,)
    connection.rollback()
    with pytest.raises(dbapi.ProgrammingError, match=r"_not_found\]"):
        cursor.execute("SELECT count(*) FROM loaded")


@pytest.mark.parametrize("mode", ["create", "append", "replace", "create_append"])
def test_bulk_ingestion_modes(autocommit, mode):
    autocommit.execute("DROP TABLE IF EXISTS modes")
    if mode == "append":
        autocommit.execute("CREATE TABLE modes (weight_kg DOUBLE, name VARCHAR)")
    reader = BIRDS.to_reader(max_chunksize=2)
    assert autocommit.adbc_ingest("modes", reader, mode=mode) == 3
    autocommit.execute("SELECT name, weight_kg FROM modes")
    assert autocommit.fetch_arrow_table() == BIRDS


def test_bulk_ingestion_of_every_type_round_trips(autocommit):
    plain = [e for e in EXPRESSIONS if not any(word in e for word in ("HUGEINT", "ENUM", "NULL", "VARIANT"))]
    columns = ", ".join(f"{expression} AS c{index}" for index, expression in enumerate(plain))
    expected = duckdb.sql(f"SELECT {columns}").to_arrow_table()
    autocommit.adbc_ingest("every", expected, mode="replace")
    autocommit.execute("FROM every")
    table = autocommit.fetch_arrow_table()
    assert table.schema.equals(expected.schema)
    assert table.combine_chunks() == expected.combine_chunks()


def test_prepared_statements_tell_their_parameters(autocommit):
    schema = autocommit.adbc_prepare("SELECT ? + 1, ?")
    assert len(schema) == 2


def test_the_schema_of_a_result_without_running(autocommit):
    schema = autocommit.adbc_execute_schema("SELECT 1 AS a, 'x' AS b")
    assert schema == pa.schema([("a", pa.int32()), ("b", pa.utf8())])


def test_what_the_driver_learns_of_the_server(connection):
    info = connection.adbc_get_info()
    assert info["vendor_name"] == "Skein"
    assert info["vendor_version"].startswith("duckdb v")
    assert {"TABLE", "VIEW", "LOCAL TEMPORARY"} == set(connection.adbc_get_table_types())


def test_objects_of_the_catalog(connection, cursor):
    cursor.execute("CREATE OR REPLACE TABLE inside (i INTEGER PRIMARY KEY, s VARCHAR)")
    found = connection.adbc_get_objects(depth="all", table_name_filter="inside").read_all().to_pylist()
    (table,) = [
        table
        for catalog in found
        for schema in catalog["catalog_db_schemas"]
        for table in schema["db_schema_tables"]
    ]
    assert table["table_type"] == "TABLE"
    columns = {column["column_name"]: column for column in table["table_columns"]}
    assert {name: column["xdbc_type_name"] for name, column in columns.items()} == {
        "i": "INTEGER",
        "s": "VARCHAR",
    }


def test_the_schema_of_a_table_and_of_a_dataset(connection, autocommit):
    autocommit.execute("CREATE OR REPLACE TABLE shaped (i INTEGER NOT NULL, l DECIMAL(9, 2)[])")
    schema = connection.adbc_get_table_schema("shaped")
    assert [(field.name, field.nullable) for field in schema] == [("i", False), ("l", True)]
    assert schema.field("l").type.value_type == pa.decimal128(9, 2)
    dataset = connection.adbc_get_table_schema("birds", db_schema_filter="datasets")
    assert dataset.names == BIRDS.schema.names


def test_current_catalog_and_schema(stack):
    with stack.adbc() as connection:
        assert (connection.adbc_current_catalog, connection.adbc_current_db_schema) == ("workspace", "main")
        with connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA IF NOT EXISTS attic")
            cursor.execute("CREATE OR REPLACE TABLE attic.box AS SELECT 4 AS i")
            connection.adbc_current_db_schema = "attic"
            cursor.execute("FROM box")
            assert cursor.fetchone() == (4,)
        assert connection.adbc_current_db_schema == "attic"


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELEC 1", dbapi.ProgrammingError),
        ("SELECT * FROM nowhere", dbapi.ProgrammingError),
        ("SELECT * FROM read_csv('/etc/passwd')", dbapi.ProgrammingError),
        ("SELECT 1 / 'x'", dbapi.ProgrammingError),
    ],
)
def test_errors_have_dbapi_classes_and_the_connection_lives(autocommit, sql, error):
    def read() -> None:
        autocommit.execute(sql)
        autocommit.fetchall()

    with pytest.raises(error):
        read()
    autocommit.execute("SELECT 1")
    assert autocommit.fetchone() == (1,)


def test_a_cookie_keeps_the_session_of_clients_that_store_them(stack):
    options = {"adbc.flight.sql.rpc.with_cookie_middleware": "true"}
    with stack.adbc(**options) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE kept AS SELECT 1 AS i")
        cursor.execute("FROM kept")
        assert cursor.fetchone() == (1,)


def test_compression_when_asked_for(stack):
    options = {"adbc.flight.sql.rpc.call_header.x-skein-compression": "zstd"}
    with stack.adbc(**options) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT repeat('x', 100) AS s, 'a'::ENUM('a') AS e FROM range(10000)")
        assert cursor.fetch_arrow_table().num_rows == 10_000


def test_the_level_below_dbapi(stack):
    with (
        adbc_driver_flightsql.connect(stack.flight_uri) as database,
        adbc_driver_manager.AdbcConnection(database) as connection,
        adbc_driver_manager.AdbcStatement(connection) as statement,
    ):
        statement.set_sql_query("SELECT ?::BIGINT + 1 AS x")
        statement.prepare()
        assert len(pa.schema(statement.get_parameter_schema())) == 1
        statement.bind(pa.record_batch({"0": [41]}))
        stream, _ = statement.execute_query()
        reader = pa.RecordBatchReader._import_from_c(stream.address)
        assert reader.read_all().to_pydict() == {"x": [42]}
        statement.set_sql_query("CREATE OR REPLACE TABLE below (i BIGINT)")
        statement.execute_update()
        statement.set_sql_query("INSERT INTO below VALUES (?)")
        statement.prepare()
        statement.bind_stream(pa.table({"0": [1, 2, 3]}).to_reader())
        assert statement.execute_update() == 3
