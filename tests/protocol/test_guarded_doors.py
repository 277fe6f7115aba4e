"""Attacks by somebody who may only read, through every door."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import adbc_driver_flightsql.dbapi as dbapi
import httpx
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from websockets.exceptions import ConnectionClosed

from flight_core.domain.system import SYSTEM_TABLES
from tests.adapters.guarded_stack import CASES
from tests.protocol.live_client import live_client
from tests.stack import Stack, skein_stack

TOKEN = "r3ader"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
MINE = pa.table({"i": pa.array(range(20), pa.int64()), "t": ["A", "B"] * 10})


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("guarded") / "data"
    bounds = {"guarded_timeout_s": 0.5, "guarded_memory": "512MB", "limit_rows": 100_000}
    with skein_stack(data, tokens=f"writer=wr1ter,reader/read={TOKEN}", **bounds) as made:
        made.write("ds_a", MINE)
        yield made


def over_http(stack: Stack, sql: str) -> pa.Table:
    """A result that breaks off is refused with what its query failed with."""
    accept = {"Accept": "application/vnd.apache.arrow.stream", **HEADERS}
    with (
        stack.http(headers=accept, timeout=60) as client,
        client.stream("POST", "/api/v1/query", json={"sql": sql, "limit": 1000}) as response,
    ):
        try:
            content = response.read()
        except httpx.RemoteProtocolError:
            assert response.status_code == 200
            failed = client.get(f"/api/v1/queries/{response.headers['Skein-Query-Id']}").json()
            assert failed["state"] == "failed", failed
            raise AssertionError(failed["error"]) from None
        assert response.status_code == 200, response.text
        return pa.ipc.open_stream(content).read_all()


def over_flight(stack: Stack, sql: str) -> pa.Table:
    options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {TOKEN}".encode())])
    with stack.flight() as client:
        info = client.get_flight_info(fl.FlightDescriptor.for_command(sql), options)
        return client.do_get(info.endpoints[0].ticket, options).read_all()


def over_flight_sql(stack: Stack, sql: str) -> pa.Table:
    header = {"adbc.flight.sql.authorization_header": f"Bearer {TOKEN}"}
    with dbapi.connect(stack.flight_uri, db_kwargs=header) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table()


def over_websocket(stack: Stack, sql: str) -> pa.Table:
    with live_client(stack.http_url, additional_headers=HEADERS) as client:
        client.follow(sql)
        return client.result().table


DOORS: dict[str, Callable[[Stack, str], pa.Table]] = {
    "http": over_http,
    "flight": over_flight,
    "flight_sql": over_flight_sql,
    "websocket": over_websocket,
}
REFUSALS = (AssertionError, fl.FlightError, pa.ArrowException, KeyError, dbapi.Error, ConnectionClosed)


def found_by(door: str, stack: Stack, sql: str) -> str | None:
    """The result as text; None if it is refused."""
    with suppress(*REFUSALS):
        return str(DOORS[door](stack, sql).to_pydict())
    return None


def text_of(case: dict, stack: Stack) -> str:
    lake, outside = stack.data / "lake", stack.data.parent
    file = next(lake.rglob("*.parquet"))
    text = case.get("sql") or eval(case["gen"])
    for place, path in {
        "{AF}": file,
        "{BF}": file,
        "{A}": file.parent,
        "{B}": lake,
        "{OUT}": outside,
        "{SPILL}": stack.data / "tmp",
        "{ROOT}": stack.data,
    }.items():
        text = text.replace(place, str(path))
    return text


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("door", DOORS)
def test_attacks_are_refused_without_a_path_of_the_server(stack, door):
    outside = stack.data.parent
    files = files_of(stack.data / "lake") | set(outside.iterdir())
    for case in [case for case in CASES if case["expect"] == "deny"]:
        sql = text_of(case, stack)
        with pytest.raises(REFUSALS) as caught:
            DOORS[door](stack, sql)
        told = str(caught.value)
        assert str(stack.data) not in told or str(stack.data) in sql, case["id"]
        assert "Traceback" not in told, case["id"]
    assert DOORS[door](stack, "SELECT * FROM ds_a ORDER BY i").equals(MINE)
    assert files_of(stack.data / "lake") | set(outside.iterdir()) == files


@pytest.mark.parametrize("door", DOORS)
def test_what_is_to_be_bounded_ends_and_leaves_the_server_well(stack, door):
    """Each of them takes up to two seconds: they come through one door each."""
    files = files_of(stack.data / "lake")
    cases = [case for case in CASES if case["expect"] == "bounded"]
    for case in cases[list(DOORS).index(door) :: len(DOORS)]:
        try:
            told = str(DOORS[door](stack, text_of(case, stack)).schema)
        except REFUSALS as refusal:
            told = str(refusal)
        assert str(stack.data) not in told, case["id"]
        assert "Traceback" not in told, case["id"]
        assert "internal_error" not in told, case["id"]
    for through in DOORS.values():
        assert through(stack, "SELECT * FROM ds_a ORDER BY i").equals(MINE)
    assert files_of(stack.data / "lake") == files


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", [case for case in CASES if case["expect"] == "allow"], ids=lambda c: c["id"])
def test_harmless_statements_work(stack, door, case):
    DOORS[door](stack, text_of(case, stack))


@pytest.mark.parametrize("door", DOORS)
def test_nothing_is_left_behind_for_the_next_statement(stack, door):
    for case in [case for case in CASES if case["expect"] == "isolated"]:
        found_by(door, stack, text_of(case, stack))
        found = found_by(door, stack, case["probe"])
        assert "ISOLEAK" not in (found or ""), case["id"]
        assert found is not None or not case.get("must_work"), case["id"]


def test_a_reader_browses_the_datasets_and_not_the_tables_of_others(stack):
    writer = {"adbc.flight.sql.authorization_header": "Bearer wr1ter"}
    with (
        dbapi.connect(stack.flight_uri, db_kwargs=writer, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("CREATE TABLE private AS SELECT 1 AS x")
    header = {"adbc.flight.sql.authorization_header": f"Bearer {TOKEN}"}
    with dbapi.connect(stack.flight_uri, db_kwargs=header) as connection:
        names = {
            table["table_name"]
            for catalog in connection.adbc_get_objects(depth="tables").read_all().to_pylist()
            for schema in catalog["catalog_db_schemas"] or []
            for table in schema["db_schema_tables"] or []
        }
        assert names == {"ds_a", *SYSTEM_TABLES}
        assert connection.adbc_get_table_schema("ds_a").names == ["i", "t"]
        with connection.cursor() as cursor, pytest.raises(dbapi.Error, match=r"\[dataset_not_found\]"):
            cursor.execute("SELECT * FROM private")
