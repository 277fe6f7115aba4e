"""`skein ingest` of files that the server cannot read: it sends them, over whatever connection there is."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.e2e.commands import skein
from tests.stack import Stack, skein_stack

ROWS = 3_000_000
CONTENT = b"n\n" + b"".join(b"%d\n" % number for number in range(1000)) * (ROWS // 1000)  # more than one part


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    with skein_stack(tmp_path_factory.mktemp("data"), ingest_roots="/nonexistent") as stack:
        yield stack


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("here") / "numbers.csv"
    path.write_bytes(CONTENT)
    return path


def rows(stack, name):
    with stack.http() as client:
        return client.get(f"/api/v1/datasets/{name}").json()["rows"]


def uploads(stack):
    with stack.http() as client:
        return client.get("/api/v1/uploads").json()["items"]


class UnreliableProxy:
    """Passes bytes on to a server; breaks each of the first connections after a while."""

    def __init__(self, target: str, *, lives: tuple[int, ...]) -> None:
        address = urlsplit(target)
        self._target = (address.hostname, address.port)
        self._lives = list(lives)
        self.broken = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        left = self._lives.pop(0) if self._lives else None
        with client, socket.create_connection(self._target) as server:
            back = threading.Thread(target=self._answer, args=(server, client), daemon=True)
            back.start()
            while data := client.recv(65536):
                if left is not None and len(data) > left:
                    self.broken += 1
                    server.sendall(data[:left])
                    client.shutdown(socket.SHUT_RDWR)
                    return
                left = None if left is None else left - len(data)
                server.sendall(data)

    @staticmethod
    def _answer(server: socket.socket, client: socket.socket) -> None:
        try:
            while data := server.recv(65536):
                client.sendall(data)
        except OSError:
            pass


@contextmanager
def unreliable_proxy(target, *, lives):
    proxy = UnreliableProxy(target, lives=lives)
    proxy._thread.start()
    try:
        yield proxy
    finally:
        proxy._listener.shutdown(socket.SHUT_RDWR)
        proxy._listener.close()
        proxy._thread.join(10)


def test_a_file_that_the_server_may_not_read_is_sent(stack, file):
    done = skein("ingest", file, "--as", "sent", SKEIN_DATA=stack.data)
    assert done.returncode == 0, done.stderr
    assert "3,000,000 rows" in done.stdout
    assert rows(stack, "sent") == ROWS
    assert uploads(stack) == []


def test_standard_input_is_sent(stack):
    done = skein("ingest", "-", "--as", "piped", stdin="a,b\n1,x\n2,y\n", SKEIN_DATA=stack.data)
    assert done.returncode == 0, done.stderr
    assert rows(stack, "piped") == 2


def test_an_upload_goes_on_where_its_connections_broke(stack, file):
    with unreliable_proxy(stack.http_url, lives=(3_000_000, 100, 2_500_000, 1_000_000)) as proxy:
        done = skein("ingest", file, "--as", "stubborn", "--server", proxy.url)
    assert done.returncode == 0, done.stderr
    assert proxy.broken == 4
    assert rows(stack, "stubborn") == ROWS


def test_several_files_become_one_version(stack, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text(f"a\n{number}\n")
    done = skein("ingest", *sorted(tmp_path.glob("*.csv")), "--as", "some", "--upload", SKEIN_DATA=stack.data)
    assert done.returncode == 0, done.stderr
    assert rows(stack, "some") == 3


def test_what_cannot_be_sent_is_named(stack, tmp_path):
    done = skein("ingest", tmp_path / "missing.csv", "--as", "x", "--upload", SKEIN_DATA=stack.data)
    assert done.returncode == 1
    assert "[invalid_source]" in done.stderr
    assert "missing.csv" in done.stderr


def test_a_file_that_cannot_be_parsed_can_be_tried_again_without_sending_it(stack, tmp_path):
    (tmp_path / "ragged.csv").write_text("a,b\n1,2\n3\n")
    done = skein("ingest", tmp_path / "ragged.csv", "--as", "x", "--upload", SKEIN_DATA=stack.data)
    assert done.returncode == 1
    assert "error: [unreadable_data] ragged.csv, line 3" in done.stderr
    (upload,) = uploads(stack)
    source = f"upload:{upload['id']}"
    assert f"skein ingest {source}" in done.stderr
    again = skein("ingest", source, "--as", "x", "--option", "ragged=pad", SKEIN_DATA=stack.data)
    assert "2 rows" in again.stdout


def test_what_is_empty_is_not_sent(stack, tmp_path):
    (tmp_path / "empty.csv").touch()
    kept = uploads(stack)
    for source, name in ((tmp_path / "empty.csv", "empty.csv"), ("-", "standard input")):
        done = skein("ingest", source, "--as", "x", "--upload", stdin="", SKEIN_DATA=stack.data)
        assert done.returncode == 1
        assert done.stderr == f"error: [unreadable_data] {name} is empty\n"
    assert uploads(stack) == kept


def test_what_was_sent_for_a_job_that_cannot_start_can_be_used_again(stack, tmp_path):
    (tmp_path / "a.csv").write_text("a\n1\n")
    done = skein(
        "ingest", tmp_path / "a.csv", "--as", "y", "--upload", "--option", "a=1", SKEIN_DATA=stack.data
    )
    assert "error: [invalid_option]" in done.stderr
    source = done.stderr.partition("skein ingest ")[2].split()[0]
    assert "1 row" in skein("ingest", source, "--as", "y", SKEIN_DATA=stack.data).stdout
