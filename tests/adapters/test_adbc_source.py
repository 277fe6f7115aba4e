"""Rows of databases, through drivers that run in a process of their own."""

import os
import re
import signal
import socket
import sqlite3
import threading

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.adapters.sources.adbc import AdbcOptions, AdbcSource
from flight_core.adapters.sources.adbc_drivers import driver_of
from flight_core.adapters.sources.file import FileSourceOptions
from flight_core.domain.access import LOCAL
from flight_core.domain.errors import (
    Cancelled,
    InvalidSource,
    LimitExceeded,
    SourceNotAllowed,
    SourceUnavailable,
)
from flight_core.domain.ingestion import SourceSpec
from flight_core.infrastructure.http_client import AddressPolicy
from tests.stack import skein_stack

WAIT = {"Prefer": "wait=30"}
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
ENDLESS = f"{NUMBERS} SELECT i, printf('%0200d', i) AS s FROM n"


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE orders (id INTEGER, item TEXT, price REAL, scan BLOB)")
        rows = [(i, f"item {i}", i / 2, b"\0\1") for i in range(100_000)]
        database.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", rows)
    database.close()
    return path


def source(folder=None, **options):
    roots = (folder,) if folder else ()
    policy = AddressPolicy(allow_loopback=True)
    return AdbcSource(AdbcOptions(**{"files": FileSourceOptions(roots=roots), "policy": policy, **options}))


def sqlite(sql, uri="shop.db"):
    return SourceSpec("adbc", {"driver": "sqlite", "uri": uri, "sql": sql})


def flightsql(uri, sql="SELECT 1", **options):
    return SourceSpec("adbc", {"driver": "flightsql", "uri": uri, "sql": sql, "options": options})


def opened(found, spec, run_id="r"):
    return found.open(spec, actor=LOCAL, run_id=run_id)


def read(found, spec):
    rows = opened(found, spec)
    try:
        return pa.Table.from_batches(list(rows), rows.schema)
    finally:
        rows.close()


def test_a_query_of_a_file_gives_rows_in_their_types(shop):
    table = read(source(shop.parent), sqlite("SELECT * FROM orders ORDER BY id"))
    assert table.schema == pa.schema(
        [("id", pa.int64()), ("item", pa.string()), ("price", pa.float64()), ("scan", pa.binary())]
    )
    assert table.num_rows == 100_000
    assert table["id"].to_pylist() == list(range(100_000))
    assert table["price"][99_999].as_py() == 49_999.5


def test_no_rows_have_columns_all_the_same(shop):
    assert read(source(shop.parent), sqlite("SELECT id FROM orders WHERE id < 0")).column_names == ["id"]


@pytest.mark.parametrize("uri", ["/etc/passwd", "../shop.db", "file:shop.db", "shop.db?mode=rwc"])
def test_files_elsewhere_are_not_opened(shop, tmp_path, uri):
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises((SourceNotAllowed, InvalidSource)):
        source(inside).check(sqlite("SELECT 1", uri), actor=LOCAL)


@pytest.mark.parametrize(
    "sql",
    [
        "VACUUM INTO 'copy.db'",
        "/* SELECT */ ATTACH 'copy.db' AS a",
        "DELETE FROM orders",
        "-- a\nPRAGMA user_version",
    ],
)
def test_statements_that_do_not_read_a_file_are_refused(shop, sql):
    with pytest.raises(InvalidSource, match="SELECT"):
        source(shop.parent).check(sqlite(sql), actor=LOCAL)


@pytest.mark.parametrize(
    "sql",
    [
        "WITH n AS (SELECT 1) DELETE FROM orders",
        "SELECT load_extension('x')",
        "SELECT nothing FROM orders",
        'SELECT file FROM "PRAGMA_database_list"',
    ],
)
def test_nothing_is_written_and_failures_name_no_server_path(shop, sql):
    before = shop.read_bytes()
    with pytest.raises(InvalidSource) as failed:
        read(source(shop.parent), sqlite(sql))
    assert str(shop.parent) not in failed.value.message
    assert shop.read_bytes() == before
    assert [path.name for path in shop.parent.iterdir()] == ["shop.db"]


def test_a_second_statement_is_not_run(shop):
    assert read(source(shop.parent), sqlite("SELECT 1 AS n; VACUUM INTO 'copy.db'")).num_rows == 1
    assert [path.name for path in shop.parent.iterdir()] == ["shop.db"]


def test_what_is_no_database_is_told_by_its_label(tmp_path):
    (tmp_path / "not.db").write_text("not a database" * 1000)
    with pytest.raises(InvalidSource, match=r"not\.db answered: "):
        read(source(tmp_path), sqlite("SELECT * FROM t", "not.db"))


def test_reading_stops_while_the_database_works(shop):
    found = source(shop.parent)
    rows = opened(found, sqlite(ENDLESS))
    batches = iter(rows)
    assert next(batches).num_rows
    threading.Timer(0.1, found.cancel, ["r"]).start()
    with pytest.raises(Cancelled):
        for _ in batches:
            pass
    rows.close()
    assert rows._process.returncode is not None


def test_a_query_that_never_answers_is_cancelled(shop):
    found = source(shop.parent)
    threading.Timer(1.0, found.cancel, ["r"]).start()
    with pytest.raises(Cancelled):
        opened(found, sqlite(f"{NUMBERS} SELECT max(i) FROM n"))


def test_a_driver_that_crashes_takes_nothing_else_down(shop):
    rows = opened(source(shop.parent), sqlite(ENDLESS))
    os.kill(rows._process.pid, signal.SIGSEGV)
    with pytest.raises(InvalidSource, match=r"the driver 'sqlite' crashed while it read shop\.db"):
        for _ in rows:
            pass
    rows.close()


def test_a_driver_gets_no_more_memory_than_there_is(shop):
    hungry = "SELECT hex(zeroblob(300000000)) AS s"
    with pytest.raises(LimitExceeded, match="SKEIN_INGEST_MEMORY_BYTES"):
        read(source(shop.parent, memory_bytes=200 << 20), sqlite(hungry))


def test_only_drivers_that_are_allowed_and_there_are_used():
    spec = SourceSpec("adbc", {"driver": "snowflake", "uri": "x://y:1", "sql": "SELECT 1"})
    with pytest.raises(SourceNotAllowed, match="flightsql, sqlite, postgresql"):
        source().check(spec, actor=LOCAL)
    with pytest.raises(InvalidSource, match="pip install adbc-driver-snowflake"):
        source(drivers=("snowflake",)).check(spec, actor=LOCAL)


@pytest.mark.parametrize(
    ("uri", "sent"),
    [
        ("db://localhost:1234/shop?tls=1", r"db://(127\.0\.0\.1|\[::1\]):1234/shop\?tls=1"),
        ("db://[::1]:1234", r"db://\[::1\]:1234"),
    ],
)
def test_a_driver_that_an_operator_adds_gets_the_address_that_was_checked(uri, sent, tmp_path, monkeypatch):
    """A package like those of drivers: this is about what it is told."""
    (tmp_path / "adbc_driver_added.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    wanted = {"driver": "added", "uri": uri, "sql": "SELECT 1", "options": {"colour": "red"}}
    spec = SourceSpec("adbc", wanted)
    found = source(drivers=("added",))
    request, label, _ = found._request(found._wanted(spec))
    assert re.fullmatch(sent, request["options"]["uri"])
    assert request["options"]["colour"] == "red"
    assert label.endswith(":1234")
    free = source(drivers=("added",), policy=AddressPolicy(allow_private=True))
    assert free._request(free._wanted(spec))[0]["options"]["uri"] == uri
    with pytest.raises(SourceNotAllowed):
        opened(source(drivers=("added",), policy=AddressPolicy()), spec)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"uri": "grpc://x:1"},
        {"uri": "grpc://x", "sql": "SELECT 1"},
        {"uri": "http://x:1", "sql": "SELECT 1"},
        {"uri": "grpc+unix:///run/x", "sql": "SELECT 1"},
        {"uri": "grpc://ann:secret@x:1", "sql": "SELECT 1"},
        {"uri": "grpc://x:1", "sql": "SELECT 1", "colour": "red"},
        {"uri": "grpc://x:1", "sql": "SELECT 1", "options": {"uri": "grpc://y:1"}},
        {"uri": "grpc://x:1", "sql": "SELECT 1", "options": {"adbc.flight.sql.oauth.token_uri": "http://y"}},
        {"uri": "grpc://x:1", "sql": "SELECT 1", "options": {"username": 7}},
        {
            "driver": "sqlite",
            "uri": "shop.db",
            "sql": "SELECT 1",
            "options": {"adbc.sqlite.query.batch_rows": "1"},
        },
    ],
)
def test_fields_that_cannot_work_are_refused_at_once(fields):
    with pytest.raises(InvalidSource) as refused:
        source().check(SourceSpec("adbc", {"driver": "flightsql", **fields}), actor=LOCAL)
    assert "secret@" not in refused.value.message


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "0x7f000001", "10.1.2.3", "169.254.169.254"]
)
def test_addresses_that_are_not_allowed_are_not_connected_to(host):
    closed = source(policy=AddressPolicy())
    with pytest.raises((SourceNotAllowed, SourceUnavailable)):
        opened(closed, flightsql(f"grpc://{host}:8815"))


def test_a_database_server_is_reached_at_the_address_that_was_checked():
    driver = driver_of("postgresql")
    server = driver.server("postgres://db.example.org/shop?sslmode=require", "postgresql")
    told = driver.connected(server, "203.0.113.7", {"username": "ann", "password": "a b&hostaddr=10.0.0.1"})
    assert told["uri"] == (
        "postgresql://db.example.org:5432/shop?sslmode=require&hostaddr=203.0.113.7&passfile=%2Fdev%2Fnull"
        "&options=-c%20default_transaction_read_only%3Don&user=ann&password=a%20b%26hostaddr%3D10.0.0.1"
    )
    for parameter in ("host=10.0.0.1", "hostaddr=10.0.0.1", "service=x", "sslrootcert=/etc/passwd"):
        other = driver.server(f"postgresql://db.example.org/shop?{parameter}", "postgresql")
        with pytest.raises(InvalidSource):
            driver.connected(other, "203.0.113.7", {})
    with pytest.raises(InvalidSource):
        driver.server("postgresql://one.example.org,two.example.org:5432/shop", "postgresql")


class Elsewhere(fl.FlightServerBase):
    """Has the rows of every statement at another address."""

    def __init__(self, *uris: str) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self.uris = list(uris)

    def get_flight_info(self, context, descriptor):
        if b"CommandStatementQuery" not in descriptor.command:  # but what the server is
            raise NotImplementedError
        endpoint = fl.FlightEndpoint(b"rows", self.uris)
        return fl.FlightInfo(pa.schema([("n", pa.int64())]), descriptor, [endpoint], -1, -1)

    def do_get(self, context, ticket):
        return fl.RecordBatchStream(pa.table({"n": [1, 2]}))


def test_a_server_cannot_send_the_driver_elsewhere():
    with Elsewhere("grpc://10.1.2.3:8815") as server:
        with pytest.raises(SourceNotAllowed, match=r"10\.1\.2\.3"):
            read(source(), flightsql(f"grpc://127.0.0.1:{server.port}"))
        server.uris = []
        assert read(source(), flightsql(f"grpc://127.0.0.1:{server.port}"))["n"].to_pylist() == [1, 2]


def test_a_server_that_says_nothing_can_be_left():
    found = source()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        threading.Timer(1.0, found.cancel, ["r"]).start()
        with pytest.raises(Cancelled):
            opened(found, flightsql(f"grpc://127.0.0.1:{port}"))


def test_a_server_that_is_not_there_may_come_back():
    with pytest.raises(SourceUnavailable, match="localhost:1"):
        opened(source(), flightsql("grpc://localhost:1"))


def test_one_skein_ingests_from_another_with_flight_sql(tmp_path, monkeypatch):
    monkeypatch.setenv("SKEIN_SECRET_THERE", "not-the-token")
    numbers = pa.table({"n": range(300_000), "s": ["x"] * 300_000})
    with skein_stack(tmp_path / "there", tokens="ann=not-the-token") as there:
        there.write("numbers", numbers)
        with skein_stack(tmp_path / "here") as here, here.http(timeout=40) as client:
            wanted = {
                "kind": "adbc",
                "driver": "flightsql",
                "uri": there.flight_uri.replace("+tcp", ""),
                "sql": "SELECT n, s FROM numbers WHERE n >= 1000 ORDER BY n",
                "options": {"adbc.flight.sql.authorization_header": {"secret": "there", "prefix": "Bearer "}},
            }
            body = {"dataset": "copy", "source": wanted}
            job = client.post("/api/v1/ingestions", json=body, headers=WAIT).json()
            assert (job["state"], job["error"]) == ("succeeded", None)
            assert client.get("/api/v1/datasets/copy").json()["rows"] == 299_000
            preview = client.post("/api/v1/ingestions/preview", json={"source": wanted, "rows": 1}).json()
            assert preview["rows"] == [{"n": 1000, "s": "x"}]
            for change in ({"sql": "SELECT nothing"}, {"options": {}}, {"sql": "CREATE TABLE t (i INT)"}):
                body = {"dataset": "other", "source": wanted | change}
                failed = client.post("/api/v1/ingestions", json=body, headers=WAIT).json()
                assert failed["error"]["code"] == "invalid_source", failed
                assert "not-the-token" not in str(failed)
