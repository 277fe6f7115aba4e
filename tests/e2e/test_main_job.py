"""The main job: a file goes in through the API, and every client reads the same rows out of it."""

import os
from pathlib import Path

import adbc_driver_flightsql.dbapi as adbc
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.flight as fl
import pyarrow.parquet as pq
import pytest

from skein.demo import flights, shipped_flights
from tests.stack import skein_stack

REAL = Path(os.environ.get("SKEIN_TEST_DATA", Path(__file__).parents[3] / "shared/data"))
QUERIES = {
    "aggregate": "SELECT origin, count(*) AS n, avg(delay) AS delay, max(distance) AS far FROM flights"
    " GROUP BY origin ORDER BY origin",
    "filter": "SELECT * FROM flights WHERE origin = 'SEA' AND delay > 60 ORDER BY ALL",
    "top": "SELECT date, delay, origin, destination FROM flights"
    " ORDER BY delay DESC, date, origin, destination LIMIT 100",
    "days": "SELECT CAST(date AS DATE) AS day, sum(distance) AS miles FROM flights GROUP BY day ORDER BY day",
}


@pytest.fixture(scope="module", params=["real", "synthetic"])
def flights_file(request, tmp_path_factory):
    if request.param == "real":
        path = REAL / "flights-3m.parquet"
        if not path.exists():
            pytest.skip(f"needs {path.name}; set SKEIN_TEST_DATA to its folder")
        return path
    path = tmp_path_factory.mktemp("source") / "flights.parquet"
    pq.write_table(pa.Table.from_batches(flights(50_000), schema=shipped_flights().schema), path)
    return path


@pytest.fixture(scope="module")
def stack(flights_file, tmp_path_factory):
    with skein_stack(tmp_path_factory.mktemp("data"), ingest_roots=str(flights_file.parent)) as stack:
        with stack.http(timeout=120) as client:
            reply = client.post(
                "/api/v1/ingestions",
                json={"dataset": "flights", "source": {"kind": "file", "path": str(flights_file)}},
                headers={"Prefer": "wait=60"},
            )
            job = reply.json()
            assert job["state"] == "succeeded", reply.text
            assert job["rows"] == pq.ParquetFile(flights_file).metadata.num_rows
        yield stack


def by_flight(stack, sql):
    with stack.flight() as client:
        info = client.get_flight_info(fl.FlightDescriptor.for_command(sql))
        return client.do_get(info.endpoints[0].ticket).read_all()


def by_adbc(stack, sql):
    with adbc.connect(stack.flight_uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table()


def by_polars(stack, sql):
    with adbc.connect(stack.flight_uri, autocommit=True) as connection:
        return pl.read_database(sql, connection).to_arrow()


def by_http(stack, sql):
    with stack.http(timeout=120) as client:
        reply = client.post(
            "/api/v1/query", json={"sql": sql}, headers={"Accept": "application/vnd.apache.arrow.stream"}
        )
        assert reply.is_success, reply.text
        return pa.ipc.open_stream(reply.content).read_all()


@pytest.mark.parametrize("client", [by_flight, by_adbc, by_polars, by_http])
@pytest.mark.parametrize("query", QUERIES)
def test_every_client_reads_what_duckdb_reads_from_the_file(stack, flights_file, client, query):
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW flights AS FROM read_parquet('{flights_file}')")
        expected = connection.sql(QUERIES[query]).to_arrow_table()
    assert expected.num_rows > 0
    answer = client(stack, QUERIES[query])
    assert answer.schema.names == expected.schema.names
    assert answer.to_pylist() == expected.to_pylist()


@pytest.mark.parametrize("client", [by_flight, by_adbc, by_polars, by_http])
def test_every_client_reads_the_whole_dataset(stack, flights_file, client):
    def checksum(table):
        with duckdb.connect() as connection:
            connection.register("t", table)
            row = "date::VARCHAR, delay, distance, origin, destination"
            return connection.execute(f"SELECT count(*), sum(hash({row})::HUGEINT) FROM t").fetchone()

    assert checksum(client(stack, "FROM flights")) == checksum(pq.read_table(flights_file))


def test_the_catalog_describes_it(stack, flights_file):
    with stack.http() as client:
        description = client.get("/api/v1/datasets/flights").json()
    metadata = pq.ParquetFile(flights_file).metadata
    assert description["rows"] == metadata.num_rows
    assert [column["name"] for column in description["columns"]] == [
        "date",
        "delay",
        "distance",
        "origin",
        "destination",
    ]
