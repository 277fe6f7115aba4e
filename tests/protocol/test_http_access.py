"""Who may talk to the HTTP door: hosts, origins, credentials, sizes; and what it says of itself."""

import base64
import contextlib
import json
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pyarrow as pa
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from control_api import security
from flight_core.domain.errors import NotFound
from skein import http_server
from tests.protocol.http_stack import serving, until
from tests.stack import Stack, skein_stack

QUERY = {"sql": "SELECT 1 AS a"}
EVENTS = "/api/v1/events"
TOKENS = "alice=s3cret,reader/read=readonly"
OPEN_PATHS = ["/", "/docs", "/healthz", "/openapi.json", "/readyz", "/redoc", "/static/page.js"]
CLOSED_PATHS = [
    "/api/v1",
    "/api/v1/datasets",
    "/api/v1/events/stream",
    "/metrics",
    "/problems",
    "/nope",
]


@pytest.fixture(scope="module")
def stack(stack):
    stack.write("d", pa.table({"x": [1]}))
    return stack


@pytest.fixture
def client(stack: Stack):
    with stack.http() as client:
        yield client


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with skein_stack(tmp_path_factory.mktemp("data"), tokens=TOKENS, users="bob=pässword") as stack:
        yield stack


def socket_url(stack: Stack) -> str:
    return stack.http_url.replace("http", "ws", 1) + EVENTS


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LocalHost"])
def test_this_machine_goes_by_these_names(client, host):
    assert client.get("/healthz", headers={"Host": f"{host}:1234"}).status_code == 200
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[::2]"])
def test_a_name_that_was_bent_to_this_machine_is_refused(stack, client, host):
    for header in (host, f"{host}:{client.base_url.port}"):
        response = client.get("/api/v1/datasets", headers={"Host": header})
        assert (response.status_code, response.json()["code"]) == (421, "host_not_allowed")
    bent = socket.create_connection((client.base_url.host, client.base_url.port))
    url = f"ws://{host}:{client.base_url.port}{EVENTS}"
    with pytest.raises(InvalidStatus) as refusal, connect(url, sock=bent):
        pass
    assert refusal.value.response.status_code == 421


@pytest.mark.parametrize("host", ["[::1].evil.example", "[::1", "localhost:80:80", "localhost:evil"])
def test_a_host_that_only_begins_like_a_name_of_this_machine_is_refused(client, host):
    assert client.get("/healthz", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("hosts", ["", "Host:\r\n", "Host: localhost\r\nHost: evil.example\r\n"])
def test_a_request_names_exactly_one_host(client, hosts):
    with socket.create_connection((client.base_url.host, client.base_url.port)) as raw:
        raw.sendall(f"GET /healthz HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n".encode())
        assert raw.recv(64).split()[1] in (b"400", b"421")


def test_other_host_names_can_be_allowed(stack):
    with serving(stack.skein.control, hosts=("data.example",)) as url:
        assert httpx.get(url + "/healthz", headers={"Host": "data.example"}).status_code == 200
        assert httpx.get(url + "/healthz").status_code == 421
    with serving(stack.skein.control, hosts=("*",)) as url:
        assert httpx.get(url + "/healthz", headers={"Host": "any.example"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_origins_cannot_send_anything(stack, client, headers):
    for response in (
        client.post("/api/v1/query", json=QUERY, headers=headers),
        client.delete("/api/v1/datasets/d", headers=headers),
    ):
        assert (response.status_code, response.json()["code"]) == (403, "origin_not_allowed")
    with pytest.raises(InvalidStatus) as refusal, connect(socket_url(stack), additional_headers=headers):
        pass
    assert refusal.value.response.status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({}, 200),
    ],
)
def test_pages_of_other_origins_cannot_read_but_links_work(client, headers, status):
    assert client.get("/api/v1/datasets", headers=headers).status_code == status


def test_the_own_pages_may_do_everything(stack, client):
    own = {"Origin": stack.http_url, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/v1/query", json=QUERY, headers=own).status_code == 200
    with connect(socket_url(stack), origin=stack.http_url) as connection:
        assert json.loads(connection.recv())["type"] == "skein.hello"


def test_an_origin_can_be_allowed(stack):
    page = {"Origin": "http://localhost:5173", "Sec-Fetch-Site": "cross-site"}
    with serving(stack.skein.control, origins=("http://localhost:5173",)) as url:
        response = httpx.post(url + "/api/v1/query", json=QUERY, headers=page)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "http://localhost:5173"
        assert "Skein-Query-Id" in response.headers["access-control-expose-headers"]
        ask = {**page, "Access-Control-Request-Method": "POST"}
        assert httpx.options(url + "/api/v1/query", headers=ask).status_code == 200
        with connect(url.replace("http", "ws", 1) + EVENTS, origin="http://localhost:5173"):
            pass
        other = httpx.post(url + "/api/v1/query", json=QUERY, headers={"Origin": "http://evil.example"})
        assert other.status_code == 403


@pytest.mark.parametrize("path", CLOSED_PATHS)
def test_every_path_wants_credentials(guarded, path):
    with guarded.http() as client:
        response = client.get(path)
        assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
        assert "Bearer" in response.headers["www-authenticate"]


def test_every_route_of_the_application_is_among_those(guarded):
    with guarded.http(headers=bearer("s3cret")) as client:
        paths = client.get("/openapi.json").json()["paths"]
    with guarded.http() as stranger:
        for path in paths:
            wanted = 200 if path in OPEN_PATHS else 401
            assert stranger.get(re.sub(r"\{\w+\}", "x", path)).status_code == wanted


def test_what_does_not_work_is_told_to_those_who_show_credentials(guarded):
    checks = {"catalog": "ok", "disk": "ok", "engine": "ok"}
    with guarded.http() as client:
        assert client.get("/readyz").json() == {"status": "ready", "checks": {}}
        assert client.get("/readyz", headers=bearer("readonly")).json() == {
            "status": "ready",
            "checks": checks,
        }
        assert client.get("/readyz", headers=bearer("guessed")).status_code == 401


def test_pages_and_health_are_open_to_all(guarded):
    with guarded.http() as client:
        assert {path: client.get(path).status_code for path in OPEN_PATHS} == dict.fromkeys(OPEN_PATHS, 200)
        assert client.get("/static/..%2f..%2fapi/v1/datasets").status_code == 404


def test_a_token_or_a_password_opens(guarded):
    password = base64.b64encode("bob:pässword".encode()).decode()
    with guarded.http() as client:
        for headers in (bearer("s3cret"), {"Authorization": f"Basic {password}"}):
            assert client.post("/api/v1/query", json=QUERY, headers=headers).json()["rows"] == [{"a": 1}]
        for header in (
            "Bearer wrong",
            "Bearer",
            "Basic !!",
            "Basic " + base64.b64encode(b"bob:x").decode(),
            "x",
        ):
            assert client.get("/api/v1/datasets", headers={"Authorization": header}).status_code == 401, (
                header
            )


def test_a_socket_that_is_refused_is_no_error_of_the_server(guarded, caplog):
    with caplog.at_level("INFO"):
        for _ in range(3):  # the first has long ended when the last is noted
            with pytest.raises(InvalidStatus), connect(socket_url(guarded)):
                pass
        until(lambda: sum(record.message == "request" for record in caplog.records) >= 3)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_sockets_want_credentials_in_a_header_or_a_subprotocol(guarded):
    offer = "skein.token." + base64.urlsafe_b64encode(b"s3cret").decode().rstrip("=")
    with pytest.raises(InvalidStatus) as refusal, connect(socket_url(guarded)):
        pass
    assert refusal.value.response.status_code == 401
    with connect(socket_url(guarded), additional_headers=bearer("s3cret")) as connection:
        assert json.loads(connection.recv())["type"] == "skein.hello"
    with connect(socket_url(guarded), subprotocols=["skein.events", offer]) as connection:
        assert connection.subprotocol == "skein.events"
        assert json.loads(connection.recv())["type"] == "skein.hello"


def test_who_may_only_read_cannot_write(guarded):
    guarded.write("kept", pa.table({"x": [1]}))
    with guarded.http(headers=bearer("readonly")) as client:
        assert client.get("/api/v1/datasets/kept").status_code == 200
        assert client.post("/api/v1/query", json={"sql": "SELECT * FROM kept"}).status_code == 200
        source = {"dataset": "n", "source": {"kind": "http", "url": "https://example.org/a.csv"}}
        for response in (
            client.delete("/api/v1/datasets/kept"),
            client.post("/api/v1/query", json={"sql": "CREATE TABLE n (i INTEGER)"}),
            client.post("/api/v1/ingestions", json=source),
        ):
            assert (response.status_code, response.json()["code"]) == (403, "permission_denied")


def test_queries_of_others_are_hidden_without_the_scope_admin(guarded):
    with guarded.http(headers=bearer("s3cret")) as alice:
        query_id = alice.post("/api/v1/query", json=QUERY).headers["skein-query-id"]
    with guarded.http(headers=bearer("readonly")) as reader:
        assert query_id not in [item["id"] for item in reader.get("/api/v1/queries").json()["items"]]
        for response in (
            reader.get(f"/api/v1/queries/{query_id}"),
            reader.delete(f"/api/v1/queries/{query_id}"),
        ):
            assert response.status_code == 403


def test_a_body_that_is_too_large_is_refused(stack):
    with serving(stack.skein.control, max_body_bytes=1000) as url, httpx.Client(base_url=url) as client:
        large = json.dumps({"sql": f"SELECT '{'x' * 1000}'"}).encode()
        known = client.post("/api/v1/query", content=large, headers={"Content-Type": "application/json"})
        chunked = client.post(
            "/api/v1/query",
            content=(large[place : place + 100] for place in range(0, len(large), 100)),
            headers={"Content-Type": "application/json"},
        )
        for response in (known, chunked):
            assert (response.status_code, response.json()["code"]) == (413, "limit_exceeded")
            assert response.headers["connection"] == "close"
        assert client.post("/api/v1/query", json=QUERY).status_code == 200


def connected(stack: Stack) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(stack.http_url.rpartition(":")[2])), timeout=60)


def answer_of(client: socket.socket) -> bytes:
    """All of it, up to the end of the connection."""
    return b"".join(iter(lambda: client.recv(4096), b""))


@pytest.mark.parametrize("begun", [b"GET /", b"GET / HTTP/1.1\r\nX: "], ids=["URL", "header"])
def test_a_head_that_does_not_end_is_cut_off(stack, begun):
    with connected(stack) as client, contextlib.suppress(ConnectionError):
        client.sendall(begun + b"x" * 1_000_000)
        assert answer_of(client).startswith(b"HTTP/1.1 431 ")
    assert httpx.get(stack.http_url + "/healthz").status_code == 200


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /healthz HTTP/1.1\r\nHost: ", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal"],
    ids=["nothing", "a part", "a second one"],
)
def test_who_does_not_send_a_head_is_cut_off(stack, monkeypatch, begun):
    monkeypatch.setattr(http_server, "_HEAD_S", 0.1)
    with connected(stack) as client:
        client.sendall(begun)
        assert b"HTTP/1.1 408 " in answer_of(client)


@pytest.mark.parametrize(
    ("path", "status"), [("/api/v1/query", b"408"), ("/nowhere", b"404")], ids=["awaited", "not awaited"]
)
def test_who_does_not_send_the_whole_body_is_cut_off(stack, monkeypatch, path, status):
    monkeypatch.setattr(security, "_BODY_S", 0.1)
    monkeypatch.setattr(http_server, "_HEAD_S", 0.1)
    with connected(stack) as client:
        client.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
        answer = answer_of(client)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert (b"deadline_exceeded" in answer) == (status == b"408")


def test_a_head_that_came_in_time_can_wait_for_its_body(stack, monkeypatch):
    monkeypatch.setattr(http_server, "_HEAD_S", 0.1)
    body = json.dumps(QUERY).encode()
    with connected(stack) as client:
        client.sendall(
            b"POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
            % len(body)
        )
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")  # it waits for the body now
        with connected(stack) as slower:
            assert answer_of(slower).startswith(b"HTTP/1.1 408 ")
        client.sendall(body)
        assert answer_of(client).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("body", "media_type", "status", "code", "told"),
    [
        (b"{", "application/json", 400, "invalid_request", "at character 1"),
        (b"\xff\xfe", "application/json", 400, "invalid_request", "at character 0"),
        (b'{"sql": "\xe9"}', "application/json", 400, "invalid_request", "send JSON in UTF-8"),
        (b"[]", "application/json", 422, "invalid_request", "should be a JSON object"),
        (b"", "application/json", 422, "invalid_request", "no body; send a JSON object"),
        (b'{"sql": 1}', "application/json", 422, "invalid_request", "/sql: "),
        (b'{"sql": "SELECT 1", "limit": -1}', "application/json", 422, "invalid_request", "/limit: "),
        (b'{"sql": "SELECT 1", "limt": 1}', "application/json", 422, "invalid_request", "/limt: "),
        (
            b'{"sql": "SELECT 1"}',
            "application/x-www-form-urlencoded",
            415,
            "unsupported_media_type",
            "send JSON",
        ),
        (b"SELECT 1", "text/plain", 415, "unsupported_media_type", "'text/plain'; send JSON"),
    ],
)
def test_a_body_that_is_not_what_it_should_be_is_refused(client, body, media_type, status, code, told):
    response = client.post("/api/v1/query", content=body, headers={"Content-Type": media_type})
    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert told in problem["detail"]


def test_paths_and_methods_that_there_are_not_are_problems(client):
    for response, status, code in (
        (client.get("/api/v1/nope"), 404, "not_found"),
        (client.put("/api/v1/query", json=QUERY), 405, "method_not_allowed"),
        (client.get("/static/nope.js"), 404, "not_found"),
    ):
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert response.headers["content-type"] == "application/problem+json"
    assert client.put("/api/v1/query").headers["allow"] == "GET, HEAD, POST"


def test_a_surprise_is_answered_with_a_reference_and_nothing_more(stack, caplog):
    def fail(**_: object) -> None:
        raise RuntimeError("/srv/secret/path")

    control = stack.skein.control
    with serving(replace(control, datasets=replace(control.datasets, list=fail))) as url:
        response = httpx.get(url + "/api/v1/datasets", headers={"X-Request-Id": "my-own.id_1"})
        assert (response.status_code, response.json()["code"]) == (500, "internal_error")
        assert response.json()["request_id"] == response.headers["x-request-id"] == "my-own.id_1"
        assert "secret" not in response.text
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.request_id == "my-own.id_1"
    assert "/srv/secret/path" in str(record.exc_info[1])


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/api/v1/datasets", "/nope", "/static/page.js"])
def test_every_answer_says_how_to_treat_it(client, path):
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe-eval" not in headers["content-security-policy"]
    assert len(headers["x-request-id"]) == 32


def test_a_request_id_that_is_no_good_is_replaced(client):
    for given in ("x" * 65, "a b", "a;b"):
        assert client.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] != given


def test_who_waits_inside_keeps_nobody_waiting_at_the_door(guarded):
    inside, go_on = [], threading.Event()

    def slow(*_: object, **__: object) -> None:
        inside.append(True)
        go_on.wait()
        raise NotFound("it took too long")

    control = guarded.skein.control
    busy = replace(control, datasets=replace(control.datasets, list=slow))
    with (
        serving(busy) as url,
        ThreadPoolExecutor(50) as pool,
        httpx.Client(base_url=url, headers=bearer("s3cret"), timeout=60) as client,
    ):
        slow_ones = [pool.submit(client.get, "/api/v1/datasets") for _ in range(50)]
        until(lambda: len(inside) == 40)  # all threads there are for routes
        assert client.get("/readyz").json()["checks"]["engine"] == "ok"
        go_on.set()
        assert {each.result().status_code for each in slow_ones} == {404}
