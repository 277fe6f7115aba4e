"""What DuckDB's parser tells of statements, and which ones clients may run."""

from collections.abc import Iterator

import duckdb
import pytest

from flight_core.adapters.engines.duckdb.failures import FAILURES, translate
from flight_core.adapters.engines.duckdb.policy import approve
from flight_core.adapters.engines.duckdb.statements import Parser, tokenize
from flight_core.adapters.engines.duckdb.targets import target
from flight_core.domain.errors import FlightCoreError, StatementNotAllowed
from flight_core.domain.query import StatementKind


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    made = Parser()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("FROM a", {"a"}),
        ("WITH a AS (SELECT 1) FROM a", set()),
        ("WITH a AS (FROM b) FROM a", {"b"}),
        ("WITH a AS (FROM a) FROM a", {"a"}),
        ("WITH a AS MATERIALIZED (FROM main.a) FROM a", {"a"}),
        ("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r, b WHERE n < 2) FROM r", {"b"}),
        ("SELECT * FROM a, (WITH a AS (SELECT 1) FROM a)", {"a"}),
        ("SELECT (SELECT max(t) FROM b) FROM a", {"a", "b"}),
        ("SELECT * FROM a ORDER BY (SELECT count(*) FROM b)", {"a", "b"}),
        ("SELECT list_transform([1], lambda x: (SELECT max(t) FROM b))", {"b"}),
        ("SELECT * FROM (PIVOT a ON t IN ('A') USING count(*))", {"a"}),
        ("DESCRIBE a", {"a"}),
        ("SUMMARIZE a", {"a"}),
        ("SELECT 'FROM b' AS \"c\" FROM/**/a -- FROM d", {"a"}),
        ("VALUES ((SELECT t FROM b LIMIT 1))", {"b"}),
    ],
)
def test_the_tables_a_select_reads_are_found_exactly(parser, sql, names):
    (statement,) = parser.parse(sql)
    assert {table.name for table in statement.tables} == names
    assert statement.kind is StatementKind.READ


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("PIVOT a ON t USING sum(n)", {"a"}),
        ('FROM (PIVOT datasets."a@v1" ON t USING sum(n)) JOIN b USING (n)', {"datasets", "a@v1", "b"}),
        ("WITH p AS (PIVOT (SELECT a.t, c FROM a) ON t USING sum(c)) SELECT n, 'd' FROM p", {"a", "t", "p"}),
    ],
)
def test_the_tables_of_a_pivot_over_what_there_is_are_among_those_found(parser, sql, names):
    (statement,) = parser.parse(sql)
    assert {table.name for table in statement.tables} == names


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("WITH x AS (DELETE FROM t RETURNING *) FROM x", StatementKind.WRITE),
        ("SELECT nextval('s')", StatementKind.WRITE),
        ("INSERT INTO t VALUES (1)", StatementKind.WRITE),
        ("MERGE INTO t USING u ON t.i = u.i WHEN MATCHED THEN DELETE", StatementKind.WRITE),
        ("CREATE TABLE t (i INTEGER)", StatementKind.COMMAND),
        ("BEGIN", StatementKind.LOCAL),
        ("EXPLAIN SELECT 1", StatementKind.READ),
        ("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", StatementKind.WRITE),
        ("EXPLAIN UPDATE t SET i = 1", StatementKind.WRITE),  # is bound where it could be written
    ],
)
def test_statements_with_effects_are_told_from_reads(parser, sql, kind):
    (statement,) = parser.parse(sql)
    assert approve(statement, parser).kind is kind


@pytest.mark.parametrize(
    "sql",
    [
        "COPY t TO 'x.csv'",
        "COPY (SELECT 1) TO 'x.csv'",
        "WITH x AS (COPY t TO 'x.csv') SELECT 1",
        "SELECT * FROM t WHERE i IN (WITH x AS (COPY (SELECT 1) TO 'x.csv') SELECT 1)",
        "EXPLAIN ANALYZE COPY t TO 'x.csv'",
        "EXPLAIN (ANALYZE) COPY t TO 'x.csv'",
        "PREPARE p AS COPY t TO 'x.csv'",
        "INSERT INTO t WITH x AS (COPY u TO 'x.csv') SELECT 1",
        "CREATE TABLE c AS SELECT * FROM read_csv('x')",
        "CREATE VIEW c AS SELECT * FROM \"read_text\" ('x')",
        "CREATE MACRO m(a) AS TABLE SELECT * FROM read_csv(a)",
        "CREATE VIEW c AS FROM 'x.parquet'",
        "FROM 'folder/x.parquet'",
        "FROM read_parquet('x')",
        "FROM query('SELECT 1')",
        "FROM glob('*')",
        "SELECT getenv('HOME')",
        "EXPORT DATABASE 'x'",
        "IMPORT DATABASE 'x'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "ATTACH 'x.db'",
        "ATTACH 'x.db' AS \":memory:\"",
        "DETACH lake",
        "SET GLOBAL threads = 1",
        "RESET GLOBAL threads",
        "SET SESSION allocator_background_threads = false",
        'RESET "Allocator_background_threads"',
        "PRAGMA allocator_background_threads = false",
        "SET streaming_buffer_size = '1GB'",
        "SET SESSION Max_streaming_buffer_size = '1GB'",
        "PRAGMA \"streaming_buffer_size\" = '1GB'",
        "RESET streaming_buffer_size",
        "PRAGMA enable_profiling",
        "CALL enable_logging()",
        "CALL force_checkpoint()",
        "CREATE SECRET s (TYPE http)",
        "COPY FROM DATABASE a TO b",
    ],
)
def test_statements_that_reach_out_are_refused(parser, sql):
    statements = parser.parse(sql)
    with pytest.raises(StatementNotAllowed):
        assert [approve(statement, parser) for statement in statements] == []


@pytest.mark.parametrize(
    ("sql", "way_out"),
    [
        ("COPY t TO 'x.csv'", "skein query -o"),
        ("INSTALL httpfs", "built in"),
        ("SELECT * FROM read_csv('x')", "ingest the file"),
    ],
)
def test_a_refusal_names_a_way_out(parser, sql, way_out):
    with pytest.raises(StatementNotAllowed, match=way_out):
        assert [approve(statement, parser) for statement in parser.parse(sql)] == []


def test_what_is_nested_too_deep_is_told_without_advice_that_nobody_can_take():
    failure = translate(
        "BinderException", "Binder Error: Max expression depth limit of 1000 exceeded. Use SET"
    )
    assert (failure.code, "SET" in str(failure)) == ("invalid_sql", False)


def test_a_server_with_too_many_open_files_is_not_the_fault_of_the_statement():
    failure = translate("IOException", 'IO Error: Cannot open file "<lake>/x.parquet": Too many open files')
    assert (failure.code, "<lake>" in str(failure)) == ("resource_exhausted", False)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS copy",
        'INSERT INTO t (copy, "load") SELECT copy, load FROM u',
        "CREATE TABLE t AS SELECT 1 AS copy, 2 AS load",
        "SELECT 'read_csv(''x'')'",
        "SELECT upper('x') FROM range(3) -- COPY t TO 'x'",
        "UPDATE t SET s = 'copy' WHERE s = 'FROM ''x'''",
        "ATTACH ':memory:' AS scratch",
        "DETACH scratch",
        "PRAGMA table_info('t')",
        "SET TimeZone = 'UTC'",
        "SET VARIABLE x = 1",
        "USE main",
        "PREPARE p AS SELECT 1",
        "CALL pragma_version()",
        "FROM json_each('[1,2]')",
        "DELETE FROM t USING u WHERE t.i = u.i",
    ],
)
def test_ordinary_statements_are_not_refused(parser, sql):
    for statement in parser.parse(sql):
        approve(statement, parser)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE TABLE datasets.owls AS SELECT 1", ("create", "table", "", "datasets", "owls")),
        ("create temp table if not exists owls (i int)", ("create", "table", "", "", "owls")),
        ('CREATE VIEW "my lake"."a""b"."c d" AS SELECT 1', ("create", "view", "my lake", 'a"b', "c d")),
        ("DROP TABLE IF EXISTS lake.datasets.owls", ("drop", "table", "lake", "datasets", "owls")),
        ("CREATE SCHEMA lake.other", ("create", "schema", "lake", "other", "")),
        ("COMMENT ON TABLE owls IS 'x'", ("comment", "table", "", "", "owls")),
        ("COMMENT ON COLUMN datasets.owls.i IS 'x'", ("comment", "column", "", "datasets", "owls")),
        ("INSERT OR REPLACE INTO datasets.owls SELECT 1", ("insert", "table", "", "datasets", "owls")),
        ("WITH a AS (SELECT 1) INSERT INTO owls FROM a", ("insert", "table", "", "", "owls")),
        ("UPDATE owls SET i = 1", ("update", "table", "", "", "owls")),
        (
            "WITH merge AS (FROM u), insert AS (FROM u) DELETE FROM owls",
            ("delete", "table", "", "", "owls"),
        ),
        ("/* x */ DELETE FROM owls", ("delete", "table", "", "", "owls")),
        ("TRUNCATE owls", ("truncate", "table", "", "", "owls")),
        (
            "MERGE INTO owls USING u ON owls.i = u.i WHEN MATCHED THEN DELETE",
            ("merge", "table", "", "", "owls"),
        ),
        ("PREPARE p AS INSERT INTO owls VALUES (1)", ("insert", "table", "", "", "owls")),
    ],
)
def test_the_target_of_a_change_is_found(parser, sql, expected):
    (statement,) = parser.parse(sql)
    found = target(statement)
    assert found is not None
    assert (found.verb, found.kind, found.name.catalog, found.name.schema, found.name.name) == expected


def test_reads_have_no_target(parser):
    for sql in ("SELECT 1", "EXPLAIN SELECT 1", "SET TimeZone = 'UTC'", "BEGIN"):
        (statement,) = parser.parse(sql)
        assert target(statement) is None


def test_tokens_keep_letters_beyond_ascii():
    assert [token.text for token in tokenize("INSERT INTO \"é\" VALUES ('ü')")] == [
        "INSERT", "INTO", '"é"', "VALUES", "(", "'ü'", ")",
    ]  # fmt: skip


def test_every_duckdb_exception_has_a_failure_of_ours():
    kinds = [name for name in dir(duckdb) if name.endswith("Exception")]
    assert len(kinds) > 15
    known = {kind.replace(" ", "").lower() for kind in FAILURES}
    for name in kinds:
        kind = name.removesuffix("Exception")
        assert any(kind.lower() in candidate or candidate in kind.lower() for candidate in known), name
        assert isinstance(translate(name, "something happened"), FlightCoreError)


@pytest.mark.parametrize(
    ("near", "hint"),
    [
        ('"birds or pg_tables"', "did you mean 'birds'?"),
        ('"pg_tables or lake.datasets.birds"', "did you mean 'birds'?"),
        ('"pg_tables"', "list the datasets"),
        ('"b or birds@v3 or birds@gold@0079a1b5@0"', "list the datasets"),
    ],
)
def test_of_several_names_that_are_near_one_is_told_that_can_be_meant(near, hint):
    text = f"Catalog Error: Table with name b does not exist!\nDid you mean {near}?"
    assert hint in str(translate("CatalogException", text))


def test_server_folders_never_reach_a_message():
    connection = duckdb.connect()
    with pytest.raises(duckdb.IOException) as caught:
        connection.sql("FROM read_csv('/nowhere/at/all.csv')")
    assert "/nowhere" in str(caught.value)
    from flight_core.adapters.engines.duckdb.failures import Failures

    failures = Failures({"/nowhere/at": "<lake>"}, lambda: None)
    with pytest.raises(FlightCoreError) as ours, failures.translated():
        raise caught.value
    assert "/nowhere" not in str(ours.value)
