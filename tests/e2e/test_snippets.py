"""The code that `skein serve` prints runs as it is."""

import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pytest

from skein.runtime import Endpoints
from skein.snippets import snippets
from tests.stack import skein_stack

CLIENTS = ["Polars", "pandas", "ADBC", "pyarrow.flight", "Python's standard library", "curl"]


def run(snippet, **environment):
    """What the snippet prints."""
    if snippet.client == "curl" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["bash", "-c"] if snippet.client == "curl" else [sys.executable, "-W", "error", "-P", "-c"]
    result = subprocess.run(
        [*command, snippet.code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def open_stack(tmp_path_factory):
    with skein_stack(tmp_path_factory.mktemp("open")) as stack:
        stack.write("with-dash", pa.table({"answer": [4711]}))
        yield stack


@pytest.fixture(scope="module")
def guarded_stack(tmp_path_factory):
    with skein_stack(tmp_path_factory.mktemp("guarded"), tokens="ann=s3cret") as stack:
        yield stack


def of(stack, client, dataset=None, *, credentials=False):
    ends = Endpoints(stack.flight_uri, stack.http_url)
    return {one.client: one for one in snippets(ends, dataset, credentials=credentials)}[client]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_printed_snippet_runs(open_stack, client):
    assert "4711" in run(of(open_stack, client, "with-dash"))


@pytest.mark.parametrize("client", CLIENTS)
def test_a_printed_snippet_sends_the_token_where_one_is_needed(guarded_stack, client):
    assert "42" in run(of(guarded_stack, client, credentials=True), SKEIN_TOKEN="s3cret")


def test_there_is_a_snippet_for_every_client_of_the_servers_that_run():
    def clients(**uris):
        return [one.client for one in snippets(Endpoints(**uris), "flights", credentials=False)]

    assert clients(flight="grpc://x", http="http://x") == CLIENTS
    assert clients(flight="grpc://x", http=None) == CLIENTS[:4]
    assert clients(flight=None, http="http://x") == CLIENTS[4:]
