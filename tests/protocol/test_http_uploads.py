"""Files sent over HTTP, in one go and in parts, over connections that break."""

import base64
import hashlib
import socket
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from tests.protocol.http_stack import serving, until
from tests.stack import skein_process, skein_stack

WAIT = {"Prefer": "wait=30"}
CONTENT = b"a,b\n" + b"".join(b"%d,%d\n" % (number, number * 7) for number in range(200_000))
ROWS = 200_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with skein_stack(
        tmp_path_factory.mktemp("data"), tokens="ann=a,bob/read+write=b,eve/read=e", ingest_max_bytes="8MiB"
    ) as stack:
        yield stack


@contextmanager
def calling(stack, token):
    with stack.http(timeout=40, headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


@pytest.fixture
def client(stack):
    with calling(stack, "a") as client:
        yield client


def begun(client, content=b"", **headers):
    response = client.post("/api/v1/uploads", content=content, headers={"Upload-Complete": "?0", **headers})
    assert response.status_code == 201
    return response.headers["location"]


def offset_of(client, href):
    return int(client.head(href).headers["upload-offset"])


def digest(content):
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def ingested(client, href, dataset, **fields):
    source = {"kind": "upload", "id": href.rpartition("/")[2], **fields}
    return client.post("/api/v1/ingestions", json={"dataset": dataset, "source": source}, headers=WAIT).json()


def test_a_file_in_one_request_becomes_a_dataset(client):
    response = client.post("/api/v1/datasets/once/upload?filename=x.csv", content=CONTENT, headers=WAIT)
    assert response.status_code == 202
    job = response.json()
    assert (job["state"], job["rows"], job["kind"]) == ("succeeded", ROWS, "upload")
    assert response.headers["location"] == job["href"]
    assert client.get("/api/v1/uploads").json()["items"] == []


def test_a_request_that_cannot_work_is_refused_before_its_body_is_sent(stack):
    address = urlsplit(stack.http_url)
    head = (
        "POST /api/v1/datasets/never/upload?format=docx HTTP/1.1\r\nAuthorization: Bearer a\r\n"
        f"Host: {address.netloc}\r\nContent-Length: 5000000\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head.encode())
        with connection.makefile("rb") as file:
            answer = file.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"unknown_format" in answer


def test_options_of_the_format_are_a_json_object(client):
    path = "/api/v1/datasets/optional/upload"
    job = client.post(
        path, params={"options": '{"header": false}'}, content=b"a,b\n1,2\n", headers=WAIT
    ).json()
    assert job["rows"] == 2
    response = client.post(path, params={"options": "[1]"}, content=b"a,b\n1,2\n")
    assert (response.status_code, response.json()["code"]) == (400, "invalid_option")


def test_parts_become_one_file(client):
    href = begun(client, CONTENT[:1000], **{"Upload-Length": str(len(CONTENT))})
    response = client.head(href)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["upload-offset"] == "1000"
    assert response.headers["upload-complete"] == "?0"
    assert response.headers["upload-length"] == str(len(CONTENT))
    for start in range(1000, len(CONTENT), 500_000):
        part = CONTENT[start : start + 500_000]
        response = client.patch(href, content=part, headers={"Upload-Offset": str(start)})
        assert response.json()["offset"] == start + len(part)
    assert response.json()["complete"]
    assert ingested(client, href, "parts")["rows"] == ROWS
    assert client.get("/api/v1/datasets/parts").json()["rows"] == ROWS


def test_a_connection_that_breaks_again_and_again_loses_nothing(stack, client):
    """The server keeps what it read of each part; the client goes on from there."""
    href = begun(client)
    offset = 0
    for _ in range(4):
        broken_part(stack, href, offset, CONTENT[offset : offset + 600_000], promised=len(CONTENT) - offset)
        until(lambda before=offset: offset_of(client, href) > before, deadline_s=30)
        offset = offset_of(client, href)
    headers = {"Upload-Complete": "?1", "Repr-Digest": digest(CONTENT)}
    response = client.patch(href, content=CONTENT[offset:], headers=headers | {"Upload-Offset": str(offset)})
    assert response.json()["complete"]
    assert ingested(client, href, "broken")["rows"] == ROWS


def broken_part(stack, href, offset, content, *, promised):
    """Promise more than is sent, and hang up."""
    address = urlsplit(stack.http_url)
    head = (
        f"PATCH {href} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer a\r\n"
        f"Upload-Offset: {offset}\r\nUpload-Complete: ?0\r\nContent-Length: {promised}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head.encode() + content)


def test_a_new_request_takes_over_from_one_whose_client_does_not_answer(stack, client):
    href = begun(client)
    address = urlsplit(stack.http_url)
    head = (
        f"PATCH {href} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer a\r\n"
        "Upload-Offset: 0\r\nContent-Length: 3000000\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=30) as stuck:
        stuck.sendall(head.encode() + bytes(1 << 20))
        until(lambda: offset_of(client, href) > 0, deadline_s=30)
        offset = offset_of(client, href)
        response = client.patch(href, content=b"new", headers={"Upload-Offset": str(offset)})
        assert response.json()["offset"] == offset + 3
        stuck.sendall(bytes(1_100_000))
        assert stuck.recv(65536).startswith(b"HTTP/1.1 409 ")
    assert offset_of(client, href) == offset + 3


def test_the_offset_survives_a_killed_server(tmp_path):
    with skein_process(tmp_path) as process:
        with calling_process(process) as client:
            href = begun(client, CONTENT[:500_000])
        process.process.kill()
    with skein_process(tmp_path) as process, calling_process(process) as client:
        assert offset_of(client, href) == 500_000
        headers = {"Upload-Offset": "500000", "Upload-Complete": "?1", "Repr-Digest": digest(CONTENT)}
        assert client.patch(href, content=CONTENT[500_000:], headers=headers).json()["complete"]
        assert ingested(client, href, "revived")["rows"] == ROWS


def calling_process(process):
    return httpx.Client(base_url=process.endpoints["http"], timeout=40)


@pytest.mark.parametrize("offset", [0, 9, 11])
def test_a_part_that_belongs_elsewhere_is_refused_with_the_right_offset(client, offset):
    href = begun(client, b"0123456789")
    response = client.patch(href, content=b"x", headers={"Upload-Offset": str(offset)})
    assert (response.status_code, response.json()["code"]) == (409, "offset_mismatch")
    assert response.json()["details"] == {"offset": 10}
    assert offset_of(client, href) == 10


def test_a_part_that_was_garbled_on_the_way_is_dropped(client):
    href = begun(client, b"0123")
    headers = {"Upload-Offset": "4", "Content-Digest": digest(b"4567")}
    response = client.patch(href, content=b"4568", headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "checksum_mismatch")
    assert offset_of(client, href) == 4
    assert client.patch(href, content=b"4567", headers=headers).json()["offset"] == 8


def test_an_upload_with_the_wrong_digest_does_not_become_complete(client):
    headers = {"Upload-Complete": "?1", "Repr-Digest": digest(b"others")}
    response = client.post("/api/v1/uploads", content=b"bytes", headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "checksum_mismatch")
    assert not any(upload["complete"] for upload in client.get("/api/v1/uploads").json()["items"])


def test_an_upload_that_ends_too_early_can_go_on(client):
    href = begun(client, b"01234", **{"Upload-Length": "10"})
    headers = {"Upload-Offset": "5", "Upload-Complete": "?1", "Upload-Length": "10"}
    response = client.patch(href, content=b"5", headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert client.patch(href, content=b"6789", headers={"Upload-Offset": "6"}).json()["complete"]


def test_nothing_is_added_to_a_complete_upload(client):
    href = client.post("/api/v1/uploads", content=b"a\n1\n").headers["location"]
    response = client.patch(href, content=b"2\n", headers={"Upload-Offset": "4"})
    assert (response.status_code, response.json()["code"]) == (409, "upload_finished")


def test_an_incomplete_upload_cannot_be_ingested(client):
    href = begun(client, b"a\n1\n")
    failure = ingested(client, href, "half")
    assert failure["code"] == "invalid_source"
    assert "not complete" in failure["detail"]


def test_a_job_that_fails_leaves_its_upload_for_another_try(client):
    href = client.post("/api/v1/uploads?name=r.csv", content=b"a,b\n1,2\n3\n").headers["location"]
    failed = ingested(client, href, "again")
    assert failed["error"]["code"] == "unreadable_data"
    assert "r.csv" in failed["error"]["message"]
    body = {
        "dataset": "again",
        "source": {"kind": "upload", "id": href.rpartition("/")[2]},
        "options": {"ragged": "pad"},
    }
    assert client.post("/api/v1/ingestions", json=body, headers=WAIT).json()["rows"] == 2
    assert client.head(href).status_code == 404


def test_uploads_can_be_kept_and_ingested_together(client):
    hrefs = [
        client.post("/api/v1/uploads", content=b"a\n%d\n" % number).headers["location"] for number in (1, 2)
    ]
    ids = [href.rpartition("/")[2] for href in hrefs]
    body = {"dataset": "together", "source": {"kind": "upload", "id": ids, "keep": True}}
    assert client.post("/api/v1/ingestions", json=body, headers=WAIT).json()["rows"] == 2
    for href in hrefs:
        assert client.delete(href).status_code == 204
        assert client.get(href).status_code == 404


def test_others_cannot_see_continue_ingest_or_delete_an_upload(stack, client):
    href = client.post("/api/v1/uploads", content=b"a\n1\n").headers["location"]
    with calling(stack, "b") as bob:
        assert bob.get("/api/v1/uploads").json()["items"] == []
        for response in (bob.get(href), bob.delete(href), bob.patch(href, headers={"Upload-Offset": "4"})):
            assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
        assert ingested(bob, href, "stolen")["code"] == "permission_denied"
    with calling(stack, "e") as eve:
        assert eve.post("/api/v1/uploads", content=b"a\n1\n").status_code == 403
    assert client.delete(href).status_code == 204


@pytest.mark.parametrize("announced", [True, False])
def test_an_upload_beyond_the_limit_is_refused(client, announced):
    def chunks():
        for _ in range(9):
            yield bytes(1 << 20)

    content = bytes(9 << 20) if announced else chunks()
    response = client.post("/api/v1/uploads", content=content)
    assert (response.status_code, response.json()["code"]) == (413, "limit_exceeded")
    assert "SKEIN_INGEST_MAX_BYTES" in response.json()["detail"]


def test_a_form_is_not_a_file(client):
    response = client.post("/api/v1/uploads", files={"file": b"a\n1\n"})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Upload-Offset", "-1"),
        ("Upload-Offset", "1e3"),
        ("Upload-Offset", "9" * 5000),
        ("Upload-Complete", "yes"),
        ("Content-Digest", "sha-256=abc"),
        ("Content-Digest", "sha-256=:a:"),
    ],
)
def test_headers_that_cannot_be_read_are_named(client, name, value):
    href = begun(client)
    response = client.patch(href, content=b"x", headers={"Upload-Offset": "0", name: value})
    assert response.status_code == 400
    assert name.lower() in response.json()["detail"]
    assert offset_of(client, href) == 0


@pytest.mark.parametrize("upload_id", ["0" * 32, "..", "%2e%2e%2flake", "A" * 32])
def test_what_is_no_upload_is_not_found(client, upload_id):
    response = client.delete(f"/api/v1/uploads/{upload_id}")
    assert response.status_code in (404, 405)


def test_a_client_that_stops_sending_keeps_what_it_sent(stack, client):
    href = begun(client)
    with serving(stack.skein.control, stall_timeout_s=0.2, hosts=("*",)) as url:
        address = urlsplit(url)
        head = (
            f"PATCH {href} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer a\r\n"
            "Upload-Offset: 0\r\nContent-Length: 100\r\n\r\n0123456789"
        )
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(head.encode())
            answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert offset_of(client, href) == 10
