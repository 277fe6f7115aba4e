"""Every kind of principal at every door: what it may do, and with which code the rest is refused."""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import adbc_driver_flightsql.dbapi as dbapi
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.protocol.issuer import AUDIENCE, issuing
from tests.stack import Stack, skein_stack

ROWS = pa.table({"x": pa.array([1, 2], pa.int64())})
OK = "ok"
NOT_KNOWN = "unauthenticated"
DENIED = "permission_denied"
HIDDEN = "dataset_not_found"


@dataclass(frozen=True)
class Shown:
    """What a client shows: a header, or for ADBC and the handshake a name and a password."""

    header: str | None = None
    login: tuple[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.header is None else {"Authorization": self.header}


def bearer(token: str) -> Shown:
    return Shown(f"Bearer {token}")


def basic(user: str, password: str) -> Shown:
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Shown(f"Basic {encoded}", (user, password))


@dataclass(frozen=True)
class House:
    stack: Stack
    shown: Mapping[str, Shown]
    foreign_query: str  # the id of a query of somebody else, which has ended


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = {
        "tokens": "root=r00t,reader/read=r3ader,emea/read@sales*=em3a,loader/ingest=l0ader,"
        "editor/read+write=ed1tor,chief/read+admin=ch1ef",
        "users": "sue/read=sue-passw0rd",
        "oidc_audience": AUDIENCE,
        "oidc_grants": "analysts/read",
    }
    data = tmp_path_factory.mktemp("rules") / "data"
    with issuing() as issuer, skein_stack(data, oidc_issuer=issuer.url, **settings) as stack:
        stack.write("sales_eu", ROWS)
        stack.write("payroll", ROWS)
        shown = {
            "nobody": Shown(),
            "a wrong token": bearer("gu3ss"),
            "a wrong password": basic("sue", "a guess"),
            "a token of the settings": bearer("r3ader"),
            "a user of the settings": basic("sue", "sue-passw0rd"),
            "a token of the issuer": bearer(issuer.token(groups=["analysts"])),
            "an expired token of the issuer": bearer(issuer.token(groups=["analysts"], exp=1)),
            "a token for some datasets": bearer("em3a"),
            "a loader": bearer("l0ader"),
            "an editor": bearer("ed1tor"),
            "a chief": bearer("ch1ef"),
            **handed_out(stack),
        }
        with stack.http(headers=bearer("r00t").headers, timeout=60) as root:
            asked = root.post("/api/v1/query", json={"sql": "SELECT 1"})
            yield House(stack, shown, asked.headers["Skein-Query-Id"])


def handed_out(stack: Stack) -> dict[str, Shown]:
    """Tokens and users of the catalog, some of which are good no longer."""
    with stack.http(headers=bearer("r00t").headers, timeout=60) as root:

        def token(**more: object) -> dict[str, str]:
            made = root.post("/api/v1/tokens", json={"name": "api", "scopes": ["read"], **more})
            return made.json()

        good, revoked = token(), token()
        soon = token(expires_at=(datetime.now(UTC) + timedelta(milliseconds=300)).isoformat())
        assert root.delete(f"/api/v1/tokens/{revoked['id']}").is_success
        for name in ("ann", "bob"):
            user = {"name": name, "password": f"{name}-passw0rd", "scopes": ["read"]}
            assert root.post("/api/v1/users", json=user).is_success
        assert root.delete("/api/v1/users/bob").is_success
    return {
        "a token of the catalog": bearer(good["token"]),
        "a revoked token": bearer(revoked["token"]),
        "an expired token": bearer(soon["token"]),
        "a user of the catalog": basic("ann", "ann-passw0rd"),
        "a removed user": basic("bob", "bob-passw0rd"),
    }


def code_in(text: str) -> str:
    found = re.search(r"\[([a-z]+_?[a-z_]+)\]", text)
    return found[1] if found else text


def code_of(call: Callable[[], object]) -> str:
    try:
        call()
    except InvalidStatus as refused:
        return str(json.loads(refused.response.body)["code"])
    except (fl.FlightError, pa.ArrowException, dbapi.Error, OSError) as refused:
        return code_in(str(refused))
    return OK


class Http:
    def __init__(self, house: House, shown: Shown) -> None:
        self._client = house.stack.http(headers=shown.headers, timeout=60)
        self._foreign = house.foreign_query

    def _code(self, method: str, path: str, body: object = None) -> str:
        reply = self._client.request(method, path, json=body)
        return OK if reply.is_success else str(reply.json()["code"])

    def actions(self) -> dict[str, str]:
        with self._client:
            return {
                "list": self._code("GET", "/api/v1/datasets"),
                "read": self._code("POST", "/api/v1/query", {"sql": "SELECT x FROM sales_eu"}),
                "read payroll": self._code("POST", "/api/v1/query", {"sql": "SELECT x FROM payroll"}),
                "run": self._code("POST", "/api/v1/query", {"sql": "CREATE OR REPLACE TABLE t (x INT)"}),
                "drop": self._code("DELETE", "/api/v1/datasets/sales_none"),
                "upload": self._code("POST", "/api/v1/uploads"),
                "see a foreign query": self._code("GET", f"/api/v1/queries/{self._foreign}"),
                "read the audit log": self._code("GET", "/api/v1/audit"),
                "make a token": self._code("POST", "/api/v1/tokens", {"name": "n", "scopes": ["read"]}),
            }


class Flight:
    def __init__(self, house: House, shown: Shown) -> None:
        headers = [] if shown.header is None else [(b"authorization", shown.header.encode())]
        self._options = fl.FlightCallOptions(headers=headers)
        self._house = house

    def actions(self) -> dict[str, str]:
        with self._house.stack.flight() as self._client:
            cancel = json.dumps({"query_id": self._house.foreign_query}).encode()
            return {
                "list": code_of(lambda: list(self._client.list_flights(options=self._options))),
                "read": code_of(lambda: self._read("SELECT x FROM sales_eu")),
                "read payroll": code_of(lambda: self._read("SELECT x FROM payroll")),
                "run": code_of(lambda: self._read("CREATE OR REPLACE TABLE t (x INT)")),
                "write": code_of(self._put),
                "drop": code_of(lambda: self._act("drop_dataset", b'{"dataset": "sales_none"}')),
                "cancel a foreign query": code_of(lambda: self._act("cancel", cancel)),
            }

    def _read(self, sql: str) -> None:
        info = self._client.get_flight_info(fl.FlightDescriptor.for_command(sql.encode()), self._options)
        self._client.do_get(info.endpoints[0].ticket, self._options).read_all()

    def _put(self) -> None:
        descriptor = fl.FlightDescriptor.for_path("sales_flight")
        writer, reader = self._client.do_put(descriptor, ROWS.schema, self._options)
        with writer:
            writer.write_table(ROWS)
            writer.done_writing()
            reader.read()

    def _act(self, name: str, body: bytes) -> None:
        list(self._client.do_action((name, body), self._options))


class FlightSql:
    def __init__(self, house: House, shown: Shown) -> None:
        self._uri = house.stack.flight_uri
        self._options: dict[str, str] = {}
        if shown.login is not None:
            self._options = {"username": shown.login[0], "password": shown.login[1]}
        elif shown.header is not None:
            self._options = {"adbc.flight.sql.authorization_header": shown.header}

    def actions(self) -> dict[str, str]:
        return {
            "list": code_of(self._list),
            "read": code_of(lambda: self._run("SELECT x FROM sales_eu")),
            "read payroll": code_of(lambda: self._run("SELECT x FROM payroll")),
            "run": code_of(lambda: self._run("CREATE OR REPLACE TABLE t (x INT)")),
            "write": code_of(self._ingest),
            "drop": code_of(lambda: self._run("DROP TABLE datasets.sales_none")),
        }

    @contextmanager
    def _connected(self) -> Iterator[dbapi.Connection]:
        with dbapi.connect(self._uri, db_kwargs=self._options, autocommit=True) as connection:
            yield connection

    def _list(self) -> None:
        with self._connected() as connection:
            connection.adbc_get_objects(depth="tables").read_all()

    def _run(self, sql: str) -> None:
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            cursor.fetch_arrow_table()

    def _ingest(self) -> None:
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.adbc_ingest(
                "sales_adbc", ROWS, mode="create_append", catalog_name="lake", db_schema_name="datasets"
            )


class WebSocket:
    def __init__(self, house: House, shown: Shown) -> None:
        self._url = house.stack.http_url.replace("http", "ws") + "/api/v1/"
        self._headers = shown.headers

    def actions(self) -> dict[str, str]:
        return {
            "list": code_of(self._follow_events),
            "read": self._follow("SELECT x FROM sales_eu"),
            "read payroll": self._follow("SELECT x FROM payroll"),
            "follow a change": self._follow("CREATE OR REPLACE TABLE t (x INT)"),
        }

    def _follow_events(self) -> None:
        with connect(self._url + "events", additional_headers=self._headers) as socket:
            socket.recv(timeout=30)

    def _follow(self, sql: str) -> str:
        told: list[str] = []

        def follow() -> None:
            with connect(self._url + "live", additional_headers=self._headers) as socket:
                socket.send(json.dumps({"subscribe": {"id": "a", "sql": sql}}))
                while not told:
                    said = json.loads(socket.recv(timeout=30))
                    told.extend({"result": [OK], "error": [said.get("code")]}.get(said["type"], []))

        refused = code_of(follow)
        return told[0] if told else refused


DOORS = {"http": Http, "flight": Flight, "flight_sql": FlightSql, "websocket": WebSocket}


READER = {"list": OK, "read": OK, "read payroll": OK}
EDITOR = {
    **READER,
    "run": OK,
    "write": OK,
    "upload": OK,
    "drop": HIDDEN,
    "follow a change": "statement_not_allowed",
}

# What each may do, by action; DENIED where nothing is said. None: it is not known at all.
RULES: dict[str, Mapping[str, str] | None] = {
    "nobody": None,
    "a wrong token": None,
    "a wrong password": None,
    "a revoked token": None,
    "an expired token": None,
    "an expired token of the issuer": None,
    "a removed user": None,
    "a token of the settings": READER,
    "a user of the settings": READER,
    "a token of the catalog": READER,
    "a user of the catalog": READER,
    "a token of the issuer": READER,
    "a token for some datasets": {**READER, "read payroll": HIDDEN},
    "a loader": {"upload": OK},
    "an editor": EDITOR,
    "a chief": {
        **READER,
        "see a foreign query": OK,
        "cancel a foreign query": OK,
        "read the audit log": OK,
        "make a token": OK,
    },
}


@pytest.mark.parametrize("principal", RULES)
def test_what_a_principal_may_do_is_the_same_at_every_door(house, principal):
    rules = RULES[principal]
    for door, kind in DOORS.items():
        for action, code in kind(house, house.shown[principal]).actions().items():
            if rules is None:
                assert code in (NOT_KNOWN, "too_many_requests"), (door, action)
            else:
                assert code == rules.get(action, DENIED), (door, action)


def test_every_principal_has_rules(house):
    assert house.shown.keys() == RULES.keys()
