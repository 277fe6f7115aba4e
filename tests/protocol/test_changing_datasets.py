"""SQL that changes datasets: the same statements do the same through every door."""

import datetime as dt
import json
from collections.abc import Callable
from contextlib import suppress

import adbc_driver_flightsql.dbapi
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from tests.stack import Stack

# Tells how many rows were changed, if that is known.
Door = Callable[[str], int | None]


@pytest.fixture(params=["http", "flight", "flight_sql"])
def change(request, stack: Stack, http, cursor):
    if request.param == "http":
        yield lambda sql: http.post("/api/v1/queries", json={"sql": sql}).json().get("affected_rows")
    elif request.param == "flight":
        with stack.flight() as flight:
            yield lambda sql: _affected(flight.get_flight_info(fl.FlightDescriptor.for_command(sql)))
    else:
        yield lambda sql: cursor.execute(sql).rowcount


def _affected(info: fl.FlightInfo) -> int | None:
    return json.loads(info.app_metadata).get("affected_rows")


def rows(http, sql: str) -> list[tuple]:
    return [tuple(row.values()) for row in http.post("/api/v1/queries", json={"sql": sql}).json()["rows"]]


def test_a_dataset_is_made_filled_emptied_and_dropped(change: Door, http):
    change("CREATE OR REPLACE TABLE datasets.birds AS SELECT 1 AS id, 'owl' AS name")
    assert change("INSERT INTO birds VALUES (2, 'tit'), (3, 'jay')") == 2
    assert change("INSERT INTO datasets.birds BY NAME SELECT 'emu' AS name, id + 3 AS id FROM birds") == 3
    assert change("UPDATE birds AS b SET id = b.id + 1, name = upper(name) WHERE b.id > 4") == 2
    assert rows(http, "FROM birds WHERE id > 4 ORDER BY id") == [(6, "EMU"), (7, "EMU")]
    assert change("UPDATE birds SET name = 'none' WHERE id < 0") == 0
    assert change("DELETE FROM birds WHERE id > 4") == 2
    merge = "MERGE INTO birds USING range(1, 6) r(id) USING (id) WHEN MATCHED AND id = 4 THEN DO NOTHING"
    assert (
        change(f"{merge} WHEN MATCHED THEN UPDATE SET name = name || id WHEN NOT MATCHED THEN INSERT BY NAME")
        == 4
    )
    assert (
        change(f"{merge} WHEN MATCHED THEN UPDATE SET name = name[:3] WHEN NOT MATCHED THEN INSERT BY NAME")
        == 4
    )
    assert change("MERGE INTO birds b USING range(5, 6) r(id) ON r.id = b.id WHEN MATCHED THEN DELETE") == 1
    assert rows(http, "FROM birds ORDER BY id") == [(1, "owl"), (2, "tit"), (3, "jay"), (4, "emu")]
    change("CREATE TABLE IF NOT EXISTS datasets.birds AS SELECT 0 AS other")
    change("CREATE OR REPLACE TABLE datasets.birds (id BIGINT, seen TIMESTAMPTZ)")
    assert rows(http, "FROM birds") == []
    change("DROP TABLE birds")
    change("DROP TABLE IF EXISTS datasets.birds")
    assert http.get("/api/v1/datasets/birds").status_code == 404


def test_the_history_tells_what_a_statement_read_and_the_door_it_came_through(http):
    for sql in ("CREATE TABLE datasets.eggs AS SELECT 1 AS n", "CREATE TABLE datasets.nest AS FROM eggs"):
        reply = http.post("/api/v1/queries", json={"sql": sql})
        assert reply.status_code == 200
    assert reply.headers["skein-datasets"] == "eggs@v0"
    told = "SELECT parent_dataset, parent_version FROM skein.lineage WHERE dataset = 'nest'"
    assert rows(http, told) == [("eggs", 0)]
    assert rows(http, "SELECT source FROM skein.versions WHERE dataset = 'nest'") == [("http",)]


def test_parameters_and_a_key_that_makes_a_repeated_insert_harmless(http):
    http.post("/api/v1/queries", json={"sql": "CREATE TABLE datasets.once (n INTEGER, day DATE)"})
    asked = {"sql": "INSERT INTO once VALUES ($n, $day)", "params": {"n": 7, "day": "2026-01-31"}}
    for _ in range(2):
        reply = http.post("/api/v1/queries", json=asked, headers={"Idempotency-Key": "seven"})
        assert reply.json()["affected_rows"] == 1
    assert rows(http, "FROM once") == [(7, "2026-01-31")]


@pytest.mark.parametrize(
    ("sql", "way_out"),
    [
        ("DROP VIEW kept", "DROP TABLE"),
        ("DROP VIEW IF EXISTS datasets.kept", "DROP TABLE"),
        ("CREATE VIEW datasets.v AS SELECT 1", "in the workspace"),
        ("INSERT OR REPLACE INTO kept VALUES (1)", "upsert"),
        ("ALTER TABLE datasets.kept ADD COLUMN j INTEGER", "schema policy"),
        ("PREPARE p AS UPDATE kept SET i = 2", "statement of its own"),
    ],
)
def test_what_a_dataset_does_not_know_is_refused_with_a_way_out(stack, http, cursor, sql, way_out):
    stack.write("kept", pa.table({"i": [1]}))
    version = http.get("/api/v1/datasets/kept").json()["version"]
    reply = http.post("/api/v1/queries", json={"sql": sql})
    assert (reply.status_code, reply.json()["code"]) == (403, "statement_not_allowed")
    assert way_out in reply.json()["detail"]
    with pytest.raises(adbc_driver_flightsql.dbapi.Error, match=way_out):
        cursor.execute(sql)
    assert http.get("/api/v1/datasets/kept").json()["version"] == version


def test_columns_are_named_as_sql_quotes_them(cursor):
    cursor.execute('''CREATE TABLE datasets.odd ("a,b" INTEGER, "c ""d""" TEXT, "(" DATE)''')
    cursor.execute('''INSERT INTO odd ("c ""d""", "A,B") VALUES ('x', 1)''')
    cursor.execute("""INSERT INTO odd ("(") VALUES ('2026-01-31')""")
    cursor.execute("FROM odd ORDER BY ALL")
    assert cursor.fetchall() == [(1, "x", None), (None, None, dt.date(2026, 1, 31))]


@pytest.mark.parametrize("where", ["i = 1", "no_column = 1"])
def test_a_delete_leaves_nothing_in_its_session(stack, cursor, where):
    stack.write("held", pa.table({"i": [1, 2]}))
    with suppress(adbc_driver_flightsql.dbapi.Error):
        cursor.execute(f"DELETE FROM held WHERE {where}")
    cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_catalog = 'temp'")
    assert cursor.fetchall() == []
    cursor.executemany("INSERT INTO held VALUES (?)", [(3,), (4,)])
    assert cursor.rowcount == 2


def test_several_statements_of_one_text_run_one_after_the_other(change: Door, http):
    change("CREATE OR REPLACE TABLE datasets.steps AS SELECT 1 AS i; CREATE OR REPLACE TABLE own (i INT)")
    last = "INSERT INTO own FROM steps; UPDATE steps SET i = i + 10; DELETE FROM steps WHERE i = 11"
    assert change(f"INSERT INTO steps VALUES (2), (3); {last}") == 1
    assert rows(http, "FROM steps ORDER BY i") == [(12,), (13,)]
    assert rows(http, "FROM own ORDER BY i") == [(1,), (2,), (3,)]
    change("BEGIN; INSERT INTO steps VALUES (4); ROLLBACK")
    change("BEGIN; INSERT INTO steps VALUES (5); INSERT INTO own VALUES (5); COMMIT")
    assert rows(http, "SELECT i FROM steps JOIN own USING (i)") == [(5,)]


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("INSERT INTO two VALUES (1, 2, 3)", "2 columns and has 3 values"),
        ("INSERT INTO two (b) SELECT 1 AS a, 2 AS b", "1 columns and has 2 values"),
        ("INSERT INTO two VALUES (1)", "2 columns"),
        ("INSERT INTO two (a, c) VALUES (1, 2)", "no column 'c'"),
        ("INSERT INTO two (a, A) VALUES (1, 2)", "named twice"),
        ("INSERT INTO two\n  SELECT 1, nope", "(line 2, column 13)"),
        ("CREATE TABLE datasets.new AS SELECT nope", "(line 1, column 37)"),
    ],
)
def test_rows_that_do_not_fit_the_columns_are_refused(http, sql, told):
    http.post("/api/v1/queries", json={"sql": "CREATE OR REPLACE TABLE datasets.two (a INT, b INT)"})
    reply = http.post("/api/v1/queries", json={"sql": sql}).json()
    assert (reply.get("code"), told in reply.get("detail", "")) == ("invalid_sql", True), reply
    assert rows(http, "FROM two") == []


def test_comments_may_stand_anywhere(change: Door, http):
    change("/* one */ CREATE OR REPLACE TABLE datasets.noted AS SELECT 1 AS i -- two")
    assert change("WITH w AS (SELECT 2 AS i) -- three\nINSERT INTO noted FROM w -- four") == 1
    assert change("UPDATE noted -- five\nSET i = i + 1 -- six\nWHERE true -- seven") == 2
    assert change("DELETE /* eight */ FROM noted WHERE i = 2 -- nine") == 1
    assert rows(http, "FROM noted") == [(3,)]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE plain SET i = 2",
        "MERGE INTO plain USING range(3) r(i) USING (i) WHEN MATCHED THEN DELETE",
        "DELETE FROM plain",
        "INSERT INTO plain VALUES (2)",
        "DROP TABLE plain",
    ],
)
def test_what_changes_a_table_can_be_explained_without_doing_it(http, cursor, sql):
    cursor.execute("CREATE OR REPLACE TABLE plain AS SELECT 1 AS i")
    ((kind, plan),) = rows(http, f"EXPLAIN {sql}")
    assert (kind, "───" in plan) == ("physical_plan", True)
    cursor.execute(f"EXPLAIN {sql}")
    assert cursor.fetchall() == [(kind, plan)]
    assert rows(http, "FROM plain") == [(1,)]


@pytest.mark.parametrize("change", ["UPDATE {} SET i = 2", "DELETE FROM {}", "INSERT INTO {} VALUES (2)"])
def test_views_and_datasets_within_other_statements_are_no_tables_to_change(stack, http, change):
    stack.write("stays", pa.table({"i": [1]}))
    http.post("/api/v1/queries", json={"sql": "CREATE OR REPLACE VIEW looks AS FROM stays"})
    for sql in (
        change.format("looks"),
        f"WITH w AS ({change.format('stays')} RETURNING *) FROM w",
        f"EXPLAIN {change.format('stays')}",
    ):
        reply = http.post("/api/v1/queries", json={"sql": sql}).json()
        assert (reply["code"], "nor after EXPLAIN: explain the SELECT" in reply["detail"]) == (
            "invalid_sql",
            True,
        ), reply
    http.post("/api/v1/queries", json={"sql": "DROP VIEW looks"})
