"""Secrets that pass through a server are in no answer, no log, and no file of the data directory."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pyarrow.flight as fl
import pytest

from tests.stack import SkeinProcess, skein_process

INLINE = "inl1ne-secret"  # of a source, kept with its job
SECRETS = {
    "token of the settings": "s3ttings-t0ken",
    "password of the settings": "s3ttings-passw0rd",
    "password of a user": "cat4log-passw0rd",
    "changed password": "ch4nged-passw0rd",
    "guessed password": "gu3ssed-passw0rd",
    "guessed token": "gu3ssed-t0ken",
    "secret of a source": "s0urce-secret",
}


@contextmanager
def source() -> Iterator[str]:
    """Serves a file to those who show both secrets, and tells others what they showed."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown = [self.headers.get("Authorization", ""), self.headers.get("X-Key", "")]
            right = shown == [SECRETS["secret of a source"], INLINE] and self.path == "/rows.csv"
            body = b"x\n1\n" if right else " ".join(shown).encode()
            self.send_response(200 if right else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def use(server: SkeinProcess, source_url: str) -> tuple[list[str], str]:
    """Everything that was answered, and the token that was handed out."""
    answers: list[str] = []

    def note(response: httpx.Response) -> None:
        response.read()
        answers.append(f"{response.headers} {response.text}")

    hooks = {"response": [note]}
    root = {"Authorization": f"Bearer {SECRETS['token of the settings']}"}
    with httpx.Client(base_url=server.endpoints["http"], timeout=60, event_hooks=hooks) as client:
        user = {"name": "ann", "password": SECRETS["password of a user"], "scopes": ["read"]}
        assert client.post("/api/v1/users", json=user, headers=root).status_code == 201
        assert client.get("/api/v1", auth=("ann", SECRETS["password of a user"])).is_success
        change = {"password": SECRETS["changed password"]}
        assert client.put("/api/v1/users/ann/password", json=change, headers=root).is_success
        assert client.get("/api/v1", auth=("bob", SECRETS["password of the settings"])).is_success
        assert client.get("/api/v1", auth=("ann", SECRETS["guessed password"])).status_code == 401
        guessed = {"Authorization": f"Bearer {SECRETS['guessed token']}"}
        assert client.get("/api/v1", headers=guessed).status_code == 401
        client.post("/api/v1/users", json={**user, "scopes": "none"}, headers=root)
        made = client.post("/api/v1/tokens", json={"name": "t", "scopes": ["read"]}, headers=root).json()
        answers.pop()  # the one that tells the token
        for path in ("/rows.csv", "/missing.csv"):
            headers = {"Authorization": {"secret": "export-key"}, "X-Key": INLINE}
            wanted = {"kind": "http", "url": source_url + path, "headers": headers}
            asked = {"dataset": "d", "source": wanted}
            reply = client.post("/api/v1/ingestions", json=asked, headers={**root, "Prefer": "wait=30"})
            assert reply.json()["state"] == ("succeeded" if path == "/rows.csv" else "failed"), reply.text
            client.get(f"/api/v1/jobs/{reply.json()['id']}/log", headers=root)
        for path in ("users", "tokens", "audit", "jobs", "ingestions", "queries", "datasets/d"):
            client.get(f"/api/v1/{path}", headers=root)
    with fl.connect(server.endpoints["flight"]) as flight:
        with pytest.raises(fl.FlightError) as refused:
            flight.authenticate_basic_token("ann", SECRETS["guessed password"])
        answers.append(str(refused.value))
        flight.authenticate_basic_token("ann", SECRETS["changed password"])
    return answers, made["token"]


def files_below(folder: Path) -> Iterator[bytes]:
    return (path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_no_secret_is_answered_logged_or_stored(tmp_path):
    environment = {
        "SKEIN_TOKENS": f"root={SECRETS['token of the settings']}",
        "SKEIN_USERS": f"bob={SECRETS['password of the settings']}",
        "SKEIN_SECRET_EXPORT_KEY": SECRETS["secret of a source"],
        "SKEIN_LOG_LEVEL": "debug",
        "SKEIN_LOG_FORMAT": "json",
    }
    with source() as url, skein_process(tmp_path / "data", **environment) as server:
        answers, token = use(server, url)
        assert server.stop() == 0
    told = "\n".join([*answers, *server.output, *server.errors])
    assert "ingestion" in told
    assert "log_in" in told
    hidden = {**SECRETS, "token of the catalog": token, "secret inline": INLINE}
    for what, secret in hidden.items():
        forms = (secret, base64.b64encode(secret.encode()).decode().rstrip("="))
        assert not any(form in told for form in forms), what
    for content in files_below(tmp_path / "data"):
        for what, secret in hidden.items():
            assert secret.encode() not in content, what
