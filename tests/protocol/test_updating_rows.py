"""UPDATE of datasets: as DuckDB does it to tables, through every door, with what holds for all writes."""

from concurrent.futures import ThreadPoolExecutor

import adbc_driver_flightsql.dbapi as adbc
import duckdb
import pytest

BIRDS = """
    SELECT i::INTEGER AS id, 'bird ' || i AS name, i / 4 AS weight, [i, i + 1] AS seen, {{'x': i}} AS place,
           CASE WHEN i % 3 > 0 THEN DATE '2026-01-01' + i::INTEGER END AS day, i::DECIMAL(6, 2) AS "set where"
    FROM range({}, {}) r(i)
"""


@pytest.fixture
def birds(cursor, request):
    """A dataset of twelve birds in three files, under a name of its own."""
    name = f"b{abs(hash(request.node.name))}"
    cursor.execute(f"CREATE TABLE datasets.{name} AS {BIRDS.format(0, 4)}")
    for start in (4, 8):
        cursor.execute(f"INSERT INTO {name} {BIRDS.format(start, start + 4)}")
    return name


def found(cursor, sql: str) -> list[tuple]:
    cursor.execute(sql)
    return cursor.fetchall()


def newest(http, name: str) -> dict:
    return http.get(f"/api/v1/datasets/{name}/versions").json()["items"][0]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE {} SET name = 'x'",
        "UPDATE datasets.{} SET id = id + 1, weight = id WHERE weight > 1",
        "UPDATE datasets.{0} SET weight = datasets.{0}.id + (SELECT max(datasets.{0}.id) FROM datasets.{0})"
        " WHERE lake.datasets.{0}.place.x > 2",
        "UPDATE lake.datasets.{} b SET name = b.name || '!', WHERE b.id IN (SELECT max(id) FROM {})",
        "UPDATE {} AS b SET weight = (SELECT sum(o.weight) FROM {} o WHERE o.id < b.id) WHERE day IS NULL",
        "UPDATE {} SET id = 2.6, weight = '7', name = 5, day = '2026-03-01' WHERE id = 3 -- two\n",
        "UPDATE {} SET \"SET WHERE\" = 1.234, seen = [1, 2], place = {{'x': 3}}, day = NULL WHERE id % 2 = 0",
        "UPDATE {} SET name = CASE WHEN day IS DISTINCT FROM NULL THEN 'a, b' END /* from */ WHERE id > 1",
        "WITH\n heavy AS (SELECT 9 AS id) UPDATE {} AS b SET name = 'heavy' FROM heavy WHERE heavy.id = b.id",
        "UPDATE {} SET weight = v.w FROM (VALUES (1, 0.5), (10, 2.5), (99, 1)) v(i, w) WHERE v.i = id",
        "UPDATE {} AS b SET id = o.id FROM {} o, range(3) r(n) WHERE o.id = b.id + 1 AND r.n = o.id",
        "UPDATE {} SET name = upper(name) WHERE NULL",
    ],
)
def test_rows_are_what_duckdb_makes_of_them_in_a_table(http, cursor, birds, sql):
    with duckdb.connect() as own:
        own.execute(f"CREATE TABLE {birds} AS {BIRDS.format(0, 12)}")
        own.execute("CREATE SCHEMA datasets; ATTACH ':memory:' AS lake; CREATE SCHEMA lake.datasets")
        plain = sql.replace("lake.datasets.", "").replace("datasets.", "")
        ((count,),) = own.execute(plain.format(birds, birds)).fetchall()
        expected = own.execute(f"FROM {birds} ORDER BY ALL").fetchall()
    cursor.execute(sql.format(birds, birds))
    assert cursor.rowcount in (count, -1)
    assert found(cursor, f"FROM {birds} ORDER BY ALL") == expected
    version = newest(http, birds)
    if count:
        assert (version["operation"], version["added_rows"], version["rows"]) == ("update", count, 12)
    else:
        assert version["version"] == 2


def test_only_files_that_hold_changed_rows_are_written_again(stack, http, cursor, birds):
    before = set(stack.data.glob("lake/*/*/*.parquet"))
    cursor.execute(f"UPDATE {birds} SET name = ? WHERE id = ?", ("owl", 5))
    assert sorted(len(found(cursor, f"FROM '{birds}@v2'")) for _ in range(1)) == [12]
    made = set(stack.data.glob("lake/*/*/*.parquet")) - before
    assert len(made) == 2  # the three that stay of its file, and the changed one
    assert newest(http, birds)["info"]["where"] == "id = ?"
    assert found(cursor, f"SELECT id, weight FROM {birds} WHERE name = 'owl'") == [(5, 1.25)]


def test_parameters_go_with_it_through_http_and_prepared_statements(http, cursor, birds):
    asked = {"sql": f"UPDATE {birds} SET name = $new WHERE id < $id", "params": {"new": "x", "id": 2}}
    assert http.post("/api/v1/queries", json=asked).json()["affected_rows"] == 2
    cursor.execute(f"UPDATE {birds} SET name = ?, day = ? WHERE id = ?", ("y", None, 4))
    assert found(cursor, f"SELECT id FROM {birds} WHERE name IN ('x', 'y') ORDER BY id") == [(0,), (1,), (4,)]
    with pytest.raises(adbc.Error, match="upsert"):
        cursor.executemany(f"UPDATE {birds} SET name = ? WHERE id = ?", [("a", 1), ("b", 2)])


@pytest.mark.parametrize("sql", ['UPDATE "{}@v0" SET id = 1', 'INSERT INTO "{}@v0" (id) VALUES (1)'])
def test_an_older_version_stays_as_it_is(http, birds, sql):
    reply = http.post("/api/v1/queries", json={"sql": sql.format(birds)}).json()
    assert reply["code"] == "invalid_dataset_name"


@pytest.mark.parametrize(
    ("sql", "code", "told"),
    [
        ("SET nope = 1", "invalid_sql", "no column 'nope'"),
        ("SET id = 1, ID = 2", "invalid_sql", "named twice"),
        ("SET name = nope\nWHERE id = 1", "invalid_sql", "(line 1, column {})"),
        ("SET name = 'x'\n  WHERE nope = 1", "invalid_sql", "(line 2, column 9)"),
        ("SET id = 'x'", "query_failed", "'x'"),
        ("SET id = unnest([1, 2])", "invalid_sql", "several new rows"),
        ("SET id = r.n FROM range(2) r(n)", "invalid_sql", "several new rows"),
        ("SET id = *", "invalid_sql", "STAR"),
        ("SET id = max(id)", "invalid_sql", "GROUP BY"),
        ("SET name = x.name FROM nope x", "dataset_not_found", "'nope'"),
    ],
)
def test_what_is_wrong_is_told_and_changes_nothing(http, birds, sql, code, told):
    head = f"UPDATE {birds} "
    reply = http.post("/api/v1/queries", json={"sql": head + sql}).json()
    assert reply["code"] == code
    assert told.format(len(head) + 12) in reply["detail"]
    assert newest(http, birds)["version"] == 2


def test_a_transaction_publishes_its_update_at_the_end(stack, http, birds):
    with adbc.connect(stack.flight_uri) as connection, connection.cursor() as cursor:
        cursor.execute(f"UPDATE {birds} SET name = 'x' WHERE id < 3")
        connection.rollback()
        assert newest(http, birds)["version"] == 2
        cursor.execute(f"UPDATE {birds} SET name = 'x' WHERE id < 3")
        cursor.execute(f"INSERT INTO {birds} BY NAME SELECT 99 AS id")
        assert newest(http, birds)["version"] == 2
        for again in ("DELETE FROM {}", "UPDATE {} SET name = 'y'"):
            with pytest.raises(adbc.Error, match=r"has changed .* already"):
                cursor.execute(again.format(birds))
        connection.commit()
        assert found(cursor, f"SELECT id FROM {birds} WHERE name = 'x' OR id > 12 ORDER BY id") == [
            (0,),
            (1,),
            (2,),
            (99,),
        ]


def test_of_updates_that_meet_none_is_lost(stack, http, birds):
    asked = {"sql": f"UPDATE {birds} SET weight = weight + 1"}

    def add_three(_: int) -> None:
        with stack.http(timeout=120) as own:
            for _ in range(3):
                while (reply := own.post("/api/v1/queries", json=asked)).status_code == 409:
                    pass
                assert reply.json()["affected_rows"] == 12

    before = http.post("/api/v1/queries", json={"sql": f"SELECT sum(weight) AS w FROM {birds}"}).json()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add_three, range(3)))
    after = http.post("/api/v1/queries", json={"sql": f"SELECT sum(weight) AS w FROM {birds}"}).json()
    assert after["rows"][0]["w"] == before["rows"][0]["w"] + 12 * 9


def test_an_emptied_dataset_has_nothing_to_update(cursor, birds):
    cursor.execute(f"TRUNCATE {birds}")
    cursor.execute(f"UPDATE {birds} SET id = 1")
    assert found(cursor, f"FROM {birds}") == []


def test_changed_rows_are_held_against_the_contract(http, cursor, birds):
    contract = {
        "columns": [
            {"name": "id", "type": "int32", "nullable": False},
            {"name": "weight", "type": "float64", "le": 100, "severities": {"le": "warn"}},
            {"name": "name", "type": "string", "max_length": 20},
        ],
        "unique": [{"columns": ["id"]}],
        "extra_columns": "drop",
    }
    assert http.put(f"/api/v1/datasets/{birds}/contract", json=contract).status_code == 200
    cursor.execute(f"UPDATE {birds} SET weight = 200, name = 'heavy' WHERE id < 2")
    assert found(cursor, f"SELECT name, seen FROM {birds} WHERE weight = 200 ORDER BY id") == [
        ("heavy", [0, 1]),
        ("heavy", [1, 2]),
    ]
    with pytest.raises(adbc.Error, match=r"contract_violated.*name.max_length 4"):
        cursor.execute(f"UPDATE {birds} SET name = repeat('x', id + 13)")
    with pytest.raises(adbc.Error, match=r"statement_not_allowed.*unique key"):
        cursor.execute(f"UPDATE {birds} SET id = id + 100")
    assert newest(http, birds)["version"] == 3
    assert http.get(f"/api/v1/datasets/{birds}_rejects").status_code == 404
