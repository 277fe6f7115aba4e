"""Who gets in, by the settings alone: TLS, client certificates, tokens and users, on both servers."""

import ssl

import httpx
import pyarrow.flight as fl
import pytest

from flight_core.domain.errors import InvalidOption
from skein.listening import bind
from tests.protocol import certificates
from tests.stack import skein_stack


@pytest.fixture
def pem(tmp_path):
    """Writes a certificate or key to a file; its path."""

    def write(name, content):
        path = tmp_path / f"{name}.pem"
        path.write_bytes(content)
        return path

    return write


def trusting(*, client=None):
    context = ssl.create_default_context(cadata=certificates.CA.decode())
    if client:
        context.load_cert_chain(*client)
    return context


def answer(client, token=None):
    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    options = fl.FlightCallOptions(headers=headers, timeout=10)
    info = client.get_flight_info(fl.FlightDescriptor.for_command("SELECT 42 AS answer"), options)
    return client.do_get(info.endpoints[0].ticket, options).read_all().to_pylist()


def test_one_certificate_serves_both_servers(tmp_path, pem):
    files = {"tls_cert": pem("cert", certificates.SERVER), "tls_key": pem("key", certificates.SERVER_KEY)}
    with skein_stack(tmp_path / "data", **files) as stack:
        assert stack.flight_uri.startswith("grpc+tls://")
        assert stack.http_url.startswith("https://")
        with stack.flight(tls_root_certs=certificates.CA) as client:
            assert answer(client) == [{"answer": 42}]
        with stack.http(verify=trusting()) as client:
            assert client.get("/readyz").json()["status"] == "ready"
        with stack.http() as stranger, pytest.raises(httpx.ConnectError):
            stranger.get("/readyz")


def test_clients_without_a_certificate_are_refused_where_one_is_asked_for(tmp_path, pem):
    files = {
        "tls_cert": pem("cert", certificates.SERVER),
        "tls_key": pem("key", certificates.SERVER_KEY),
        "tls_client_ca": pem("ca", certificates.CA),
    }
    own = pem("client", certificates.CLIENT), pem("client-key", certificates.CLIENT_KEY)
    with skein_stack(tmp_path / "data", **files) as stack:
        shown = {"cert_chain": certificates.CLIENT, "private_key": certificates.CLIENT_KEY}
        with stack.flight(tls_root_certs=certificates.CA, **shown) as client:
            assert answer(client) == [{"answer": 42}]
        with stack.http(verify=trusting(client=own)) as client:
            assert client.get("/healthz").is_success
        with stack.flight(tls_root_certs=certificates.CA) as stranger, pytest.raises(fl.FlightError):
            answer(stranger)
        with stack.http(verify=trusting()) as stranger, pytest.raises(httpx.TransportError):
            stranger.get("/healthz")


def test_a_token_opens_both_servers_and_its_scopes_hold_on_both(tmp_path):
    with skein_stack(tmp_path, tokens="ann=one, bob/read=two") as stack:
        with stack.flight() as client:
            assert answer(client, "two") == [{"answer": 42}]
            with pytest.raises(fl.FlightUnauthenticatedError):
                answer(client)
            with pytest.raises(fl.FlightUnauthenticatedError):
                answer(client, "three")
        with stack.http() as client:
            query = {"json": {"sql": "CREATE TABLE mine (n INTEGER)"}}

            def status(token):
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                return client.post("/api/v1/query", headers=headers, **query).status_code

            assert [status(token) for token in (None, "three", "two", "one")] == [401, 401, 403, 200]


def test_a_login_with_a_password_opens_flight_for_what_follows(tmp_path):
    with skein_stack(tmp_path, users="ann=s3cret") as stack, stack.flight() as client:
        header = client.authenticate_basic_token("ann", "s3cret")
        assert answer(client, header[1].decode().removeprefix("Bearer ")) == [{"answer": 42}]
        with pytest.raises(fl.FlightUnauthenticatedError):
            client.authenticate_basic_token("ann", "guessed")


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("localhost", "localhost"), ("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")],
)
def test_the_addresses_told_are_addresses_that_clients_can_use(tmp_path, host, reached):
    try:
        bind(host, 0, flag="").close()
    except InvalidOption:
        pytest.skip(f"this machine has no {host}")
    with skein_stack(tmp_path, host=host, tokens="ann=one") as stack:
        assert stack.flight_uri.startswith(f"grpc://{reached}:")
        assert stack.http_url.startswith(f"http://{reached}:")
        with stack.flight() as client:
            assert answer(client, "one") == [{"answer": 42}]
        with stack.http(headers={"Authorization": "Bearer one"}) as client:
            assert client.get("/api/v1").json()["flight_uri"] == stack.flight_uri
