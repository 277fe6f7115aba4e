"""Who may do what: credentials on every RPC, scopes, sessions, TLS."""

import base64
import json
import threading
from collections.abc import Callable

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_server.auth import MIDDLEWARE, AuthMiddleware
from flight_server.options import TlsOptions
from tests.protocol import certificates
from tests.protocol.flight_stack import command, flight_stack, path, read, ticket_of

ROWS = pa.table({"id": pa.array(range(10), pa.int64())})
USERS = "ada=pä:ss,eve/read=eve"
TOKENS = "loader=t0ken,reader/read=r3ader"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with flight_stack(tmp_path_factory.mktemp("access"), users=USERS, tokens=TOKENS) as stack:
        stack.write("sales", ROWS)
        yield stack


@pytest.fixture
def client(stack):
    with stack.connect() as client:
        yield client


def with_header(value: str) -> fl.FlightCallOptions:
    return fl.FlightCallOptions(headers=[(b"authorization", value.encode())])


def bearer(token: str) -> fl.FlightCallOptions:
    return with_header(f"Bearer {token}")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def put(client, options, *, name="sales"):
    writer, reader = client.do_put(path(name), ROWS.schema, options)
    with writer:
        writer.write_table(ROWS)
        writer.done_writing()
        reader.read()


def exchange(client, options):
    writer, reader = client.do_exchange(path("sales"), options)
    try:
        reader.read_chunk()
    finally:
        with pytest.raises(pa.ArrowException):
            writer.close()


RPCS: dict[str, Callable[..., object]] = {
    "list_flights": lambda client, options: list(client.list_flights(options=options)),
    "get_flight_info": lambda client, options: client.get_flight_info(path("sales"), options),
    "do_get": lambda client, options: client.do_get(fl.Ticket(b"any"), options).read_all(),
    "do_put": put,
    "do_exchange": exchange,
    "do_action": lambda client, options: list(client.do_action(("health", b""), options)),
    "list_actions": lambda client, options: client.list_actions(options),
}


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize(
    "options", [None, bearer("wrong"), with_header(basic("ada", "wrong")), with_header("Digest x")], ids=repr
)
def test_every_rpc_refuses_callers_it_does_not_know(client, rpc, options, capfd):
    with pytest.raises(fl.FlightUnauthenticatedError, match=r"\[unauthenticated\]") as caught:
        RPCS[rpc](client, options)
    assert "Traceback" not in str(caught.value)


def test_get_schema_refuses_them_too(client):
    with pytest.raises(OSError, match=r"\[unauthenticated\].*Unauthenticated") as caught:
        client.get_schema(path("sales"))  # pyarrow's client has no Flight errors here
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(("user", "password"), [("ada", "wrong"), ("nobody", "pä:ss"), ("", "")])
def test_a_handshake_refuses_wrong_credentials(client, user, password):
    with pytest.raises(fl.FlightUnauthenticatedError, match=r"\[unauthenticated\]"):
        client.authenticate_basic_token(user, password)


def test_a_handshake_answers_with_a_token_for_the_calls_that_follow(client):
    header = client.authenticate_basic_token("ada", "pä:ss")
    options = fl.FlightCallOptions(headers=[header])
    assert client.do_get(
        client.get_flight_info(path("sales"), options).endpoints[0].ticket, options
    ).read_all()


def test_an_api_token_is_good_on_every_call(client):
    assert [info.descriptor for info in client.list_flights(options=bearer("t0ken"))] == [path("sales")]


@pytest.mark.parametrize(
    "value",
    [
        basic("ada", "pä:ss"),
        basic("ada", "pä:ss").rstrip("="),  # as Go sends it
        basic("ada", "pä:ss").replace("Basic", "bAsIc"),
    ],
)
def test_basic_credentials_are_good_on_any_call_and_are_answered_with_a_token(stack, value):
    answers = []

    class Listener(fl.ClientMiddleware):
        def received_headers(self, headers):
            answers.extend(headers.get("authorization", []))

    class Factory(fl.ClientMiddlewareFactory):
        def start_call(self, info):
            return Listener()

    with stack.connect(middleware=[Factory()]) as client:
        list(client.do_action(("health", b""), with_header(value)))
        assert list(client.do_action(("health", b""), with_header(answers[0])))


def test_only_the_first_authorization_header_counts(client):
    headers = [(b"authorization", b"Bearer t0ken"), (b"authorization", b"Bearer wrong")]
    assert list(client.do_action(("health", b""), fl.FlightCallOptions(headers=headers)))


def test_what_a_thread_knows_lasts_for_one_call(stack):
    calls = threading.local()

    class Counting(AuthMiddleware):
        def start_call(self, info, headers):
            scope = super().start_call(info, headers)
            calls.begun = getattr(calls, "begun", 0) + 1
            return scope

    class Server(fl.FlightServerBase):
        def list_actions(self, context):
            return [("begun", str(getattr(calls, "begun", 0)))]

    middleware = {MIDDLEWARE: Counting(stack.use_cases.gate)}
    with (
        Server("grpc://127.0.0.1:0", middleware=middleware) as server,
        fl.connect(("127.0.0.1", server.port)) as client,
    ):
        for _ in range(20):
            with pytest.raises(fl.FlightUnauthenticatedError):
                list(client.list_actions(bearer("wrong")))
            assert [action.description for action in client.list_actions(bearer("t0ken"))] == ["1"]


@pytest.mark.parametrize(
    "value", ["Basic ***", "Basic " + base64.b64encode(b"nocolon").decode(), "Basic", ""]
)
def test_malformed_credentials_are_refused(client, value):
    with pytest.raises(fl.FlightUnauthenticatedError, match=r"\[unauthenticated\]"):
        list(client.do_action(("health", b""), with_header(value)))


WRITES: dict[str, Callable[..., object]] = {
    "do_put": put,
    "drop": lambda client, options: list(
        client.do_action(("drop_dataset", b'{"dataset": "sales"}'), options)
    ),
    "create": lambda client, options: client.get_flight_info(
        command("CREATE TABLE t AS SELECT 1 AS x"), options
    ),
}


@pytest.mark.parametrize("write", WRITES)
def test_who_may_only_read_cannot_write(client, write):
    with pytest.raises(
        fl.FlightUnauthorizedError, match=r"\[permission_denied\] .*(may not write|may only read)"
    ):
        WRITES[write](client, bearer("r3ader"))
    assert client.get_flight_info(path("sales"), bearer("r3ader")).total_records == 10


def test_a_reader_is_not_told_about_the_queries_of_others_and_cannot_cancel_them(client):
    for sql, token in (("SELECT 'mine'", "r3ader"), ("SELECT 'secret'", "t0ken")):
        info = client.get_flight_info(command(sql), bearer(token))
        client.do_get(info.endpoints[0].ticket, bearer(token)).read_all()
    seen = [
        json.loads(r.body.to_pybytes()) for r in client.do_action(("list_queries", b""), bearer("r3ader"))
    ]
    assert {query["actor"] for query in seen} == {"reader"}
    with pytest.raises(fl.FlightUnauthorizedError, match=r"\[permission_denied\]"):
        list(client.do_action(("cancel", info.app_metadata), bearer("r3ader")))


def test_without_credentials_configured_every_login_is_welcome(tmp_path):
    with flight_stack(tmp_path) as open_stack, open_stack.connect() as client:
        open_stack.write("sales", ROWS)
        header = client.authenticate_basic_token("any", "body")
        options = fl.FlightCallOptions(headers=[header])
        assert client.get_flight_info(path("sales"), options).total_records == 10
        assert client.get_flight_info(path("sales"), bearer("whatever")).total_records == 10


@pytest.fixture
def tls(tmp_path):
    """The settings of a server with a certificate."""
    for name, content in {"cert": certificates.SERVER, "key": certificates.SERVER_KEY}.items():
        (tmp_path / name).write_bytes(content)
    return {"tls_cert": tmp_path / "cert", "tls_key": tmp_path / "key"}


def test_tls_encrypts(tmp_path, tls):
    with flight_stack(tmp_path, **tls) as stack:
        stack.write("sales", ROWS)
        assert stack.server.uri.startswith("grpc+tls://")
        with stack.connect(tls_root_certs=certificates.CA) as client:
            assert read(client, path("sales")).equals(ROWS)
        with stack.connect() as stranger, pytest.raises(fl.FlightUnavailableError):
            stranger.get_flight_info(path("sales"))


def test_mutual_tls_wants_a_certificate_of_the_client(tmp_path, tls):
    (tmp_path / "ca").write_bytes(certificates.CA)
    with flight_stack(tmp_path, tls_client_ca=tmp_path / "ca", **tls) as stack:
        stack.write("sales", ROWS)
        known = {"cert_chain": certificates.CLIENT, "private_key": certificates.CLIENT_KEY}
        with stack.connect(tls_root_certs=certificates.CA, **known) as client:
            assert client.do_get(ticket_of(client, path("sales"))).read_all().equals(ROWS)
        with (
            stack.connect(tls_root_certs=certificates.CA) as stranger,
            pytest.raises(fl.FlightUnavailableError),
        ):
            stranger.get_flight_info(path("sales"))


def test_no_key_shows_in_a_repr():
    options = TlsOptions(cert_chain=certificates.SERVER, private_key=certificates.SERVER_KEY)
    assert b"PRIVATE" in certificates.SERVER_KEY
    assert "PRIVATE" not in repr(options)
