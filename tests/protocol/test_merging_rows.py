"""MERGE INTO datasets: as DuckDB does it to tables, through every door, with what holds for all writes."""

import itertools
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import adbc_driver_flightsql.dbapi as adbc
import duckdb
import pyarrow as pa
import pytest
from hypothesis import event, given, reject, settings
from hypothesis import strategies as st

from flight_core.domain.access import LOCAL
from flight_core.domain.errors import FlightCoreError
from flight_core.domain.query import Statement


def hatched(first: int, end: int) -> str:
    return f"""
        SELECT i::INTEGER AS id, 'bird ' || i AS name, i / 4 AS weight, [i, i + 1] AS seen,
               {{'x': i}} AS place, CASE WHEN i % 3 > 0 THEN DATE '2026-01-01' + i::INTEGER END AS day,
               i::DECIMAL(6, 2) AS "when then"
        FROM range({first}, {end}) r(i)
    """


@pytest.fixture
def birds(cursor):
    """A dataset of twelve birds in three files."""
    cursor.execute("DROP TABLE IF EXISTS datasets.birds")
    cursor.execute(f"CREATE TABLE datasets.birds AS {hatched(0, 4)}")
    for start in (4, 8):
        cursor.execute(f"INSERT INTO birds {hatched(start, start + 4)}")


def found(cursor, sql: str) -> list[tuple]:
    cursor.execute(sql)
    return cursor.fetchall()


def newest(http, name: str) -> dict:
    return http.get(f"/api/v1/datasets/{name}/versions").json()["items"][0]


NEW = f"(SELECT * REPLACE (name || '!' AS name, weight + 100 AS weight) FROM ({hatched(10, 14)}))"


@pytest.mark.parametrize(
    "sql",
    [
        f"MERGE INTO birds USING {NEW} AS n USING (id) WHEN MATCHED THEN UPDATE WHEN NOT MATCHED THEN INSERT",
        f"MERGE INTO birds USING {NEW} n ON n.id = birds.id WHEN MATCHED THEN UPDATE SET *"
        " WHEN NOT MATCHED BY TARGET THEN INSERT *",
        f"MERGE INTO birds USING (SELECT weight, id FROM {NEW}) n ON n.id = birds.id"
        " WHEN MATCHED THEN UPDATE BY NAME WHEN NOT MATCHED THEN INSERT BY NAME",
        f"MERGE INTO datasets.birds AS b USING {NEW} n ON n.id = b.id WHEN NOT MATCHED AND id > 12 THEN"
        " INSERT (name, id) VALUES (CASE WHEN id IS NOT NULL THEN upper(name) END, id)",
        "merge into lake.datasets.birds b using birds as o on b.id = o.id + 1 when matched and b.day is null"
        " then delete when matched then update set weight = o.weight, name = b.name || o.name",
        'MERGE INTO birds AS "or der" USING range(3) r(id) ON r.id = "or der".id WHEN MATCHED AND CASE WHEN'
        " r.id = 1 THEN true ELSE false END THEN DO NOTHING WHEN MATCHED /* WHEN */ THEN UPDATE SET"
        " \"WHEN THEN\" = 1.234, -- THEN\n name = 'when, then', WHEN NOT MATCHED BY SOURCE AND id > 9 THEN"
        " UPDATE SET seen = [1, id], place = {'x': 3}, day = NULL WHEN NOT MATCHED BY SOURCE AND id > 5"
        " THEN DELETE -- the end",
        "WITH\n merge AS (SELECT 3 AS k UNION ALL SELECT 30), fewer AS (FROM merge WHERE k > 3) MERGE INTO"
        " birds t USING merge ON t.id = k AND k NOT IN (FROM fewer) WHEN MATCHED THEN UPDATE SET weight ="
        " (SELECT max(weight) FROM birds WHERE id < k) WHEN NOT MATCHED THEN INSERT (id) VALUES (k)",
        "MERGE INTO birds USING (VALUES (1, '7'), (20, '8')) v(i, \"end\") ON i = id"
        ' WHEN MATCHED THEN UPDATE SET weight = v."end", name = 5, id = 2.6'
        " WHEN NOT MATCHED THEN INSERT (id, name, day) VALUES (i, v.end, '2026-03-01')",
        "MERGE INTO datasets.birds USING (SELECT id, datasets.birds.day FROM datasets.birds) AS o"
        " ON birds.id + 3 = o.id WHEN MATCHED AND lake.datasets.birds.id > 5"
        " THEN UPDATE SET day = o.day, name = DATASETS.birds.name"
        " WHEN NOT MATCHED BY SOURCE AND datasets.birds.place.x = 11 THEN DELETE",
        "MERGE INTO birds USING (SELECT 1) ON true WHEN MATCHED AND id % 2 = 0 THEN DELETE",
        "MERGE INTO birds USING (SELECT 1 AS one) ON false WHEN NOT MATCHED BY SOURCE THEN DELETE",
        "MERGE INTO birds USING range(0) r(id) USING (id) WHEN MATCHED THEN DELETE",
        "MERGE INTO birds USING range(0, 40, 5) r(id) USING (id) WHEN NOT MATCHED THEN DO NOTHING",
        "MERGE INTO birds USING (VALUES (1, 1), (1, 2)) v(id, k) USING (id)"
        " WHEN MATCHED AND k = 2 THEN DELETE",
        "MERGE INTO birds USING range(3) r(n) ON id = n WHEN MATCHED THEN INSERT VALUES (n + 20, name, 0,"
        " seen, place, day, 1) WHEN NOT MATCHED BY SOURCE AND id > 9 THEN INSERT (id) VALUES (id + 20,)",
        "MERGE INTO birds USING range(3) r(n) ON id < n WHEN MATCHED AND n = 2 THEN UPDATE SET id = n"
        " WHEN NOT MATCHED THEN INSERT (id) VALUES (n) WHEN NOT MATCHED BY SOURCE THEN DELETE",
        "MERGE INTO birds USING range(3) r(n) ON id = n WHEN MATCHED AND n > 5 THEN ERROR"
        " WHEN MATCHED AND n > 6 THEN ERROR 'no ' || n WHEN MATCHED THEN DELETE",
    ],
)
@pytest.mark.usefixtures("birds")
def test_rows_are_what_duckdb_makes_of_them_in_a_table(http, cursor, sql):
    with duckdb.connect() as own:
        own.execute(f"CREATE TABLE birds AS {hatched(0, 12)}")
        plain = re.sub(r"(?i)(lake\.)?datasets\.", "", sql)
        ((count,),) = own.execute(plain).fetchall()
        expected = own.execute("FROM birds ORDER BY ALL").fetchall()
    reply = http.post("/api/v1/queries", json={"sql": sql})
    assert reply.json().get("affected_rows") == count, reply.text
    assert found(cursor, "FROM birds ORDER BY ALL") == expected
    version = newest(http, "birds")
    if count:
        assert (version["operation"], version["rows"]) == ("merge", len(expected))
    else:
        assert version["version"] == 2


EXAMPLES = 60
NUMBERS = st.none() | st.integers(0, 3)
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5)
ONES = st.sampled_from(
    ["", "AND {}k > 1", "AND {}k IS NULL", "AND {}v % 2 = 0", "AND {}k IN (SELECT v FROM s)"]
)
UPDATES = [
    "UPDATE SET v = {t}v + 10",
    "UPDATE SET k = {t}v, v = {t}k",
    "UPDATE SET v = CASE WHEN {t}k = 1 THEN 7 END",
]
ALONE = ["DELETE", "DO NOTHING", *UPDATES]
INSERTS = ["INSERT", "INSERT BY NAME", "INSERT (v) VALUES (k)", "INSERT VALUES (v, s.k + 20)", "DO NOTHING"]
CLAUSES = st.one_of(
    st.builds(
        lambda when, what: f"WHEN MATCHED {when} THEN {what}".format("s.", t="t."),
        ONES,
        st.sampled_from([*ALONE, "UPDATE", "UPDATE BY NAME", "INSERT", "INSERT (v) VALUES (t.k + s.k)"]),
    ),
    st.builds(
        lambda when, what: f"WHEN NOT MATCHED {when} THEN {what}".format(""), ONES, st.sampled_from(INSERTS)
    ),
    st.builds(
        lambda when, what: f"WHEN NOT MATCHED BY SOURCE {when} THEN {what}".format("", t=""),
        ONES,
        st.sampled_from([*ALONE, "INSERT (k, v) VALUES (v + 30, k)"]),
    ),
)
CONDITIONS = (
    "ON t.k = s.k",
    "USING (k)",
    "USING (k, v)",
    "ON t.k IS NOT DISTINCT FROM s.k",
    "ON t.k < s.v",
    "ON t.v = 1",
)
MERGES = st.builds(
    lambda condition, clauses: f"MERGE INTO t USING s {condition} {' '.join(clauses)}",
    st.sampled_from(CONDITIONS),
    st.lists(CLAUSES, min_size=1, max_size=4),
)


def values(rows: list[tuple]) -> str:
    told = ", ".join(f"({k}, {v})".replace("None", "NULL") for k, v in rows)
    return (
        f"SELECT k::INTEGER AS k, v::INTEGER AS v FROM (VALUES {told or '(0, 0)'}) r(k, v) WHERE {bool(rows)}"
    )


def test_any_merge_is_what_duckdb_makes_of_it(stack):
    def ours(sql: str) -> list[dict]:
        outcome = stack.skein.flight.run_statement(Statement(sql), actor=LOCAL, started=lambda _: None)
        return outcome.table.to_pylist()

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(first=ROWS, second=ROWS, source=ROWS, sql=MERGES)
    def holds(first, second, source, sql):
        with duckdb.connect() as own:
            own.execute(f"CREATE TABLE t AS {values(first + second)}; CREATE TABLE s AS {values(source)}")
            try:
                ((count,),) = own.execute(sql).fetchall()
            except duckdb.InternalException:  # with several subqueries in conditions
                reject()
            except duckdb.Error as error:
                count = None
                event(str(error)[:60])
            expected = own.execute("SELECT k, v FROM t ORDER BY ALL").fetchall()
        ours(f"CREATE OR REPLACE TABLE datasets.t AS {values(first)}; INSERT INTO t {values(second)}")
        ours(f"CREATE OR REPLACE TABLE s AS {values(source)}")
        if count is None:
            with pytest.raises(FlightCoreError):
                ours(sql)
        else:
            assert ours(sql) == [{"Count": count}]
        assert [tuple(row.values()) for row in ours("SELECT k, v FROM t ORDER BY ALL")] == expected

    holds()


@pytest.mark.usefixtures("birds")
def test_merged_rows_are_held_against_the_contract(http, cursor):
    contract = {
        "columns": [
            {"name": "id", "type": "int32", "nullable": False},
            {"name": "name", "type": "string", "max_length": 20},
        ],
        "unique": [{"columns": ["id"]}],
    }
    assert http.put("/api/v1/datasets/birds/contract", json=contract).status_code == 200
    merge = "MERGE INTO birds USING (VALUES (3, 'x'), (30, 'y')) v(id, name) USING (id) WHEN MATCHED THEN {} "
    cursor.execute(merge.format("UPDATE SET name = v.name") + "WHEN NOT MATCHED THEN INSERT (id) VALUES (id)")
    merged = "SELECT id, name FROM birds WHERE id IN (3, 4, 30) ORDER BY id"
    assert found(cursor, merged) == [(3, "x"), (4, "bird 4"), (30, None)]
    cursor.execute(merge.format("DELETE") + "WHEN NOT MATCHED BY SOURCE AND id = 4 THEN UPDATE SET id = 3")
    assert found(cursor, merged) == [(3, "bird 4")]
    for clause, told in (
        ("UPDATE SET id = 5", r"unique\(id\) 1"),
        ("UPDATE SET name = repeat('x', 21)", r"name.max_length 1"),
        ("DO NOTHING WHEN NOT MATCHED THEN INSERT (id) VALUES (7)", r"unique\(id\) 1"),
        ("DO NOTHING WHEN NOT MATCHED THEN INSERT (name) VALUES (v.name)", r"id.not_null 1"),
    ):
        with pytest.raises(adbc.Error, match=rf"contract_violated.*{told}"):
            cursor.execute(merge.format(clause))
    assert newest(http, "birds")["version"] == 4
    assert http.get("/api/v1/datasets/birds_rejects").status_code == 404
    assert http.delete("/api/v1/datasets/birds/contract").status_code == 204


def test_merges_and_appends_that_meet_all_come_to_their_end(stack, http):
    with stack.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE TABLE datasets.counted (id BIGINT, n BIGINT)")
    merged = threading.Event()

    def append() -> int:
        rows = pa.table({"id": pa.array([-1], pa.int64()), "n": pa.array([0], pa.int64())})
        for count in itertools.count():
            if merged.is_set():
                return count
            stack.write("counted", rows)
        raise AssertionError

    asked = {
        "sql": "MERGE INTO counted USING range(4) r(id) USING (id)"
        " WHEN MATCHED THEN UPDATE SET n = n + 1 WHEN NOT MATCHED THEN INSERT VALUES (id, 1)"
    }

    def merge(_: int) -> None:
        with stack.http(timeout=120) as own:
            for _ in range(3):
                reply = own.post("/api/v1/queries", json=asked)
                assert (reply.status_code, reply.json().get("affected_rows")) == (200, 4), reply.text

    with ThreadPoolExecutor(4) as pool:
        appended = pool.submit(append)
        try:
            list(pool.map(merge, range(3)))
        finally:
            merged.set()
    rows = http.post("/api/v1/queries", json={"sql": "FROM counted WHERE id >= 0 ORDER BY id"}).json()["rows"]
    assert rows == [{"id": id, "n": 9} for id in range(4)]
    (left,) = http.post("/api/v1/queries", json={"sql": "SELECT count(*) AS n FROM counted"}).json()["rows"]
    assert left == {"n": 4 + appended.result()}


@pytest.mark.usefixtures("birds")
def test_a_transaction_publishes_its_merge_at_the_end_unless_others_committed(stack, http):
    merge = (
        "MERGE INTO birds USING range(10, 14) r(id) USING (id) WHEN NOT MATCHED THEN INSERT (id) VALUES (id)"
    )
    with adbc.connect(stack.flight_uri) as connection, connection.cursor() as cursor:
        cursor.execute(merge)
        assert newest(http, "birds")["version"] == 2
        with pytest.raises(adbc.Error, match=r"has changed .* already"):
            cursor.execute(merge)
        connection.commit()
        assert newest(http, "birds")["rows"] == 14
        cursor.execute(merge.replace("14", "15"))
        http.post("/api/v1/queries", json={"sql": "INSERT INTO birds (id) VALUES (14)"})
        with pytest.raises(adbc.Error, match="commit_conflict"):
            connection.commit()
    assert newest(http, "birds")["rows"] == 15


@pytest.mark.usefixtures("birds")
def test_a_long_list_of_rows_is_merged(cursor):
    rows = ", ".join(f"({id}, 'bird number {id}')" for id in range(10_000))
    clauses = [f"WHEN MATCHED AND id = {id} THEN UPDATE SET name = v.name" for id in range(10)]
    cursor.execute(f"MERGE INTO birds USING (VALUES {rows}) v(id, name) USING (id) {' '.join(clauses)}")
    assert found(cursor, "SELECT count(*) FROM birds WHERE name LIKE '%number%'") == [(10,)]


@pytest.mark.usefixtures("birds")
def test_parameters_keep_their_places(stack, http, cursor):
    sql = (
        "MERGE INTO birds USING (SELECT ?::INTEGER AS id, ?::VARCHAR AS name) s ON birds.id = s.id"
        " AND s.id < ? WHEN NOT MATCHED THEN INSERT (id, name) VALUES (id, ?)"
        " WHEN NOT MATCHED BY SOURCE AND id = ? THEN UPDATE SET name = ?"
        " WHEN MATCHED AND s.name = ? THEN UPDATE SET day = ?, seen = ?"
    )
    given = (3, "three", 100, "new", 4, "four", "three", "2026-05-01", [7])
    assert http.post("/api/v1/queries", json={"sql": sql, "params": given}).json()["affected_rows"] == 2
    wanted = "SELECT id, name, day::VARCHAR, seen FROM birds WHERE id IN (3, 4) ORDER BY id"
    assert found(cursor, wanted) == [(3, "bird 3", "2026-05-01", [7]), (4, "four", "2026-01-05", [4, 5])]
    named = sql.replace("?", "${}").format(*"abcdefghi")
    asked = {"sql": named, "params": dict(zip("abcdefghi", (50, *given[1:]), strict=True))}
    assert http.post("/api/v1/queries", json=asked).json()["affected_rows"] == 2
    assert found(cursor, "SELECT name FROM birds WHERE id = 50") == [("new",)]
    cursor.execute(sql.replace(", seen = ?", ""), (50, "three", 100, "new", -1, "none", "three", None))
    assert cursor.rowcount in (1, -1)
    cursor.execute("UPDATE birds SET name = ? FROM (SELECT 4 AS k WHERE ? = 'x') o WHERE k = id", ("y", "x"))
    assert found(cursor, "SELECT name FROM birds WHERE id = 4") == [("y",)]
    cursor.execute("INSERT INTO birds BY NAME SELECT ?::VARCHAR AS name, 60 AS id", ("sixty",))
    assert found(cursor, "SELECT name FROM birds WHERE id = 60") == [("sixty",)]


@pytest.mark.parametrize(
    ("clauses", "code", "told"),
    [
        ("r(id) USING (id) WHEN MATCHED THEN UPDATE SET nope = 1", "invalid_sql", "no column 'nope'"),
        ("r(id) USING (id) WHEN MATCHED\nTHEN UPDATE SET name = nope", "invalid_sql", "(line 2, column 24)"),
        ("r(id)\n ON r.id = nope WHEN MATCHED THEN DELETE", "invalid_sql", "(line 2, column 12)"),
        (
            "r(id) USING (id)\nWHEN MATCHED\nAND id =\n\n  nope\nTHEN DELETE",
            "invalid_sql",
            "(line 5, column 3)",
        ),
        ("r(id) USING (id) WHEN MATCHED THEN UPDATE SET id = 1, ID = 2", "invalid_sql", "named twice"),
        ("r(id) USING (id) WHEN MATCHED THEN UPDATE", "invalid_sql", "7 columns and has 1 values"),
        (
            "r(n) ON n = id WHEN NOT MATCHED THEN INSERT (id) VALUES (birds.id)",
            "invalid_sql",
            'Referenced table "birds"',
        ),
        ("r(n) ON n < id WHEN MATCHED THEN DELETE", "invalid_sql", "let USING have one row for each"),
        ("r(n) ON n = id WHEN MATCHED AND n = 5 THEN ERROR 'five'", "query_failed", "matched: five"),
        ("a, nope USING (id) WHEN MATCHED THEN DELETE", "invalid_sql", "syntax error"),
        ("r(id) USING (id) WHEN MATCHED THEN DELETE RETURNING *", "statement_not_allowed", "SELECT"),
        (
            "r(id) USING (id) WHEN NOT MATCHED THEN INSERT (id) VALUES (DEFAULT)",
            "statement_not_allowed",
            "no defaults",
        ),
        ("r(id) JOIN birds b USING (id) ON true WHEN MATCHED THEN DELETE", "statement_not_allowed", "JOIN"),
    ],
)
@pytest.mark.usefixtures("birds")
def test_what_is_wrong_is_told_and_changes_nothing(http, clauses, code, told):
    reply = http.post("/api/v1/queries", json={"sql": f"MERGE INTO birds USING range(20) {clauses}"}).json()
    assert (reply["code"], told in reply["detail"]) == (code, True), reply
    assert newest(http, "birds")["version"] == 2
