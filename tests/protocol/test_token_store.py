"""API tokens of the catalog: good at every door, until they are revoked or over."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import adbc_driver_flightsql.dbapi as dbapi
import httpx
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flight_core.application.ports.authentication import API_TOKEN_PREFIX
from flight_core.domain.access import Scope
from flight_core.domain.tokens import ApiToken
from tests.e2e.commands import skein
from tests.stack import Stack, skein_stack, until

ADMIN = {"Authorization": "Bearer r00t"}
ROWS = pa.table({"id": pa.array([1, 2], pa.int64())})


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = "root=r00t,writer/read+write=wr1ter,emea/read+admin@sales*=em3a"
    with skein_stack(tmp_path_factory.mktemp("tokens") / "data", tokens=settings) as made:
        made.write("sales_eu", ROWS)
        yield made


def create(stack: Stack, name: str = "dashboard", **request) -> dict:
    with stack.http(headers=ADMIN) as client:
        reply = client.post("/api/v1/tokens", json={"name": name, "scopes": ["read"], **request})
        assert reply.status_code == 201, reply.text
        return reply.json()


def over_http(stack: Stack, token: str) -> None:
    reply = httpx.get(stack.http_url + "/api/v1/datasets", headers={"Authorization": f"Bearer {token}"})
    assert reply.status_code == 200, reply.text


def over_socket(stack: Stack, token: str) -> None:
    url = stack.http_url.replace("http", "ws") + "/api/v1/events"
    with connect(url, additional_headers={"Authorization": f"Bearer {token}"}) as socket:
        socket.recv(timeout=30)


def over_flight(stack: Stack, token: str) -> None:
    options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())])
    with stack.flight() as client:
        list(client.list_flights(options=options))


def over_flight_sql(stack: Stack, token: str) -> None:
    header = {"adbc.flight.sql.authorization_header": f"Bearer {token}"}
    opened = dbapi.connect(stack.flight_uri, db_kwargs=header, autocommit=True)
    with opened as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM sales_eu")
        assert cursor.fetch_arrow_table().num_rows == 2


DOORS: dict[str, Callable[[Stack, str], None]] = {
    "http": over_http,
    "socket": over_socket,
    "flight": over_flight,
    "flight_sql": over_flight_sql,
}
REFUSALS = (AssertionError, InvalidStatus, fl.FlightUnauthenticatedError, dbapi.Error)


@pytest.mark.parametrize("door", DOORS)
def test_a_token_is_good_until_it_is_revoked(stack, door):
    made = create(stack)
    DOORS[door](stack, made["token"])
    with stack.http(headers=ADMIN) as client:
        assert client.delete(f"/api/v1/tokens/{made['id']}").status_code == 204
    with pytest.raises(REFUSALS) as refused:
        DOORS[door](stack, made["token"])
    assert any(told in str(refused.value).lower() for told in ("unauthenticated", "401"))


def test_a_token_has_no_more_than_its_scopes_and_datasets(stack):
    made = create(stack, datasets=["orders*"])
    with stack.http(headers={"Authorization": f"Bearer {made['token']}"}) as client:
        assert client.get("/api/v1/datasets").json()["items"] == []
        assert client.get("/api/v1/datasets/sales_eu").json()["code"] == "dataset_not_found"
        assert client.get("/api/v1/tokens").json()["code"] == "permission_denied"


def test_the_secret_is_told_once_and_stored_nowhere(stack):
    made = create(stack)
    secret = made["token"]
    over_http(stack, secret)
    with stack.http(headers=ADMIN) as client:
        listed = client.get("/api/v1/tokens")
    assert secret not in listed.text
    (entry,) = [each for each in listed.json()["items"] if each["id"] == made["id"]]
    assert entry["created_by"] == "root"
    assert entry["last_used_at"] is not None
    with sqlite3.connect(stack.data / "catalog.sqlite") as catalog:
        rows = catalog.execute("SELECT digest FROM api_tokens WHERE id = ?", (made["id"],)).fetchall()
        assert rows == [(hashlib.sha256(secret.encode()).digest(),)]
        assert secret not in "\n".join(catalog.iterdump())
    catalog.close()


@pytest.mark.parametrize("token", ["wr1ter", "em3a"])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", ""), ("DELETE", "/none")])
def test_only_administrators_of_everything_have_to_do_with_tokens(stack, token, method, path):
    with stack.http(headers={"Authorization": f"Bearer {token}"}) as client:
        body = {"name": "x", "scopes": ["read"]} if method == "POST" else None
        reply = client.request(method, "/api/v1/tokens" + path, json=body)
        assert (reply.status_code, reply.json()["code"]) == (403, "permission_denied")


@pytest.mark.parametrize(
    "request_",
    [
        {"name": "a/b", "scopes": ["read"]},
        {"name": "", "scopes": ["read"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "scopes": ["read"], "datasets": ["a b"]},
        {"name": "x", "scopes": ["read"], "datasets": []},
        {"name": "x", "scopes": ["read"], "expires_at": "2001-01-31T12:00:00Z"},
        {"name": "x", "scopes": ["read"], "expires_at": "2101-01-31T12:00:00"},
    ],
)
def test_tokens_that_make_no_sense_are_refused(stack, request_):
    with stack.http(headers=ADMIN) as client:
        reply = client.post("/api/v1/tokens", json=request_)
        assert reply.status_code in (400, 422), reply.text
        assert reply.json()["code"] in ("invalid_option", "invalid_request")
        unknown = client.delete("/api/v1/tokens/nobody")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "token_not_found")


def test_nobody_gives_more_than_they_have(stack):
    made = create(stack, "deputy", scopes=["read", "admin"])
    with stack.http(headers={"Authorization": f"Bearer {made['token']}"}) as client:
        assert client.post("/api/v1/tokens", json={"name": "x", "scopes": ["read"]}).status_code == 201
        refused = client.post("/api/v1/tokens", json={"name": "x", "scopes": ["write"]})
        assert refused.json()["code"] == "permission_denied"


@pytest.mark.parametrize("name", ["local", "skein"])
def test_nobody_can_be_called_like_somebody_inside(stack, name):
    with stack.http(headers=ADMIN) as client:
        token = client.post("/api/v1/tokens", json={"name": name, "scopes": ["read"]})
        user = client.post("/api/v1/users", json={"name": name, "password": "12345678", "scopes": ["read"]})
    assert (token.status_code, token.json()["code"]) == (403, "reserved_name")
    assert (user.status_code, user.json()["code"]) == (403, "reserved_name")


@pytest.mark.parametrize("door", DOORS)
def test_a_token_from_before_with_the_name_of_somebody_inside_is_refused(stack, door):
    moment, secret = datetime.now(UTC), f"{API_TOKEN_PREFIX}old-{door}"
    token = ApiToken(door, "local", frozenset({Scope.READ}), ("*",), moment, "root")
    digest = hashlib.sha256(secret.encode()).digest()
    stack.skein.control.access.create_token.tokens.add(token, digest)
    with pytest.raises((AssertionError, InvalidStatus, fl.FlightUnauthorizedError, dbapi.Error)) as refused:
        DOORS[door](stack, secret)
    assert any(told in str(refused.value) for told in ("reserved_name", "HTTP 403"))


def run_of_schedule(client, name: str) -> dict:
    job = client.post(f"/api/v1/schedules/{name}/run", headers={"Prefer": "wait=60"}).json()
    return job["error"] or {"code": job["state"]}


def test_work_goes_on_for_as_long_as_its_owner_may_do_it(stack):
    scopes = {"scopes": ["read", "write"], "datasets": ["sales*"]}
    first, second = (create(stack, "analyst", **scopes) for _ in range(2))
    source = {"kind": "sql", "sql": "SELECT sum(id) AS total FROM sales_eu"}
    ingestion = {"dataset": "sales_total", "source": source, "mode": "replace"}
    schedule = {"name": "totals", "ingestion": ingestion, "cron": "0 6 1 1 *"}
    with stack.http(headers={"Authorization": f"Bearer {first['token']}"}) as client:
        assert client.post("/api/v1/schedules", json=schedule).status_code == 201
        assert run_of_schedule(client, "totals") == {"code": "succeeded"}
    with stack.http(headers=ADMIN) as client:
        client.delete(f"/api/v1/tokens/{first['id']}")
        assert run_of_schedule(client, "totals") == {"code": "succeeded"}
        client.delete(f"/api/v1/tokens/{second['id']}")
        create(stack, "analyst", scopes=["read", "write"], datasets=["orders*"])
        refused = run_of_schedule(client, "totals")
    assert refused["code"] == "permission_denied"
    assert "'analyst'" in refused["message"]
    assert "'sales_total'" in refused["message"]


def test_what_its_owner_may_not_do_any_more_is_paused_until_somebody_who_may_resumes_it(stack):
    made = create(stack, "leaver", scopes=["read", "write"], datasets=["sales*"])
    source = {"kind": "sql", "sql": "SELECT sum(id) AS total FROM sales_eu"}
    ingestion = {"dataset": "sales_hourly", "source": source, "mode": "replace"}
    schedule = {"name": "hourly", "ingestion": ingestion, "every_s": 1, "paused": True}
    paths = ("/api/v1/schedules/hourly", "/api/v1/datasets/sales_max/derivation")
    with stack.http(headers={"Authorization": f"Bearer {made['token']}"}) as client:
        assert client.post("/api/v1/schedules", json=schedule).status_code == 201
        assert client.put(paths[1], json={"sql": "SELECT max(id) AS m FROM sales_eu"}).is_success
        until(lambda: client.get(paths[1]).json()["state"] == "fresh")
    with stack.http(headers=ADMIN) as client:
        client.delete(f"/api/v1/tokens/{made['id']}")
        assert client.patch(paths[0], json={"paused": False}).json()["actor"] == "leaver"
        stack.write("sales_eu", ROWS)
        for path in paths:
            until(lambda path=path: client.get(path).json()["pause_reason"])
            assert "'leaver'" in client.get(path).json()["pause_reason"]
        schedule, derivation = (client.get(path).json() for path in paths)
        assert (schedule["paused"], schedule["next_at"]) == (True, None)
        assert (derivation["state"], derivation["will_refresh"]) == ("paused", False)
        assert told_of_pauses(stack) == {("schedule.changed", True), ("derivation.changed", True)}
        environment = {"SKEIN_SERVER": stack.http_url, "SKEIN_TOKEN": "r00t"}
        for command in (("schedule", "list"), ("derived",)):
            assert "'leaver'" in skein(*command, **environment, COLUMNS="300").stdout
    with stack.http(headers={"Authorization": "Bearer wr1ter"}) as client:
        assert client.patch(paths[0], json={"paused": False}).json()["code"] == "permission_denied"
    resumed = skein("schedule", "resume", "hourly", **environment)
    assert resumed.returncode == 0, resumed.stderr
    resumed = skein("derive", "sales_max", "--resume", **environment)
    assert resumed.returncode == 0, resumed.stderr
    with stack.http(headers=ADMIN) as client:
        until(lambda: client.get(paths[1]).json()["state"] == "fresh")
        until(lambda: (client.get(paths[0]).json()["last_run"] or {}).get("state") == "succeeded")
        assert {client.get(path).json()["actor"] for path in paths} == {"root"}
        assert client.get(paths[0]).json()["pause_reason"] is None
        assert client.delete(paths[0]).is_success


def test_a_schedule_whose_owner_may_not_read_its_inputs_any_more_is_paused(stack):
    stack.write("stock_now", ROWS)
    made = create(stack, "mover", scopes=["read", "write"], datasets=["sales*", "stock*"])
    source = {"kind": "sql", "sql": "SELECT sum(id) AS total FROM stock_now"}
    ingestion = {"dataset": "sales_stock", "source": source, "mode": "replace"}
    schedule = {"name": "stocks", "ingestion": ingestion, "every_s": 1, "paused": True}
    path = "/api/v1/schedules/stocks"
    with stack.http(headers={"Authorization": f"Bearer {made['token']}"}) as client:
        assert client.post("/api/v1/schedules", json=schedule).status_code == 201
    create(stack, "mover", scopes=["read", "write"], datasets=["sales*"])
    with stack.http(headers=ADMIN) as client:
        client.delete(f"/api/v1/tokens/{made['id']}")
        assert client.patch(path, json={"paused": False}).is_success
        until(lambda: client.get(path).json()["pause_reason"])
        paused = client.get(path).json()
        assert "'mover'" in paused["pause_reason"]
        assert paused["last_run"] is None
        assert client.delete(path).is_success


def told_of_pauses(stack: Stack) -> set[tuple[str, bool]]:
    events = [stored.event for stored in stack.skein.events.after(0)]
    return {(event.kind.value, event.data["paused"]) for event in events if event.data.get("pause_reason")}


def test_the_first_token_closes_a_server_that_was_open(tmp_path):
    with skein_stack(tmp_path / "data") as stack, stack.http() as client:
        assert client.get("/api/v1/datasets").status_code == 200
        made = client.post("/api/v1/tokens", json={"name": "me", "scopes": ["read", "admin"]}).json()
        assert client.get("/api/v1/datasets").status_code == 401
        with pytest.raises(fl.FlightUnauthenticatedError), stack.flight() as flight:
            list(flight.list_flights())
        mine = {"Authorization": f"Bearer {made['token']}"}
        assert client.delete(f"/api/v1/tokens/{made['id']}", headers=mine).status_code == 204
        assert client.get("/api/v1/datasets").status_code == 401
        assert json.loads(client.get("/api/v1/datasets", headers=mine).text)["code"] == "unauthenticated"


def test_a_request_that_comes_again_with_its_key_is_not_told_the_secret(stack: Stack) -> None:
    body = {"name": "once", "scopes": ["read"]}
    with stack.http(headers=ADMIN | {"Idempotency-Key": "a token"}) as client:
        first, again = (client.post("/api/v1/tokens", json=body).json() for _ in range(2))
        listed = [each["name"] for each in client.get("/api/v1/tokens").json()["items"]]
    assert (again["id"], again["token"], listed.count("once")) == (first["id"], None, 1)
    over_http(stack, first["token"])
