"""The audit log: who asked for what at which door, and how it was decided."""

import base64
import sqlite3
from collections.abc import Iterator

import adbc_driver_flightsql.dbapi as dbapi
import httpx
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.stack import Stack, skein_stack

ADMIN = {"Authorization": "Bearer r00t"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    users = "bob/read=p4ssword"
    tokens = "root=r00t,emea/read@sales*=em3a,clerk/read+admin@sales*=cl3rk,nobody/ingest=n0body"
    with skein_stack(tmp_path_factory.mktemp("audit") / "data", tokens=tokens, users=users) as made:
        made.write("sales_eu", pa.table({"id": pa.array([1, 2], pa.int64())}))
        made.write("secret_plans", pa.table({"id": pa.array([1], pa.int64())}))
        yield made


def entries(stack: Stack, **wanted) -> list[dict]:
    with stack.http(headers=ADMIN) as client:
        reply = client.get("/api/v1/audit", params=wanted)
        assert reply.status_code == 200, reply.text
        return reply.json()["items"]


def newest(stack: Stack, **wanted) -> dict:
    return entries(stack, limit=1, **wanted)[0]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_query_over_http_is_noted_with_its_statement_and_datasets(stack):
    with stack.http(headers=bearer("em3a")) as client:
        reply = client.post("/api/v1/query", json={"sql": "SELECT count(*) FROM sales_eu"})
        assert reply.status_code == 200
        entry = newest(stack, actor="emea", action="open_query", dataset="SALES_EU")
        assert entry["subject"] == reply.headers["Skein-Query-Id"]
        assert (entry["door"], entry["address"], entry["decision"]) == ("http", "127.0.0.1", "allowed")
        hidden = client.post("/api/v1/query", json={"sql": "SELECT 'tell me' FROM secret_plans"})
        assert hidden.status_code == 404
        entry = newest(stack, actor="emea", action="open_query")
        assert (entry["decision"], entry["code"]) == ("failed", "dataset_not_found")
        dropped = client.delete("/api/v1/datasets/sales_eu")
        assert dropped.status_code == 403
        entry = newest(stack, actor="emea", decision="refused")
        assert (entry["action"], entry["code"]) == ("drop_dataset", "permission_denied")
        assert entry["datasets"] == ["sales_eu"]
        assert "tell me" not in str(entries(stack, limit=1000))


def test_a_login_over_flight_tells_the_address_once_that_is_known(stack):
    basic = base64.b64encode(b"bob:p4ssword")
    with stack.flight() as client:
        list(
            client.list_flights(options=fl.FlightCallOptions(headers=[(b"authorization", b"Basic " + basic)]))
        )
        entry = newest(stack, actor="bob", action="log_in")
        assert (entry["door"], entry["address"], entry["decision"]) == ("flight", "127.0.0.1", "allowed")
        options = fl.FlightCallOptions(headers=[client.authenticate_basic_token("bob", "p4ssword")])
        assert newest(stack, actor="bob", action="log_in")["address"] == ""  # nobody tells it
        list(client.list_flights(options=options))
    assert newest(stack, actor="bob", action="list_datasets")["address"] == "127.0.0.1"
    assert len(entries(stack, actor="bob", action="log_in")) == 2


def test_flight_and_flight_sql_tell_the_address(stack):
    options = fl.FlightCallOptions(headers=[(b"authorization", b"Bearer em3a")])
    with stack.flight() as client:
        info = client.get_flight_info(fl.FlightDescriptor.for_command(b"SELECT id FROM sales_eu"), options)
        assert client.do_get(info.endpoints[0].ticket, options).read_all().num_rows == 2
    for action in ("plan_query", "open_query"):
        entry = newest(stack, actor="emea", action=action)
        assert (entry["door"], entry["address"], entry["datasets"]) == ("flight", "127.0.0.1", ["sales_eu"])
    header = {"adbc.flight.sql.authorization_header": "Bearer em3a"}
    opened = dbapi.connect(stack.flight_uri, db_kwargs=header, autocommit=True)
    with opened as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM sales_eu")
        with pytest.raises(dbapi.Error):
            cursor.execute("CREATE TABLE t (x INT)")
    entry = newest(stack, actor="emea", action="answer_in_session", decision="allowed")
    assert (entry["door"], entry["address"], entry["datasets"]) == ("flight_sql", "127.0.0.1", ["sales_eu"])
    found = entries(stack, actor="emea", decision="refused", limit=5)
    assert {"statement_not_allowed", "permission_denied"} & {entry["code"] for entry in found}


def test_sockets_are_noted_too(stack):
    url = stack.http_url.replace("http", "ws") + "/api/v1/events"
    with connect(url, additional_headers=bearer("em3a")) as socket:
        socket.recv(timeout=30)
    assert newest(stack, actor="emea", action="follow_events")["door"] == "websocket"
    with pytest.raises(InvalidStatus):
        connect(url, additional_headers=bearer("n0body"))
    assert newest(stack, actor="nobody", action="follow_events")["decision"] == "refused"


def test_who_was_kept_out_is_noted_without_what_they_showed(stack):
    wrong = base64.b64encode(b"eve:my-passw0rd").decode()
    url = stack.http_url + "/api/v1/datasets"
    assert httpx.get(url, headers={"Authorization": f"Basic {wrong}"}).status_code == 401
    entry = newest(stack, action="log_in")
    assert (entry["actor"], entry["decision"], entry["code"]) == ("eve", "refused", "unauthenticated")
    for _ in range(20):
        assert httpx.get(url, headers=bearer("gu3ss")).status_code == 401
    many = [each for each in entries(stack, action="log_in", limit=25) if each["actor"] == ""]
    assert sum(each["count"] for each in many) >= 20
    assert len(many) < 20
    assert httpx.get(url, headers={**ADMIN, "Host": "evil.example"}).status_code == 421
    assert newest(stack, action="log_in")["code"] == "host_not_allowed"
    told = str(entries(stack, limit=1000))
    assert not any(secret in told for secret in ("my-passw0rd", "gu3ss", wrong, "r00t", "em3a"))


def test_changes_are_stored_before_they_are_answered(stack):
    with stack.http(headers=ADMIN) as client:
        made = client.post("/api/v1/tokens", json={"name": "dash", "scopes": ["read"]}).json()
    with sqlite3.connect(stack.data / "catalog.sqlite") as catalog:
        rows = catalog.execute("SELECT actor, subject FROM audit WHERE action = 'create_token'").fetchall()
    catalog.close()
    assert ("root", "dash") in rows
    assert httpx.get(stack.http_url + "/api/v1/datasets", headers=bearer(made["token"])).status_code == 200
    assert newest(stack, actor="dash")["credential"] == f"token/{made['id']}"


def test_only_administrators_of_everything_read_it_page_by_page(stack):
    for token in ("em3a", "cl3rk"):
        assert httpx.get(stack.http_url + "/api/v1/audit", headers=bearer(token)).status_code == 403
    for number in range(7):
        httpx.get(f"{stack.http_url}/api/v1/datasets/none{number}", headers=bearer("em3a"))
    whole = entries(stack, limit=1000, actor="emea")
    seen, path = [], "/api/v1/audit?limit=3&actor=emea"
    with stack.http(headers=ADMIN) as client:
        while path is not None:
            page = client.get(path).json()
            seen += page["items"]
            path = page["next"]
    assert len(whole) >= 7
    assert seen == whole
