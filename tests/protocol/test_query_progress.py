"""How far a statement is, whichever connection works on it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import adbc_driver_flightsql.dbapi as dbapi
import httpx
import pyarrow as pa
import pytest

from tests.stack import Stack, skein_stack, until

ADMIN = {"Authorization": "Bearer r00t"}
# Works for minutes on what it has to go through: far longer than anybody looks.
LONG = "SELECT count(*) AS n FROM t a, t b WHERE a.i <> b.i"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("progress") / "data"
    with skein_stack(data, tokens="root=r00t,reader/read=r3ader", guarded_timeout_s=300) as made:
        made.write("t", pa.table({"i": pa.array(range(300_000), pa.int64())}))
        yield made


def guarded_read(stack: Stack, sql: str) -> None:
    with stack.http(headers={"Authorization": "Bearer r3ader"}, timeout=120) as client:
        client.post("/api/v1/queries", json={"sql": sql})


def statement(stack: Stack, sql: str) -> None:
    with stack.http(headers=ADMIN, timeout=120) as client:
        client.post("/api/v1/queries", json={"sql": f"CREATE TABLE made AS {sql}"})


def read_in_a_session(stack: Stack, sql: str) -> None:
    header = {"adbc.flight.sql.authorization_header": "Bearer r00t"}
    opened = dbapi.connect(stack.flight_uri, db_kwargs=header, autocommit=True)
    with opened as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE mine AS SELECT 1 AS one")
        cursor.execute(sql)
        cursor.fetch_arrow_table()


@pytest.mark.parametrize("run", [guarded_read, statement, read_in_a_session])
def test_a_statement_tells_how_far_it_is(stack: Stack, run: Callable[[Stack, str], None]) -> None:
    sql = f"{LONG} AND '{run.__name__}' <> ''"

    def work() -> None:
        with suppress(dbapi.Error, httpx.HTTPError):
            run(stack, sql)

    worker = threading.Thread(target=work)
    worker.start()
    with stack.http(headers=ADMIN) as client:

        def running() -> list[dict]:
            items = client.get("/api/v1/queries", params={"state": "running"}).json()["items"]
            return [each for each in items if sql in each["sql"]]

        until(lambda: any(each["progress"] is not None for each in running()), deadline_s=60)
        (record,) = running()
        assert 0 <= record["progress"] < 1
        client.delete(f"/api/v1/queries/{record['id']}")
        worker.join(60)
        assert client.get(f"/api/v1/queries/{record['id']}").json()["progress"] is None
