"""SQL over HTTP in all its forms, and the resource that each statement is."""

import io

import pyarrow as pa
import pyarrow.flight as fl
import pyarrow.parquet as pq
import pytest

from tests.stack import Stack

ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
ROWS = pa.table({"i": pa.array(range(300_000), pa.int64()), "t": ["text"] * 300_000})


@pytest.fixture(scope="module")
def stack(stack: Stack) -> Stack:
    stack.write("t", ROWS)
    return stack


@pytest.mark.parametrize("path", ["/api/v1/query", "/api/v1/queries"])
def test_both_paths_run_statements(stack, path):
    with stack.http() as client:
        assert client.post(path, json={"sql": "SELECT ? AS x", "params": [7]}).json()["rows"] == [{"x": 7}]


def test_a_small_read_fits_into_a_url(stack):
    asked = {"sql": "SELECT $a AS x FROM t", "params": '{"a": "ü&"}', "limit": 2}
    with stack.http(headers={"Accept": "application/x-ndjson"}) as client:
        response = client.get("/api/v1/query", params=asked)
    assert response.text == '{"x":"ü&"}\n' * 2
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["skein-query-id"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"sql": "CREATE TABLE x (i int)"}, "statement_not_allowed"),
        ({"sql": "DROP TABLE t"}, "statement_not_allowed"),
        ({"sql": "SELECT ?", "params": "7"}, "invalid_parameters"),
        ({"sql": "SELECT ?", "params": "[7"}, "invalid_parameters"),
        ({"sql": "SELECT 1", "state": "running"}, "invalid_request"),
        ({}, "invalid_request"),
    ],
)
def test_a_url_that_asks_for_more_is_refused(stack, asked, code):
    with stack.http() as client:
        assert client.get("/api/v1/query", params=asked).json()["code"] == code
        assert client.get("/api/v1/datasets/t").status_code == 200


def test_a_change_in_a_url_is_told_where_it_belongs(stack):
    with stack.http() as client:
        refused = client.get("/api/v1/query", params={"sql": "DROP TABLE t"}).json()
        assert refused["detail"].startswith("DROP is not a read; send it with POST over HTTP")


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_arrow_is_compressed_with_a_codec_that_the_client_names(stack, codec):
    body = {"sql": "FROM t"}
    with stack.http() as client:
        plain = client.post("/api/v1/queries", json=body, headers={"Accept": ARROW})
        accept = f'{ARROW}; codecs="{codec}, snappy"'
        packed = client.post("/api/v1/queries", json=body, headers={"Accept": accept})
    assert plain.headers["content-type"] == ARROW
    assert packed.headers["content-type"] == f"{ARROW}; codecs={codec}"
    assert "content-encoding" not in packed.headers
    assert len(packed.content) < len(plain.content)
    tables = [pa.ipc.open_stream(each.content).read_all() for each in (plain, packed)]
    assert tables[0].equals(tables[1])


def test_codecs_that_are_unknown_are_left_out(stack):
    with stack.http(headers={"Accept": f"{ARROW};codecs=snappy"}) as client:
        response = client.post("/api/v1/queries", json={"sql": "SELECT 1 AS x"})
    assert response.headers["content-type"] == ARROW


@pytest.mark.parametrize(
    "sql",
    [
        "FROM t",
        "FROM t LIMIT 0",
        "SELECT 1 AS a, 2 AS a",
        "SELECT [1, NULL] AS l, {'a': 1} AS s, MAP {'k': 1} AS m, 1.5::DECIMAL(9, 2) AS d, 'x'::BLOB AS b",
        "SELECT TIMESTAMPTZ '2026-01-31 12:00:00+00' AS at, DATE '2026-01-31' AS d, TIME '12:00:00' AS ti",
    ],
)
def test_parquet_holds_the_same_rows(stack, sql):
    with stack.http() as client:
        file = client.post("/api/v1/queries", json={"sql": sql}, headers={"Accept": PARQUET})
        arrow = client.post("/api/v1/queries", json={"sql": sql}, headers={"Accept": ARROW})
    assert file.headers["content-type"] == PARQUET
    expected = pa.ipc.open_stream(arrow.content).read_all()
    found = pq.read_table(io.BytesIO(file.content))
    assert found.num_rows == expected.num_rows
    for got, wanted in zip(found.columns, expected.columns, strict=True):
        assert got.to_pylist() == wanted.to_pylist()


def test_what_parquet_has_no_type_for_is_text(stack):
    with stack.http(headers={"Accept": PARQUET}) as client:
        response = client.post("/api/v1/queries", json={"sql": "SELECT INTERVAL 3 DAY AS i, NULL AS n"})
    assert pq.read_table(io.BytesIO(response.content)).to_pylist() == [{"i": "P3D", "n": None}]


def test_the_list_can_be_narrowed_and_paged(stack):
    with stack.http() as client, stack.flight() as flight:
        for number in range(5):
            client.post("/api/v1/queries", json={"sql": f"SELECT {number} AS paged"})
        client.post("/api/v1/queries", json={"sql": "SELECT nothing AS paged"})
        info = flight.get_flight_info(fl.FlightDescriptor.for_command("SELECT 5 AS paged"))
        flight.do_get(info.endpoints[0].ticket).read_all()
        asked = {"state": "succeeded", "door": "http", "actor": "local", "limit": 2}
        page = client.get("/api/v1/queries", params=asked)
        seen = []
        while True:
            seen += [each["sql"] for each in page.json()["items"] if "paged" in each["sql"]]
            following = page.json()["next"]
            if following is None:
                break
            assert f'<{following}>; rel="next"' == page.headers["link"]
            page = client.get(following)
        (latest,) = client.get("/api/v1/queries", params={"door": "flight", "limit": 1}).json()["items"]
    assert seen == [f"SELECT {number} AS paged" for number in (4, 3, 2, 1, 0)]
    assert latest["sql"] == "SELECT 5 AS paged"


def test_a_client_that_does_not_read_shows_as_lag(stack):
    with stack.flight() as flight, stack.http() as client:
        info = flight.get_flight_info(fl.FlightDescriptor.for_command("SELECT i, t FROM t, range(1000)"))
        reader = flight.do_get(info.endpoints[0].ticket)
        reader.read_chunk()
        asked = {"state": "running", "door": "flight"}
        for _ in range(1000):
            (running,) = client.get("/api/v1/queries", params=asked).json()["items"]
            if (running["consumer_lag_s"] or 0) > 0.2:
                break
        reader.cancel()
    assert running["consumer_lag_s"] > 0.2
    assert running["rows"] > 0
    assert running["datasets"] == {"t": 0}


def test_a_pivot_over_what_there_is_tells_what_it_read(stack):
    with stack.http() as client:
        reply = client.post("/api/v1/query", json={"sql": "PIVOT (FROM t LIMIT 3) ON t USING count(*)"})
        assert client.get(f"/api/v1/queries/{reply.json()['query_id']}").json()["datasets"] == {"t": 0}
    assert reply.json()["datasets"] == {"t": 0}
    assert reply.headers["skein-datasets"] == "t@v0"


@pytest.mark.parametrize("sql", ["SHOW TABLES", "show all tables;"])
def test_lists_of_tables_leave_out_versions_that_were_read(stack, sql):
    with stack.http() as client:
        client.post("/api/v1/query", json={"sql": 'SELECT count(*) FROM "t@v0"'}).raise_for_status()
        rows = client.post("/api/v1/query", json={"sql": sql}).json()["rows"]
    names = [row["name"] for row in rows]
    assert "t" in names
    assert not [name for name in names if "@" in name]


@pytest.mark.parametrize(("table", "place"), [("t@v0", " (line 1, column 16)"), ("t AT (VERSION => 0)", "")])
def test_a_version_that_is_not_quoted_is_told_how_to_be_written(stack, table, place):
    with stack.http() as client:
        problem = client.post("/api/v1/query", json={"sql": f"SELECT * FROM {table}"}).json()
    assert problem["code"] == "invalid_sql"
    assert f'a version is named in double quotes, as in "flights@v3"{place}' in problem["detail"]
