"""Deleting rows, through every door: HTTP, SQL over HTTP and Flight, ADBC, the command line's request."""

from concurrent.futures import ThreadPoolExecutor

import adbc_driver_flightsql.dbapi
import pyarrow as pa
import pytest


@pytest.fixture
def numbers(cursor, request):
    """A dataset with the numbers 0 to 9 in `n`, NULL in `m` of the odd ones, under a name of its own."""
    name = f"d{abs(hash(request.node.name))}"
    table = pa.table({"n": range(10), "m": [None if n % 2 else n for n in range(10)]})
    cursor.adbc_ingest(name, table, mode="create", db_schema_name="datasets")
    return name


def left(http, name):
    reply = http.post("/api/v1/query", json={"sql": f'SELECT n FROM datasets."{name}" ORDER BY n'})
    return [row["n"] for row in reply.json()["rows"]]


def delete(http, name, where, **fields):
    return http.post(f"/api/v1/datasets/{name}/delete", json={"where": where, **fields})


def test_rows_go_over_http_and_the_history_says_why(http, numbers):
    reply = delete(http, numbers, "n >= ? AND m IS NOT NULL", params=[4])
    assert reply.json() == {"dataset": numbers, "deleted_rows": 3, "version": 1}
    assert left(http, numbers) == [0, 1, 2, 3, 5, 7, 9]
    newest = http.get(f"/api/v1/datasets/{numbers}/versions").json()["items"][0]
    assert (newest["operation"], newest["rows"]) == ("delete", 7)
    assert newest["info"]["where"] == "n >= ? AND m IS NOT NULL"
    assert newest["info"]["actor"] == "local"


def test_rows_for_which_the_condition_is_unknown_stay(http, numbers):
    assert delete(http, numbers, "m < 100").json()["deleted_rows"] == 5
    assert left(http, numbers) == [1, 3, 5, 7, 9]


def test_a_condition_that_holds_for_no_row_makes_no_version(http, numbers):
    reply = delete(http, numbers, "n > 100")
    assert reply.json() == {"dataset": numbers, "deleted_rows": 0, "version": 0}


@pytest.mark.parametrize(
    ("where", "status", "code"),
    [
        ("nope = 1", 400, "invalid_sql"),
        ("n = ", 400, "invalid_sql"),
        ("true); DROP TABLE x; SELECT (1", 400, "invalid_sql"),
        ("n < 3) OR (true", 400, "invalid_sql"),
        ("", 400, "invalid_sql"),
        ("n = 'x'", 422, "query_failed"),
        ("n IN (SELECT x FROM read_parquet('/etc/*'))", 403, "statement_not_allowed"),
    ],
)
def test_what_is_no_condition_is_refused_and_deletes_nothing(http, numbers, where, status, code):
    reply = delete(http, numbers, where)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert left(http, numbers) == list(range(10))


@pytest.mark.parametrize(
    ("where", "line", "column"),
    [
        ("nope = 1", 1, 1),
        ("n = 1 AND nope = 1", 1, 11),
        ("skein_ro = 1", 1, 1),  # resembles a column of ours
        ("n = 1\n  AND nope = 1", 2, 7),
        ("n = = 1", 1, 5),
        ("n = 1 AND\n nope(n)", 2, 2),
    ],
)
def test_a_mistake_is_told_where_it_was_written(http, numbers, where, line, column):
    reply = delete(http, numbers, where).json()
    assert reply["details"] == {"line": line, "column": column}
    assert f"(line {line}, column {column})" in reply["detail"]
    assert "__skein" not in reply["detail"]
    head = f"DELETE FROM datasets.{numbers} WHERE "
    sql = http.post("/api/v1/queries", json={"sql": head + where}).json()
    assert sql["details"] == {"line": line, "column": column + len(head) * (line == 1)}


def test_a_dataset_that_does_not_exist_has_no_rows_to_delete(http):
    assert delete(http, "nowhere", "true").json()["code"] == "dataset_not_found"


def test_a_delete_can_be_guarded_by_an_etag(http, numbers):
    etag = http.get(f"/api/v1/datasets/{numbers}").headers["etag"]
    assert delete(http, numbers, "n = 1").status_code == 200
    late = http.post(
        f"/api/v1/datasets/{numbers}/delete", json={"where": "n = 2"}, headers={"If-Match": etag}
    )
    assert late.status_code == 412


def test_of_many_who_delete_from_the_same_version_one_succeeds(http, numbers):
    etag = http.get(f"/api/v1/datasets/{numbers}").headers["etag"]

    def delete_one(n: int) -> int:
        asked = {"where": "n = ?", "params": [n]}
        path = f"/api/v1/datasets/{numbers}/delete"
        return http.post(path, json=asked, headers={"If-Match": etag}).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(delete_one, range(6)))
    assert statuses == [200] + [412] * 5
    assert len(left(http, numbers)) == 9


@pytest.mark.parametrize("emptying", ["DELETE FROM {}", "TRUNCATE {}", "truncate table lake.datasets.{}"])
def test_sql_deletes_through_flight_sql(http, cursor, numbers, emptying):
    cursor.execute(
        f"DELETE FROM datasets.{numbers} AS d WHERE d.n IN (SELECT n FROM datasets.{numbers} WHERE n < 3)"
    )
    assert cursor.rowcount in (3, -1)
    assert left(http, numbers) == [3, 4, 5, 6, 7, 8, 9]
    cursor.execute(f"DELETE FROM {numbers} WHERE n = ?", parameters=[5])
    assert left(http, numbers) == [3, 4, 6, 7, 8, 9]
    cursor.execute(emptying.format(numbers))
    assert left(http, numbers) == []


def test_sql_deletes_over_http(http, numbers):
    sql = f"DELETE FROM datasets.{numbers} WHERE datasets.{numbers}.n > $low"
    reply = http.post("/api/v1/query", json={"sql": sql, "params": {"low": 1}})
    assert reply.json()["affected_rows"] == 8
    assert left(http, numbers) == [0, 1]


def test_a_transaction_that_is_rolled_back_deletes_nothing(stack, http, numbers):
    with (
        adbc_driver_flightsql.dbapi.connect(stack.flight_uri) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(f"DELETE FROM {numbers} WHERE n < 5")
        assert left(http, numbers) == list(range(10))
        connection.rollback()
        assert left(http, numbers) == list(range(10))
        cursor.execute(f"DELETE FROM {numbers} WHERE n < 5")
        connection.commit()
    assert left(http, numbers) == [5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM {0} USING {0} AS other WHERE other.n = {0}.n",
        "DELETE FROM {0} RETURNING n",
        "UPDATE {0} SET n = 1 RETURNING n",
        "UPDATE {0} SET (n, m) = (1, 2)",
        "UPDATE {0} SET m = DEFAULT",
        "MERGE INTO {0} AS t USING {0} AS s ON s.n = t.n WHEN MATCHED THEN DELETE RETURNING t.n",
    ],
)
def test_changes_that_datasets_do_not_know_are_refused(http, numbers, statement):
    reply = http.post("/api/v1/query", json={"sql": statement.format(f"datasets.{numbers}")})
    assert (reply.status_code, reply.json()["code"]) == (403, "statement_not_allowed")
    assert left(http, numbers) == list(range(10))
