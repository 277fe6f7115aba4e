"""Users with passwords, at every door, until they are removed."""

import base64
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import adbc_driver_flightsql.dbapi as dbapi
import httpx
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.stack import Stack, skein_stack

ADMIN = {"Authorization": "Bearer r00t"}
PASSWORD = "corréct horse:1"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with skein_stack(tmp_path_factory.mktemp("users") / "data", tokens="root=r00t") as made:
        made.write("sales_eu", pa.table({"id": pa.array([1, 2], pa.int64())}))
        yield made


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def over_http(stack: Stack, user: str, password: str) -> None:
    reply = httpx.get(stack.http_url + "/api/v1/datasets", headers=basic(user, password))
    assert reply.status_code == 200, reply.text


def over_socket(stack: Stack, user: str, password: str) -> None:
    url = stack.http_url.replace("http", "ws") + "/api/v1/events"
    with connect(url, additional_headers=basic(user, password)) as socket:
        socket.recv(timeout=30)


def over_flight(stack: Stack, user: str, password: str) -> None:
    with stack.flight() as client:
        options = fl.FlightCallOptions(headers=[client.authenticate_basic_token(user, password)])
        assert [info.descriptor.path for info in client.list_flights(options=options)] == [[b"sales_eu"]]


def over_flight_sql(stack: Stack, user: str, password: str) -> None:
    login = {"username": user, "password": password}
    opened = dbapi.connect(stack.flight_uri, db_kwargs=login, autocommit=True)
    with opened as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM sales_eu")
        assert cursor.fetch_arrow_table().num_rows == 2


DOORS: dict[str, Callable[[Stack, str, str], None]] = {
    "http": over_http,
    "socket": over_socket,
    "flight": over_flight,
    "flight_sql": over_flight_sql,
}
REFUSALS = (AssertionError, InvalidStatus, fl.FlightUnauthenticatedError, dbapi.Error)


@pytest.mark.parametrize("door", DOORS)
def test_a_user_logs_in_until_the_user_is_removed(stack, door):
    name = f"ann-{door}"
    user = {"name": name, "password": PASSWORD, "scopes": ["read"], "datasets": ["sales*"]}
    with stack.http(headers=ADMIN) as client:
        added = client.post("/api/v1/users", json=user)
        assert added.status_code == 201, added.text
        assert PASSWORD not in added.text
        DOORS[door](stack, name, PASSWORD)
        with pytest.raises(REFUSALS):
            DOORS[door](stack, name, "a guess")
        listed = client.get("/api/v1/users")
        assert name in {each["name"] for each in listed.json()["items"]}
        assert "argon2" not in listed.text
        paged, url = [], "/api/v1/users?limit=1"
        while url:
            page = client.get(url).json()
            paged, url = paged + page["items"], page["next"]
        assert paged == listed.json()["items"]
        assert client.delete(f"/api/v1/users/{name}").status_code == 204
    with pytest.raises(REFUSALS) as refused:
        DOORS[door](stack, name, PASSWORD)
    assert any(told in str(refused.value).lower() for told in ("unauthenticated", "401"))


def test_a_login_of_flight_ends_with_the_password(stack):
    user = {"name": "bob", "password": PASSWORD, "scopes": ["read"]}
    with stack.http() as client, stack.flight() as flight:
        assert client.post("/api/v1/users", json=user, headers=ADMIN).status_code == 201
        login = fl.FlightCallOptions(headers=[flight.authenticate_basic_token("bob", PASSWORD)])
        assert list(flight.list_flights(options=login))
        change = {"password": "battery staple"}
        alone = client.put("/api/v1/users/bob/password", json=change, headers=basic("bob", PASSWORD))
        assert alone.status_code == 403
        assert "as 'current'" in alone.json()["detail"]
        change["current"] = PASSWORD
        changed = client.put("/api/v1/users/bob/password", json=change, headers=basic("bob", PASSWORD))
        assert changed.status_code == 204, changed.text
        with pytest.raises(fl.FlightUnauthenticatedError, match="log in again"):
            list(flight.list_flights(options=login))
    over_http(stack, "bob", "battery staple")


def test_guessing_is_slowed_down_and_the_client_is_told_for_how_long(stack):
    with stack.http() as client:
        statuses = [client.get("/api/v1", headers=basic("nobody", f"guess{n}")).status_code for n in range(6)]
        assert statuses == [401] * 5 + [429]
        refused = client.get("/api/v1", headers=basic("nobody", "guess"))
        assert (refused.json()["code"], refused.json()["retryable"]) == ("too_many_requests", True)
        assert int(refused.headers["Retry-After"]) >= 1
    with stack.flight() as flight:
        for _ in range(20):
            with pytest.raises(fl.FlightUnauthenticatedError):
                flight.authenticate_basic_token("no-one", "guess")
        with pytest.raises(fl.FlightUnavailableError, match="too_many_requests"):
            flight.authenticate_basic_token("no-one", "guess")


def test_what_cannot_be_is_refused_and_repeats_no_password(stack):
    with stack.http(headers=ADMIN) as client:
        user = {"name": "eve", "password": "s3cret", "scopes": ["read"]}
        short = client.post("/api/v1/users", json=user)
        assert (short.status_code, short.json()["code"]) == (400, "invalid_option")
        odd = client.post("/api/v1/users", json={**user, "password": ["s3cret"]})
        assert odd.status_code == 422
        assert "s3cret" not in short.text + odd.text
        assert client.delete("/api/v1/users/eve").json()["code"] == "user_not_found"


def test_a_request_that_comes_again_with_its_key_adds_nobody_and_leaves_no_trace_of_the_password(stack):
    user = {"name": "once", "password": PASSWORD, "scopes": ["read"]}
    with stack.http(headers=ADMIN | {"Idempotency-Key": "a user"}) as client:
        first, again = (client.post("/api/v1/users", json=user) for _ in range(2))
        assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
        for change in ({"password": "another one"}, {"scopes": ["read", "write"]}):
            other = client.post("/api/v1/users", json=user | change)
            assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        request = json.loads(first.request.content)
        client.delete("/api/v1/users/once")
        assert client.post("/api/v1/users", json=user).json()["code"] == "user_not_found"
    with closing(sqlite3.connect(stack.data / "catalog.sqlite")) as catalog:
        (kept,) = catalog.execute("SELECT * FROM idempotency_keys WHERE value = 'a user'").fetchall()
    line = b"POST /api/v1/users?\n"
    guesses = [PASSWORD.encode(), first.request.content, line + first.request.content]
    guesses += [json.dumps(request, separators=(",", ":")).encode()]
    digests = {hashlib.sha256(guess).hexdigest() for guess in guesses}
    assert not digests & {str(value) for value in kept}
    assert PASSWORD not in str(kept)
    assert "argon2" not in str(kept)
