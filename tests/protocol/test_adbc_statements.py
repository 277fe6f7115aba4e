"""Statements that are neither plain SELECTs nor plain updates, through ADBC. Expected values are DuckDB's."""

import datetime as dt
import sys
import threading

import adbc_driver_manager
import duckdb
import pyarrow as pa
import pytest

from tests.stack import Stack

SET_UP = [
    "CREATE SEQUENCE numbers",
    "CREATE TABLE t (i INTEGER, j INTEGER)",
    "INSERT INTO t VALUES (1, 2), (3, 4)",
    "PREPARE answer AS SELECT 42 AS x",
]


@pytest.fixture
def cursor(stack: Stack):
    with stack.adbc() as connection, connection.cursor() as made:
        yield made


@pytest.fixture
def prepared(cursor):
    """A cursor whose session has a schema of its own with the tables of SET_UP."""
    cursor.execute("DROP SCHEMA IF EXISTS scratch CASCADE")
    cursor.execute("CREATE SCHEMA scratch")
    cursor.execute("USE workspace.scratch")
    for sql in SET_UP:
        cursor.execute(sql)
    return cursor


def test_many_rows_of_parameters_make_one_version_of_a_dataset(cursor):
    cursor.execute("CREATE TABLE datasets.people (id INTEGER, name TEXT, born DATE)")
    rows = [(1, "Ann", "2001-02-03"), (2, None, None), (3, "Bo", "1999-12-31")]
    cursor.executemany("INSERT INTO datasets.people VALUES ($1, upper($2), $3)", rows)
    assert cursor.rowcount == 3
    cursor.executemany("INSERT INTO datasets.people (name, id) VALUES (?, ? + 10)", [("Cy", 1), ("Di", 2)])
    cursor.execute("SELECT id, name, born FROM people ORDER BY id")
    assert cursor.fetchall() == [
        (1, "ANN", dt.date(2001, 2, 3)),
        (2, None, None),
        (3, "BO", dt.date(1999, 12, 31)),
        (11, "Cy", None),
        (12, "Di", None),
    ]
    cursor.execute('FROM "people@v2"')
    assert len(cursor.fetchall()) == 5
    with pytest.raises(adbc_driver_manager.Error, match=r"(c|C)ould not convert"):
        cursor.executemany(
            "INSERT INTO datasets.people VALUES (?, ?, ?)", [("x", "Ed", None), ("y", "Ed", None)]
        )
    with pytest.raises(adbc_driver_manager.Error, match=r"only INSERT \.\.\. VALUES takes several rows"):
        cursor.executemany("DELETE FROM datasets.people WHERE id = ?", [(1,), (2,)])
    cursor.execute("DROP TABLE datasets.people")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nextval('numbers') AS n",
        "PRAGMA table_info('t')",
        "CALL pragma_version()",
        "EXECUTE answer",
        "PIVOT t ON i USING sum(j)",
        "WITH x AS (INSERT INTO t VALUES (9, 9) RETURNING i) SELECT i FROM x",
        "INSERT INTO t VALUES (5, 5) RETURNING i, j",
        "INSERT INTO t VALUES (50, 1) RETURNING 'abc' AS \"Count\"",
        "MERGE INTO t USING (SELECT 1 AS i) u ON t.i = u.i WHEN MATCHED THEN UPDATE SET j = 0 RETURNING t.i",
        "SELECT 1 AS a; SELECT 2 AS b",
        "EXPLAIN SELECT 42",
        "DESCRIBE t",
    ],
)
def test_every_statement_with_rows_returns_them(prepared, sql):
    prepared.execute(sql)
    ours = prepared.fetch_arrow_table()
    local = duckdb.connect()
    for statement in SET_UP:
        local.execute(statement)
    expected = local.sql(sql).to_arrow_table()
    assert ours.to_pylist() == expected.to_pylist()
    assert ours.column_names == expected.column_names


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("INSERT INTO t VALUES (7, 7), (8, 8)", 2),
        ("UPDATE t SET j = 0 WHERE i = 1", 1),
        ("DELETE FROM t", 2),
        ("CREATE TABLE u AS SELECT * FROM t", 2),
        ('INSERT INTO t VALUES (1, 1) RETURNING 77 AS "Count"', 1),
    ],
)
def test_changed_rows_are_counted(prepared, sql, rows):
    prepared.execute(sql)
    assert prepared.rowcount == rows


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT ? + INTERVAL 1 DAY AS x", dt.datetime.fromisoformat("2020-01-01")),
        ("SELECT date_trunc('month', ?) AS x", dt.datetime.fromisoformat("2020-01-05")),
        ("SELECT year(?) AS x", dt.date(2020, 1, 1)),
        ("SELECT ? AS x", [1, 2]),
    ],
)
def test_a_statement_whose_type_depends_on_its_parameter_can_be_prepared(cursor, sql, value):
    cursor.execute(sql, (value,))
    assert cursor.fetchall() == duckdb.execute(sql, [value]).fetchall()


def test_a_parameter_without_a_name_is_called_as_duckdb_calls_it(cursor):
    cursor.execute("SELECT ?", ([1, 2],))
    assert cursor.description[0][0] == duckdb.sql("SELECT ?", params=[[1, 2]]).columns[0]


@pytest.mark.parametrize(
    "sql", ["SELECT nosuch + ?", "SELECT * FROM nowhere WHERE x = ?", "SELECT ? FROM FROM"]
)
def test_a_wrong_statement_with_parameters_fails_when_it_is_prepared(cursor, sql):
    with pytest.raises(adbc_driver_manager.ProgrammingError):
        cursor.execute(sql, (1,))


def test_many_rows_are_inserted_as_one_by_one(prepared):
    prepared.execute("CREATE TABLE seen (x INTEGER, n INTEGER)")
    rows = pa.table({"i": [1, 3, 9]})
    prepared.executemany("INSERT INTO seen VALUES ($i, (SELECT count(*) FROM t WHERE t.i = $i))", rows)
    prepared.execute("FROM seen ORDER BY x")
    assert prepared.fetchall() == [(1, 1), (3, 1), (9, 0)]
    prepared.execute("CREATE TABLE grown (x INTEGER, before INTEGER)")
    prepared.executemany("INSERT INTO grown VALUES (?, (SELECT count(*) FROM grown))", [(1,), (2,), (3,)])
    prepared.execute("FROM grown ORDER BY x")
    assert prepared.fetchall() == [(1, 0), (2, 1), (3, 2)]


@pytest.mark.parametrize(
    "sql", ["PRAGMA default_null_order='NULLS FIRST'", "SET default_null_order='NULLS FIRST'"]
)
def test_a_setting_stays_in_its_session_however_it_is_written(stack, cursor, sql):
    query = "SELECT x FROM (VALUES (1), (NULL)) v(x) ORDER BY x"
    cursor.execute(sql)
    cursor.execute(query)
    assert cursor.fetchall() == [(None,), (1,)]
    with stack.adbc() as other, other.cursor() as elsewhere:
        elsewhere.execute(query)
        assert elsewhere.fetchall() == [(1,), (None,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SET TIME ZONE 'America/New_York'",
        "SET search_path=''",
        "SET lambda_syntax='DEFAULT'",
        "PRAGMA enable_verification",
        "PRAGMA disable_progress_bar",
        "LOAD json",
    ],
)
def test_statements_that_scripts_are_full_of_are_accepted(cursor, sql):
    cursor.execute(sql)


def test_an_attached_database_goes_with_its_session(stack):
    with stack.adbc() as connection, connection.cursor() as cursor:
        cursor.execute("ATTACH ':memory:' AS scratchpad")
        cursor.execute("CREATE TABLE scratchpad.a (i INTEGER)")
    with stack.adbc() as connection, connection.cursor() as cursor:
        cursor.execute("ATTACH ':memory:' AS scratchpad")
        cursor.execute("SELECT count(*) FROM duckdb_tables() WHERE database_name = 'scratchpad'")
        assert cursor.fetchall() == [(0,)]


@pytest.mark.parametrize("sql", ["USE memory", "CREATE TABLE memory.lost (i INTEGER)"])
def test_no_table_is_kept_where_a_restart_would_lose_it(cursor, sql):
    with pytest.raises(adbc_driver_manager.Error, match="memory"):
        cursor.execute(sql)
    assert read(cursor, "SHOW DATABASES") == [("lake",), ("skein",), ("workspace",)]


def test_deep_expressions_are_accepted_as_far_as_duckdb_goes(cursor):
    deep = 480 if sys.version_info[:2] == (3, 12) else 900  # as security.md says
    cursor.execute(f"SELECT {'+'.join(['1'] * deep)} AS x")
    assert cursor.fetchall() == [(deep,)]
    with pytest.raises(adbc_driver_manager.ProgrammingError, match="invalid_sql"):
        cursor.execute(f"SELECT {'+'.join(['1'] * 5000)} AS x")


def read(cursor, sql: str) -> list[tuple]:
    cursor.execute(sql)
    return cursor.fetchall()


def test_the_statement_after_a_cancelled_one_just_runs(stack):
    with stack.adbc() as connection, connection.cursor() as first, connection.cursor() as second:
        second.execute("CREATE TEMP TABLE mine AS SELECT 1 AS i")
        for _ in range(5):
            timer = threading.Timer(0.1, first.adbc_cancel)
            timer.start()
            with pytest.raises(adbc_driver_manager.Error):
                read(first, "SELECT count(*) FROM range(100000000000) t(i) WHERE hash(i) % 7 = 3")
            timer.join()
            second.execute("SELECT count(*) FROM mine")
            assert second.fetchall() == [(1,)]
