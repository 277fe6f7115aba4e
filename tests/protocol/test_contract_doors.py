"""What holds at every door that rows come in by, with real clients: DoPut, bulk ingest, SQL, ingestions."""

import json

import adbc_driver_flightsql.dbapi as adbc
import httpx
import polars as pl
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.application.writes.quarantine import Quarantine
from flight_core.domain.errors import InvalidDatasetName
from tests.stack import Stack, skein_stack, until

CONTRACT = {
    "columns": [
        {"name": "id", "type": "int64", "nullable": False},
        {"name": "price", "type": "float64", "ge": 0},
    ],
    "unique": [{"columns": ["id"]}],
    "limits": {"max_rejected_ratio": 0.6},
}
# The second is too cheap, the third has no number, the fourth has that of the first.
ROWS = pa.table({"id": pa.array([1, 2, None, 1, 5], pa.int32()), "price": [1.5, -1.0, 2.0, 3.0, None]})
BROKEN = {("ge", "price", 1), ("not_null", "id", 1), ("unique", "id", 1)}


@pytest.fixture
def sql(stack):
    with stack.cursor() as cursor:
        yield cursor


def under_contract(http: httpx.Client, name: str, **changes) -> str:
    reply = http.put(f"/api/v1/datasets/{name}/contract", json={**CONTRACT, **changes})
    assert reply.status_code == 200, reply.text
    return name


def do_put(stack: Stack, descriptor: fl.FlightDescriptor, rows: pa.Table) -> dict:
    with stack.flight() as client:
        writer, reader = client.do_put(descriptor, rows.schema)
        with writer:
            writer.write_table(rows, max_chunksize=2)
            writer.done_writing()
            return json.loads(reader.read().to_pybytes())


def found(cursor, query: str) -> list[tuple]:
    cursor.execute(query)
    return cursor.fetchall()


def rejected(cursor, name: str) -> list[tuple]:
    return found(cursor, f"SELECT source, row, rules, committed FROM {name}_rejects ORDER BY row, committed")


def rules(report: dict) -> set[tuple]:
    return {(rule["rule"], rule["column"], rule["rows"]) for rule in report["rules"]}


def test_do_put_tells_what_it_rejected_and_so_does_the_history(stack, http, sql):
    name = under_contract(http, "put")
    told = do_put(stack, fl.FlightDescriptor.for_path(name), ROWS)
    assert (told["version"], told["rows"], told["total_rows"]) == (0, 2, 2)
    assert (told["check"]["rows"], told["check"]["rejected_rows"], rules(told["check"])) == (5, 3, BROKEN)
    assert found(sql, "SELECT * FROM put ORDER BY id") == [(1, 1.5), (5, None)]
    assert rejected(sql, name) == [
        ("flight", 2, ["price.ge"], True),
        ("flight", 3, ["id.not_null"], True),
        ("flight", 4, ["unique(id)"], True),
    ]
    (version,) = http.get("/api/v1/datasets/put/versions").json()["items"]
    assert rules(json.loads(version["info"]["check"])) == BROKEN
    told = do_put(stack, fl.FlightDescriptor.for_path(name), pa.table({"id": [5, 6], "price": [0.0, 0.0]}))
    assert (told["rows"], rules(told["check"])) == (1, {("unique", "id", 1)})
    upsert = fl.FlightDescriptor.for_command(json.dumps({"dataset": name, "mode": "upsert", "keys": ["id"]}))
    told = do_put(stack, upsert, pa.table({"id": [5, 7, 8], "price": [9.0, 9.0, -9.0]}))
    assert (told["rows"], told["total_rows"], told["check"]["rejected_rows"]) == (2, 4, 1)
    assert found(sql, "SELECT * FROM put WHERE id > 1 ORDER BY id") == [(5, 9.0), (6, 0.0), (7, 9.0)]


def test_too_many_bad_rows_refuse_all_of_them_and_are_kept_to_be_looked_at(stack, http, sql):
    name = under_contract(http, "strict", limits={"max_rejected_rows": 0})
    with pytest.raises(pa.ArrowInvalid, match=r"\[contract_violated\] 3 of 5 rows .*price.ge 1") as failure:
        do_put(stack, fl.FlightDescriptor.for_path(name), ROWS)
    assert "unique(id) 1" in str(failure.value)
    assert http.get(f"/api/v1/datasets/{name}").status_code == 404
    assert [row[3] for row in rejected(sql, name)] == [False, False, False]
    assert do_put(stack, fl.FlightDescriptor.for_path(name), ROWS.slice(0, 0))["total_rows"] == 0
    assert do_put(stack, fl.FlightDescriptor.for_path(name), ROWS.slice(0, 1))["total_rows"] == 1


def test_columns_are_held_against_the_contract_before_any_row_is(stack, http):
    name = under_contract(http, "columns")
    with pytest.raises(pa.ArrowInvalid, match=r"\[schema_mismatch\].*'price'"):
        do_put(stack, fl.FlightDescriptor.for_path(name), ROWS.select(["id"]))
    with pytest.raises(InvalidDatasetName):
        stack.write("columns_rejects", ROWS)


def test_bulk_ingest_by_adbc_and_by_polars_is_checked(stack, http, sql):
    name = under_contract(http, "bulk")
    assert sql.adbc_ingest(name, ROWS, mode="create", db_schema_name="datasets") == 2
    with adbc.connect(stack.flight_uri, autocommit=True) as connection:
        frame = pl.DataFrame({"id": [5, 9], "price": [1.0, 1.0]})
        frame.write_database("datasets.bulk", connection, engine="adbc", if_table_exists="append")
    assert found(sql, "SELECT id FROM bulk ORDER BY id") == [(1,), (5,), (9,)]
    assert rejected(sql, name)[0][:3] == ("flight_sql", 1, ["unique(id)"])
    headers = {"x-skein-mode": "upsert", "x-skein-keys": "id"}
    for header, value in headers.items():
        sql.adbc_statement.set_options(**{f"adbc.flight.sql.rpc.call_header.{header}": value})
    changed = pa.table({"id": [9, 10], "price": [2.0, -2.0]})
    assert sql.adbc_ingest(name, changed, mode="append", db_schema_name="datasets") == 1
    assert found(sql, "SELECT price FROM bulk WHERE id >= 9") == [(2.0,)]
    with pytest.raises(adbc.Error, match="upsert"):
        sql.adbc_ingest(name, changed, mode="replace", db_schema_name="datasets")
    with pytest.raises(adbc.Error, match="is for datasets"):
        sql.adbc_ingest("own", changed, mode="create_append", db_schema_name="main")


def test_bulk_ingest_replaces_by_key_what_is_there(stack):
    def ingest(rows: dict, mode: str) -> int:
        headers = {"mode": mode, "keys": "day, id" if mode == "upsert" else "day"}
        with connection.cursor() as cursor:
            for header, value in headers.items():
                option = f"adbc.flight.sql.rpc.call_header.x-skein-{header}"
                cursor.adbc_statement.set_options(**{option: value})
            table = pa.table(rows)
            return cursor.adbc_ingest("keyed", table, mode="create_append", db_schema_name="datasets")

    with adbc.connect(stack.flight_uri, autocommit=True) as connection, connection.cursor() as cursor:
        assert ingest({"day": [1, 1, 2], "id": [1, 2, 1], "n": [1, 2, 3]}, "upsert") == 3
        assert ingest({"day": [1, 3], "id": [1, 1], "n": [10, 4]}, "upsert") == 2
        rows = "SELECT day, id, n FROM keyed ORDER BY ALL"
        assert found(cursor, rows) == [(1, 1, 10), (1, 2, 2), (2, 1, 3), (3, 1, 4)]
        assert ingest({"day": [1], "id": [7], "n": [0]}, "replace_partitions") == 1
        assert found(cursor, rows) == [(1, 7, 0), (2, 1, 3), (3, 1, 4)]


def test_sql_is_checked_and_nothing_is_seen_before_the_transaction_ends(stack, http, sql):
    name = under_contract(http, "by_sql")
    sql.execute("CREATE TABLE datasets.by_sql AS SELECT 1::BIGINT AS id, -1.0::DOUBLE AS price WHERE false")
    sql.execute("INSERT INTO datasets.by_sql VALUES (1, 2.0), (2, -2.0), (3, 3.0)")
    assert found(sql, "SELECT id FROM by_sql ORDER BY id") == [(1,), (3,)]
    with adbc.connect(stack.flight_uri) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO datasets.by_sql VALUES (4, 0.0), (5, -5.0)")
        connection.rollback()
        cursor.execute("INSERT INTO datasets.by_sql VALUES (6, 0.0), (7, -7.0)")
        cursor.execute("INSERT INTO datasets.by_sql VALUES (6, 1.0), (8, 1.0)")  # whose key comes meanwhile
        assert found(sql, "SELECT count(*) FROM by_sql") == [(2,)]
        assert len(rejected(sql, name)) == 1
        connection.commit()
    assert found(sql, "SELECT id, price FROM by_sql ORDER BY id") == [(1, 2), (3, 3), (6, 0), (8, 1)]
    assert sorted(row[2][0] for row in rejected(sql, name)) == ["price.ge", "price.ge", "unique(id)"]
    sql.execute("DELETE FROM datasets.by_sql WHERE id > 1")
    assert found(sql, "SELECT id FROM by_sql") == [(1,)]


def test_what_sql_rejected_can_be_replayed(http, sql):
    name = under_contract(http, "again")
    sql.execute("CREATE TABLE datasets.again AS FROM (VALUES (1, 2.0), (2, -2.0)) AS t(id, price)")
    under_contract(
        http, name, columns=[{"name": "id", "type": "int64"}, {"name": "price", "type": "float64"}]
    )
    replay = http.post(f"/api/v1/datasets/{name}/rejects/replay")
    job = http.get(replay.headers["Location"], headers={"Prefer": "wait=60"}).json()
    assert (job["state"], job["rejected_rows"]) == ("succeeded", 0), job
    assert found(sql, "SELECT id, price FROM again ORDER BY id") == [(1, 2.0), (2, -2.0)]


def test_no_dataset_is_made_that_a_table_would_hide_nor_a_table_that_would_hide_one(stack, http, sql):
    sql.execute("CREATE TABLE mine AS SELECT 1 AS id")
    with pytest.raises(pa.ArrowInvalid, match=r"\[table_exists\].*'Mine'"):
        do_put(stack, fl.FlightDescriptor.for_path("Mine"), ROWS)
    with pytest.raises(adbc.Error, match="table_exists"):
        sql.adbc_ingest("mine", ROWS, mode="create", db_schema_name="datasets")
    with pytest.raises(adbc.Error, match="table_exists"):
        sql.execute("CREATE TABLE datasets.mine AS SELECT 1 AS id")
    upload = http.post("/api/v1/uploads?name=new.csv", content=b"id\n1\n").json()
    request = {"dataset": "mine", "source": {"kind": "upload", "id": upload["id"]}}
    job = http.post("/api/v1/ingestions", json=request, headers={"Prefer": "wait=60"}).json()
    assert job["error"]["code"] == "table_exists", job
    assert found(sql, "FROM mine") == [(1,)]
    sql.execute("DROP TABLE mine")
    do_put(stack, fl.FlightDescriptor.for_path("mine"), ROWS)
    with stack.cursor() as cursor:
        with pytest.raises(adbc.Error, match="dataset_exists"):
            cursor.adbc_ingest("Mine", ROWS, mode="create")
        with pytest.raises(adbc.Error, match="dataset_exists"):
            cursor.execute("CREATE VIEW mine AS SELECT 1 AS id")
        cursor.adbc_ingest("mine", ROWS.slice(0, 1), mode="create", temporary=True)


def test_a_client_that_goes_away_leaves_nothing(stack, http):
    name = under_contract(http, "gone")
    with stack.flight() as client:
        limit = fl.FlightCallOptions(timeout=1.0)
        writer, reader = client.do_put(fl.FlightDescriptor.for_path(name), ROWS.schema, limit)
        writer.write_table(ROWS)
        assert reader.read() is None  # the time is up
        with pytest.raises(fl.FlightTimedOutError):
            writer.close()
    scratch = stack.data / "tmp" / "control+flight" / "writes"
    until(lambda: not (scratch.exists() and list(scratch.iterdir())), deadline_s=60)
    assert http.get(f"/api/v1/datasets/{name}").status_code == 404


class Death(BaseException):
    """Takes a process away between two commits."""


def test_rows_whose_server_died_before_it_kept_them_are_kept_by_the_next_one(tmp_path, monkeypatch):
    def dies(*_):
        raise Death

    with skein_stack(tmp_path) as stack, stack.http() as http:
        under_contract(http, "orders")
        monkeypatch.setattr(Quarantine, "settle", dies)
        with pytest.raises(Death):
            stack.write("orders", ROWS)
        assert http.get("/api/v1/datasets/orders").json()["rows"] == 2
        assert http.get("/api/v1/datasets/orders_rejects").status_code == 404
    for _ in range(2):
        with skein_stack(tmp_path) as stack, stack.http() as http:
            assert http.get("/api/v1/datasets/orders_rejects").json()["rows"] == 3
