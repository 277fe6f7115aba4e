"""Results over HTTP: the same rows in every format, and what else answers a statement."""

import csv
import io
import json

import duckdb
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from control_api.json_text import json_text, plain_text
from tests.stack import Stack

ARROW = "application/vnd.apache.arrow.stream"
NDJSON = "application/x-ndjson"
ROWS = 300_000

TYPES = """
    SELECT i,
           CASE WHEN i % 3 > 0 THEN i END AS sometimes_null,
           i::DOUBLE / 7 AS d,
           (i / 100)::DECIMAL(18, 4) AS price,
           'text "' || i || '", Zürich' || chr(10) AS t,
           DATE '2000-01-01' + i::INTEGER % 9000 AS day,
           TIMESTAMP '2000-01-01' + INTERVAL (i) MINUTE AS moment,
           TIMESTAMPTZ '2000-01-01 00:00:00+00' + INTERVAL (i) MINUTE AS instant,
           [i, NULL] AS list,
           {'a': i, 'b': 'x'} AS struct,
           MAP {'k': i} AS map,
           ('v' || (i % 3))::ENUM('v0', 'v1', 'v2') AS choice,
           i % 2 = 0 AS flag,
           i::VARCHAR::BLOB AS bytes,
           i * 100000000000000::HUGEINT AS huge
    FROM range(?) r(i) ORDER BY i
"""


@pytest.fixture(scope="module")
def stack(stack):
    stack.write("numbers", pa.table({"x": range(1000)}))
    stack.write("numbers", pa.table({"x": range(1000, 1500)}))
    return stack


@pytest.fixture
def client(stack: Stack):
    with stack.http() as client:
        yield client


@pytest.fixture(scope="module")
def expected() -> pa.Table:
    with duckdb.connect() as connection:
        return connection.sql(TYPES, params=[5000]).to_arrow_table()


def ask(client: httpx.Client, sql: str, accept: str = "*/*", **fields) -> httpx.Response:
    response = client.post("/api/v1/query", json={"sql": sql, **fields}, headers={"Accept": accept})
    assert response.status_code == 200, response.text
    return response


def arrow(response: httpx.Response) -> pa.Table:
    return pa.ipc.open_stream(response.content).read_all()


def as_json(table: pa.Table) -> list[dict]:
    """Rows by the rules of the reference, whose own tests are in `unit/test_json_text`."""
    columns = [
        [json.loads(text) for chunk in column.chunks for text in json_text(chunk).to_pylist()]
        for column in table.columns
    ]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def test_arrow_is_what_duckdb_gives_in_process(client, expected):
    response = ask(client, TYPES, ARROW, params=[5000])
    assert response.headers["content-type"] == ARROW
    got = arrow(response)
    assert got.drop(["instant"]).equals(expected.drop(["instant"]))
    assert (
        got["instant"]
        .cast(pa.timestamp("us", "UTC"))
        .equals(expected["instant"].cast(pa.timestamp("us", "UTC")))
    )


def test_json_holds_the_same_rows(client, expected):
    reply = ask(client, TYPES, "application/json", params=[5000]).json()
    assert reply["rows"] == as_json(expected)
    assert reply["row_count"] == 5000
    assert [column["name"] for column in reply["columns"]] == expected.column_names
    assert reply["columns"][0] == {"name": "i", "type": "int64"}


def test_json_of_plain_values_is_what_a_person_writes_down(client):
    reply = ask(client, "SELECT 1 AS a, 'x' AS b, 2.50 AS c, NULL AS d UNION ALL VALUES (2, 'y', 0.25, NULL)")
    assert reply.json()["rows"] == [
        {"a": 1, "b": "x", "c": "2.50", "d": None},
        {"a": 2, "b": "y", "c": "0.25", "d": None},
    ]


def test_ndjson_holds_the_same_rows(client, expected):
    lines = ask(client, TYPES, NDJSON, params=[5000]).text.split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == as_json(expected)


def test_csv_holds_the_same_rows(client, expected):
    response = ask(client, TYPES, "text/csv", params=[5000])
    assert response.headers["content-type"].startswith("text/csv")
    header, *rows = csv.reader(io.StringIO(response.text, newline=""))
    assert header == expected.column_names
    for place, name in enumerate(header):
        wanted = [text for chunk in expected[name].chunks for text in plain_text(chunk).to_pylist()]
        assert [row[place] for row in rows] == ["" if text is None else text for text in wanted], name


def test_csv_reads_back_in_duckdb(client, tmp_path):
    sql = "SELECT i, i / 3 AS d, 'a,\"' || i AS t, CASE WHEN i > 5 THEN i END AS n FROM range(1000) r(i)"
    (tmp_path / "result.csv").write_bytes(ask(client, sql, "text/csv").content)
    with duckdb.connect() as connection:
        got = connection.sql(f"FROM read_csv('{tmp_path}/result.csv')").fetchall()
        assert got == connection.sql(sql).fetchall()


@pytest.mark.parametrize("accept", ["application/json", NDJSON, "text/csv", ARROW])
def test_a_result_of_many_batches_is_whole(client, accept):
    response = ask(client, f"SELECT i FROM range({ROWS}) r(i)", accept)
    numbers = {
        "application/json": lambda: [row["i"] for row in response.json()["rows"]],
        NDJSON: lambda: [json.loads(line)["i"] for line in response.text.splitlines()],
        "text/csv": lambda: [int(line) for line in response.text.splitlines()[1:]],
        ARROW: lambda: arrow(response)["i"].to_pylist(),
    }[accept]()
    assert numbers == list(range(ROWS))


@pytest.mark.parametrize(
    ("accept", "body"),
    [(NDJSON, b""), ("text/csv", b'"x","t"\n')],
)
def test_no_rows_is_a_result_too(client, accept, body):
    sql = "SELECT x, 'a' AS t FROM numbers WHERE x < 0"
    assert ask(client, sql, accept).content == body
    assert ask(client, sql).json()["rows"] == []
    assert arrow(ask(client, sql, ARROW)).schema.names == ["x", "t"]


def test_columns_of_one_name_are_told_apart_except_in_arrow(client):
    sql = "SELECT 1 AS a, 2 AS a"
    reply = ask(client, sql).json()
    assert reply["rows"] == [{"a": 1, "a_1": 2}]
    assert [column["name"] for column in reply["columns"]] == ["a", "a_1"]
    assert ask(client, sql, NDJSON).json() == {"a": 1, "a_1": 2}
    assert ask(client, sql, "text/csv").text == '"a","a_1"\n1,2\n'
    parquet = ask(client, sql, "application/vnd.apache.parquet").content
    assert pq.read_table(pa.BufferReader(parquet)).to_pylist() == [{"a": 1, "a_1": 2}]
    assert arrow(ask(client, sql, ARROW)).schema.names == ["a", "a"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("text/*", "text/csv"),
        (f"{ARROW};q=0.9, text/csv;q=0.5", ARROW),
        ("application/json;q=0, */*;q=0.1", ARROW),
    ],
)
def test_the_accept_header_chooses_the_format(client, accept, media_type):
    response = ask(client, "SELECT 1 AS a", accept)
    assert response.headers["content-type"].partition(";")[0] == media_type
    assert response.headers["vary"].split(", ")[0] == "Accept"


def test_a_format_that_there_is_not_is_refused(client):
    response = client.post("/api/v1/query", json={"sql": "SELECT 1"}, headers={"Accept": "image/png"})
    assert response.status_code == 406
    assert response.json()["code"] == "not_acceptable"


@pytest.mark.parametrize(
    ("sql", "params"),
    [("SELECT x FROM numbers WHERE x = ?", [7]), ("SELECT x FROM numbers WHERE x = $x", {"x": 7})],
)
def test_parameters_go_by_position_or_by_name(client, sql, params):
    assert ask(client, sql, params=params).json()["rows"] == [{"x": 7}]


def test_a_limit_cuts_the_result(client):
    assert ask(client, "FROM numbers ORDER BY x", limit=2).json()["rows"] == [{"x": 0}, {"x": 1}]
    assert ask(client, "FROM numbers", limit=0).json()["rows"] == []


def test_the_answer_names_the_versions_it_was_read_from(client):
    current = ask(client, "SELECT count(*) AS n FROM numbers")
    assert current.json()["rows"] == [{"n": 1500}]
    version = client.get("/api/v1/datasets/numbers").json()["version"]
    assert current.headers["skein-datasets"] == f"numbers@v{version}"
    assert current.json()["datasets"] == {"numbers": version}
    older = ask(client, f'SELECT count(*) AS n FROM "numbers@v{version - 1}"')
    assert older.json()["rows"] == [{"n": 1000}]
    assert older.headers["skein-datasets"] == f"numbers@v{version - 1}"
    assert older.json()["datasets"] == {"numbers": version - 1}
    both = ask(client, f'SELECT count(*) AS n FROM numbers, "numbers@v{version - 1}"')
    assert both.json()["datasets"] == {"numbers": version, f"numbers@v{version - 1}": version - 1}
    assert both.headers["skein-datasets"] == f"numbers@v{version}, numbers@v{version - 1}"
    rows = client.get("/api/v1/datasets/numbers/rows?limit=1")
    assert rows.json()["datasets"] == {"numbers": version}


def test_statements_that_change_something_run_once(client):
    ask(client, "CREATE TABLE notes (i INTEGER)")
    inserted = ask(client, "INSERT INTO notes VALUES (1), (2), (3)")
    assert inserted.headers["skein-affected-rows"] == "3"
    assert inserted.json()["affected_rows"] == 3
    assert ask(client, "SELECT count(*) AS n FROM notes").json()["rows"] == [{"n": 3}]
    assert arrow(ask(client, "DELETE FROM notes WHERE i > 1 RETURNING i", ARROW))["i"].to_pylist() == [2, 3]
    assert ask(client, "DROP TABLE notes").json()["rows"] == []


def test_queries_can_be_looked_up(client):
    response = ask(client, "SELECT 42 AS answer")
    record = client.get(f"/api/v1/queries/{response.headers['skein-query-id']}").json()
    assert record["state"] == "succeeded"
    assert record["door"] == "http"
    assert record["sql"] == "SELECT 42 AS answer"
    assert record["rows"] == 1
    assert record in client.get("/api/v1/queries").json()["items"]
    assert client.get("/api/v1/queries/nope").json()["code"] == "query_not_found"


def test_a_version_that_is_not_there_is_told_with_its_dataset(client):
    response = client.post("/api/v1/query", json={"sql": 'SELECT 1 FROM numbers, "numbers@v77"'})
    assert response.json()["detail"].startswith("dataset 'numbers' has no version 77; the newest is ")


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELEC 1", 400, "invalid_sql"),
        ("", 400, "invalid_sql"),
        ("SELECT x FROM numbrs", 404, "dataset_not_found"),
        ("SELECT y FROM numbers", 400, "invalid_sql"),
        ('SELECT * FROM "numbers@v77"', 404, "version_not_found"),
        ("SELECT 'x'::INTEGER", 422, "query_failed"),
        ("SELECT x FROM numbers WHERE x = ?", 400, "invalid_parameters"),
        ("SELECT * FROM read_csv('/etc/passwd')", 403, "statement_not_allowed"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", ARROW])
def test_failures_before_the_first_row_are_problems(client, sql, status, code, accept):
    response = client.post("/api/v1/query", json={"sql": sql}, headers={"Accept": accept})
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.json()["type"] == f"/problems/{code}"
