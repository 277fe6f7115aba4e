"""What all commands share: finding the server, credentials, certificates, failures; and `skein doctor`."""

import os
import re
import socket
import subprocess
import sys
import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pytest

from skein.directory import Role
from tests.e2e.commands import environment, installed, skein
from tests.protocol import certificates
from tests.stack import skein_stack

ROOT = Path(__file__).parents[2]

# A command for each door.
DOORS = [("query", "SELECT 7 AS n"), ("datasets",)]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_version_is_the_installed_one():
    assert installed("--version").stdout == f"skein {version('skein-flight')}\n"


def ended_with(arguments: list[str], libraries: set[str]) -> subprocess.CompletedProcess[str]:
    """On standard error the exit code, and which of the libraries were loaded."""
    script = f"""
import sys
sys.argv = ["skein", *{arguments!r}]
from skein.cli.main import run
try:
    run()
except SystemExit as end:
    sys.exit(f"{{end.code}} {{sorted({libraries!r} & set(sys.modules))}}")
"""
    return subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, env=environment(), check=False
    )


HEAVY = {"pyarrow", "numpy", "duckdb", "polars", "deltalake", "fastapi", "sqlalchemy"}


@pytest.mark.parametrize("arguments", [["--help"], ["query", "--help"], ["serve", "--help"]])
def test_help_needs_no_heavy_library(arguments):
    """It is what people wait for when they complete a command line."""
    result = ended_with(arguments, HEAVY | {"httpx"})

    assert "Usage: skein" in result.stdout
    assert result.stderr == "0 []\n"


def test_commands_that_ask_over_http_need_no_heavy_library(tmp_path):
    with skein_stack(tmp_path, roles={Role.CONTROL}):
        result = ended_with(["datasets", "--data", str(tmp_path), "--json"], HEAVY)

    assert result.stdout == "[]\n"
    assert result.stderr == "0 []\n"


def test_skein_alone_shows_its_commands():
    result = installed()

    assert result.returncode == 0
    assert "ingest" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["serve", "--no-such"], "No such option: --no-such. Try 'skein serve --help'."),
        (["doctr"], "Did you mean 'doctor'? Try 'skein --help'."),
        (["ingest", "x.csv"], "'--as'. Try 'skein ingest --help'."),
        (["query", "SELECT 1", "--format", "xml"], "Try 'skein query --help'."),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments, hint):
    result = skein(*arguments)

    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: [usage] ")
    assert result.stderr.endswith(f"{hint}\n")
    assert result.stderr.count("\n") == 1


def test_the_installed_command_ends_with_the_code_of_what_happened(tmp_path):
    with skein_stack(tmp_path) as stack:
        assert installed("query", "SELECT 7 AS n", SKEIN_DATA=stack.data).returncode == 0
        assert installed("query", "SELECT n", SKEIN_DATA=stack.data).returncode == 1
    assert installed("datasets", "--no-such").returncode == 2


@pytest.mark.parametrize("command", DOORS)
def test_without_a_server_it_is_told_how_to_start_one(command, tmp_path):
    result = skein(*command, "--data", tmp_path)

    assert result.returncode == 1
    assert result.stderr.startswith("error: [no_server] ")
    assert f"skein serve --data {tmp_path}" in result.stderr


@pytest.mark.parametrize("command", DOORS)
def test_a_server_that_does_not_answer_is_named(command, free_port):
    result = skein(*command, SKEIN_SERVER=f"http://127.0.0.1:{free_port}")

    assert result.returncode == 1
    assert result.stderr.startswith(
        f"error: [server_unreachable] no answer from http://127.0.0.1:{free_port}"
    )
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", DOORS)
def test_something_else_than_skein_is_recognised(command, tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Quiet) as stranger:
        thread = threading.Thread(target=stranger.serve_forever)
        thread.start()
        result = skein(*command, "--server", f"http://127.0.0.1:{stranger.server_port}")
        stranger.shutdown()
        thread.join()

    assert result.returncode == 1
    assert result.stderr.startswith("error: [unexpected_answer] ")


def test_a_server_with_one_door_says_which_is_missing(tmp_path):
    with skein_stack(tmp_path, roles={Role.FLIGHT}):
        queried = skein("query", "SELECT 7 AS n", SKEIN_DATA=tmp_path)
        listed = skein("datasets", SKEIN_DATA=tmp_path)

    assert queried.stdout == '"n"\n7\n'
    assert listed.stderr.startswith("error: [no_server] only the Flight server is running")
    assert "skein serve-control" in listed.stderr


def test_a_token_opens_both_doors(tmp_path):
    with skein_stack(tmp_path, tokens="ada=s3cret"):
        for command in DOORS:
            refused = skein(*command, SKEIN_DATA=tmp_path)
            wrong = skein(*command, SKEIN_DATA=tmp_path, SKEIN_TOKEN="guess")
            allowed = skein(*command, SKEIN_DATA=tmp_path, SKEIN_TOKEN="s3cret")

            assert refused.stderr.startswith("error: [unauthenticated] ")
            assert wrong.stderr.startswith("error: [unauthenticated] ")
            assert {refused.returncode, wrong.returncode} == {1}
            assert allowed.returncode == 0, allowed.stderr


def test_a_private_certificate_is_trusted_when_its_ca_is_named(tmp_path):
    files = {"cert": certificates.SERVER, "key": certificates.SERVER_KEY, "ca": certificates.CA}
    paths = {name: tmp_path / f"{name}.pem" for name in files}
    for name, content in files.items():
        paths[name].write_bytes(content)

    with skein_stack(tmp_path / "data", tls_cert=paths["cert"], tls_key=paths["key"]) as stack:
        for command in DOORS:
            for where in (["--data", stack.data], ["--server", stack.http_url]):
                trusted = skein(*command, *where, SKEIN_CA=paths["ca"])
                assert trusted.returncode == 0, trusted.stderr
        stranger = skein("datasets", "--data", stack.data)
        no_file = skein("query", "SELECT 1", "--data", stack.data, SKEIN_CA=tmp_path / "none.pem")

    assert stranger.stderr.startswith("error: [server_unreachable] ")
    assert no_file.stderr.startswith("error: [invalid_option] SKEIN_CA is ")


def test_a_certificate_is_shown_to_servers_that_ask_for_one(tmp_path):
    files = {
        "cert": certificates.SERVER,
        "key": certificates.SERVER_KEY,
        "ca": certificates.CA,
        "own": certificates.CLIENT,
        "own-key": certificates.CLIENT_KEY,
    }
    paths = {name: tmp_path / f"{name}.pem" for name in files}
    for name, content in files.items():
        paths[name].write_bytes(content)
    tls = {"tls_cert": paths["cert"], "tls_key": paths["key"], "tls_client_ca": paths["ca"]}
    own = {"SKEIN_CERT": paths["own"], "SKEIN_KEY": paths["own-key"]}

    with skein_stack(tmp_path / "data", **tls) as stack:
        for command in DOORS:
            shown = skein(*command, "--data", stack.data, SKEIN_CA=paths["ca"], **own)
            assert shown.returncode == 0, shown.stderr
            hidden = skein(*command, "--data", stack.data, SKEIN_CA=paths["ca"])
            assert hidden.stderr.startswith("error: [server_unreachable] ")
        half = skein("datasets", "--data", stack.data, SKEIN_CERT=paths["own"])
        wrong = skein("datasets", "--data", stack.data, SKEIN_CERT=paths["own"], SKEIN_KEY=paths["key"])

    assert half.stderr.startswith("error: [invalid_option] SKEIN_CERT and SKEIN_KEY belong together")
    assert wrong.stderr.startswith("error: [invalid_option] SKEIN_CERT and SKEIN_KEY are ")


def test_an_installation_that_is_broken_is_no_traceback(tmp_path):
    shadow = tmp_path / "schemas"
    shadow.mkdir()
    (shadow / "__init__.py").touch()

    result = installed("datasets", PYTHONPATH=tmp_path)

    assert result.returncode == 1
    assert result.stderr.startswith("error: [internal_error] ModuleNotFoundError: ")
    assert "skein doctor" in result.stderr
    assert result.stderr.count("\n") == 1


def findings(result: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """State, subject and detail of each line."""
    return [re.split(" {2,}", line, maxsplit=2) for line in result.stdout.splitlines()]


def test_the_doctor_finds_a_sound_installation_and_its_server(tmp_path):
    with skein_stack(tmp_path) as stack:
        flight, http = (uri.rpartition(":")[2] for uri in (stack.flight_uri, stack.http_url))
        result = installed("doctor", SKEIN_DATA=tmp_path, SKEIN_FLIGHT_PORT=flight, SKEIN_HTTP_PORT=http)

    assert result.returncode == 0, result.stdout
    found = findings(result)
    assert {state for state, *_ in found} == {"ok"}
    details = [detail for *_, detail in found]
    assert f"pyarrow {pa.__version__}" in details[1]
    assert f"flight_core, flight_server, control_api, schemas, skein from {ROOT}" in details
    assert "reading /etc/passwd is refused" in details
    assert "COPY to a file is refused" in details
    assert "INSTALL of an extension is refused" in details
    assert f"Flight {flight} is used by the running server" in details
    assert f"HTTP {http} is used by the running server" in details
    assert f"Flight at {stack.flight_uri}" in details
    assert details[-1].startswith(f"{stack.http_url} is ready (")


def test_the_doctor_says_who_holds_a_port(tmp_path, free_port):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = skein("doctor", SKEIN_DATA=tmp_path, SKEIN_FLIGHT_PORT=port, SKEIN_HTTP_PORT=free_port)

    assert result.returncode == 1
    (problem,) = (finding for finding in findings(result) if finding[0] != "ok")
    assert problem[:2] == ["problem", "ports"]
    assert problem[2].startswith(f"Flight {port} is taken by ")
    assert f"(process {os.getpid()})" in problem[2]
    assert ["ok", "ports", f"HTTP {free_port} is free"] in findings(result)
    assert ["ok", "server", f"none is running on {tmp_path}"] in findings(result)


def test_the_doctor_finds_a_package_that_hides_ours(tmp_path):
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "__init__.py").touch()

    result = installed("doctor", PYTHONPATH=tmp_path, SKEIN_FLIGHT_PORT=0, SKEIN_HTTP_PORT=0)

    assert result.returncode == 1
    problems = [finding[1:] for finding in findings(result) if finding[0] != "ok"]
    assert [
        "packages",
        f"schemas from {tmp_path}: it hides ours; start skein elsewhere, or rename that folder",
    ] in problems


def test_the_doctor_reports_settings_and_servers_that_are_wrong(tmp_path, free_port):
    wrong = skein("doctor", SKEIN_DATA=tmp_path, SKEIN_HTTP_PORT="many")
    silent = skein(
        "doctor", "--server", f"http://127.0.0.1:{free_port}", SKEIN_FLIGHT_PORT=0, SKEIN_HTTP_PORT=0
    )

    assert {wrong.returncode, silent.returncode} == {1}
    assert any(finding[0] == "problem" and "SKEIN_HTTP_PORT" in finding[2] for finding in findings(wrong))
    assert findings(silent)[-1][:2] == ["problem", "server"]
    assert "server_unreachable" in findings(silent)[-1][2]
