"""Texts compressed as the client prefers; what has a codec of its own is left alone."""

import gzip
import json
import zlib

import httpx
import pyarrow as pa
import pytest

from tests.protocol.http_stack import HUGE, only_query, until

QUERY = {"sql": "SELECT i, 'text ' || i AS t FROM range(200_000) r(i)"}
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"


@pytest.fixture(scope="module")
def stack(stack):
    stack.write("numbers", pa.table({f"column_{n}": [1, 2, 3] for n in range(30)}))
    return stack


@pytest.fixture
def client(stack):
    with stack.http(timeout=60, headers={"Accept-Encoding": "identity"}) as client:
        yield client


def raw(client, method, url, **request):
    with client.stream(method, url, **request) as reply:
        return reply, b"".join(reply.iter_raw())


def decoded(coding, body):
    if coding == "gzip":
        return gzip.decompress(body)
    return pa.CompressedInputStream(pa.BufferReader(body), "zstd").read()


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/csv"])
def test_a_text_is_the_same_when_it_was_compressed(client, coding, accept):
    plain = client.post("/api/v1/queries", json=QUERY, headers={"Accept": accept})
    headers = {"Accept": accept, "Accept-Encoding": coding}
    reply, body = raw(client, "POST", "/api/v1/queries", json=QUERY, headers=headers)
    assert (reply.headers["content-encoding"], "content-encoding" in plain.headers) == (coding, False)
    assert {"Accept", "Accept-Encoding"} <= set(reply.headers["vary"].split(", "))
    text = decoded(coding, body)
    if accept == "application/json":
        assert json.loads(text)["rows"] == plain.json()["rows"]
    else:
        assert text == plain.content
    assert len(body) < len(text) / 3


@pytest.mark.parametrize("accept", [ARROW, f'{ARROW}; codecs="zstd"', PARQUET])
def test_nothing_is_compressed_twice(client, accept):
    headers = {"Accept": accept, "Accept-Encoding": "gzip, zstd"}
    assert "content-encoding" not in client.post("/api/v1/queries", json=QUERY, headers=headers).headers


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("zstd;q=0, gzip;q=0.1", "gzip"),
        ("identity, gzip;q=0.5", None),
        ("br", None),
        ("gzip;q=0", None),
        ("", None),
    ],
)
def test_the_client_says_which_coding(client, accepted, coding):
    reply, _ = raw(client, "GET", "/api/v1/datasets/numbers", headers={"Accept-Encoding": accepted})
    assert reply.headers.get("content-encoding") == coding
    assert reply.headers["vary"] == "Accept-Encoding"


def test_small_answers_stay_as_they_are(client):
    reply, _ = raw(client, "GET", "/api/v1", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in reply.headers


def test_etags_of_compressed_texts_are_their_own_and_stand_for_the_same_state(client):
    path, squeezed = "/api/v1/datasets/numbers", {"Accept-Encoding": "gzip"}
    plain, packed = client.get(path).headers["etag"], client.get(path, headers=squeezed).headers["etag"]
    assert packed == f'{plain[:-1]}-gzip"'
    for etag in (plain, packed):
        assert client.get(path, headers=squeezed | {"If-None-Match": etag}).status_code == 304
    changed = client.patch(path, json={"description": "x"}, headers={"If-Match": packed})
    assert changed.status_code == 200
    assert client.patch(path, json={"description": "y"}, headers={"If-Match": packed}).status_code == 412


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_the_first_rows_come_before_the_last_ones_are_known(stack, client, coding):
    sql = f"{HUGE} -- {coding}"
    headers = {"Accept": "text/csv", "Accept-Encoding": coding}
    with client.stream("POST", "/api/v1/queries", json={"sql": sql}, headers=headers) as reply:
        first = next(reply.iter_raw())
        text = zlib.decompressobj(31).decompress(first) if coding == "gzip" else beginning(first)
        assert text.startswith(b'"i","j","s"\n0,0,"0"\n1,2,"1"\n')
    until(lambda: only_query(stack, sql).finished_at is not None, deadline_s=30)


def beginning(squeezed):
    return pa.CompressedInputStream(pa.BufferReader(squeezed), "zstd").read(100)


def test_bodies_may_be_compressed_where_they_are_files(client):
    rows = b"i\n" + b"".join(b"%d\n" % n for n in range(1000))
    headers = {"Content-Encoding": "gzip", "Prefer": "wait=30"}
    done = client.post("/api/v1/datasets/squeezed/upload", content=gzip.compress(rows), headers=headers)
    assert (done.json()["state"], client.get("/api/v1/datasets/squeezed").json()["rows"]) == (
        "succeeded",
        1000,
    )
    refused = client.post("/api/v1/uploads", content=b"x", headers={"Content-Encoding": "br"})
    assert (refused.status_code, refused.headers["accept-encoding"]) == (415, "gzip, zstd")
    query = httpx.Request("POST", "http://x", json=QUERY).content
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    refused = client.post("/api/v1/queries", content=gzip.compress(query), headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type")
