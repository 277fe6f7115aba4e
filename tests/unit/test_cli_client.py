import re
import socket
import threading
from dataclasses import replace

import pytest

from flight_core.domain.errors import InvalidOption
from skein.cli.contracts import contract_in
from skein.cli.remote.client import Address, find_server, flight_uri, open_api, path_of, seen_from_here
from skein.cli.remote.failures import CliError
from skein.cli.remote.login import authorization
from skein.runtime import Endpoints, RuntimeFile
from skein.settings import load_client_settings


def test_a_named_server_wins_over_a_local_one(tmp_path):
    RuntimeFile(tmp_path / "skein.json").add(Endpoints("grpc://127.0.0.1:1", "http://127.0.0.1:2"), "1")

    local = find_server(load_client_settings(data=tmp_path))
    named = find_server(load_client_settings(data=tmp_path, server="example.org:8816/"))

    assert local == Address("http://127.0.0.1:2", "grpc://127.0.0.1:1", local=True)
    assert named == Address("http://example.org:8816", None, local=False)


@pytest.mark.parametrize(
    "server",
    ["ftp://127.0.0.1", "http:/127.0.0.1:8816", "8816", "http://", "http://:80", "http://[::1", "http://a:b"],
)
def test_what_is_no_url_of_a_server_is_told_with_one_that_is(server):
    with pytest.raises(InvalidOption) as failure:
        find_server(load_client_settings(server=server))
    assert failure.value.message.startswith(f"'{server}' is not ")
    assert "http://127.0.0.1:8816" in failure.value.message


def test_the_url_of_flight_is_told_from_that_of_http():
    with pytest.raises(InvalidOption, match=r"'grpc://h:8815' is the URL of a Flight server; name the HTTP"):
        find_server(load_client_settings(server="grpc://h:8815"))


@pytest.mark.parametrize(
    ("scheme", "question"), [("http", "is this its HTTP port"), ("https", "does it have a certificate?")]
)
def test_what_answers_without_http_or_tls_is_asked_about(scheme, question):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_talk_nonsense, args=(listener,))
        thread.start()
        settings = load_client_settings(server=f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")
        with (
            open_api(settings, replace(find_server(settings), local=True)) as api,
            pytest.raises(CliError, match=re.escape(question)) as failure,
        ):
            api.delete("/api/v1")
        thread.join(10)
    assert failure.value.code == "server_unreachable"


def _talk_nonsense(listener: socket.socket) -> None:
    client, _ = listener.accept()
    with client:
        client.recv(10)
        client.sendall(b"I am not what you are looking for.\r\n\r\n")


def test_a_contract_that_is_not_there_is_told_once(tmp_path):
    with pytest.raises(InvalidOption, match=r"none\.json' cannot be read: No such file or directory$"):
        contract_in(tmp_path / "none.json")


def test_a_local_server_without_flight_is_told_apart(tmp_path):
    RuntimeFile(tmp_path / "skein.json").add(Endpoints(None, "http://127.0.0.1:2"), "1")
    settings = load_client_settings(data=tmp_path)

    with pytest.raises(CliError, match="skein serve-flight"):
        flight_uri(settings, find_server(settings))


def test_a_user_is_shown_instead_of_a_token_and_has_no_colon():
    token = load_client_settings(token="t0ken")
    assert authorization(load_client_settings()) == ""
    assert authorization(token) == "Bearer t0ken"
    user = load_client_settings(token="t0ken", user="Aladdin", password="open sesame")
    assert authorization(user) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    with pytest.raises(InvalidOption, match="colon"):
        authorization(load_client_settings(user="a:b", password="c"))


@pytest.mark.parametrize(
    ("uri", "http", "seen"),
    [
        ("grpc://127.0.0.1:8815", "http://127.0.0.1:8816", "grpc://127.0.0.1:8815"),
        ("grpc://127.0.0.1:8815", "http://example.org:8816", "grpc://example.org:8815"),
        ("grpc+tls://[::1]:8815", "https://[2001:db8::1]:443", "grpc+tls://[2001:db8::1]:8815"),
        ("grpc://data.example.org:8815", "http://example.org:8816", "grpc://data.example.org:8815"),
    ],
)
def test_a_server_that_calls_itself_local_is_reached_by_the_name_that_was_used(uri, http, seen):
    assert seen_from_here(uri, http) == seen


def test_names_cannot_leave_their_place_in_a_path():
    assert path_of("datasets", "../x y?") == "/api/v1/datasets/..%2Fx%20y%3F"
