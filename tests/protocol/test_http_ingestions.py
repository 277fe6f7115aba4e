"""Ingestions over HTTP: from a request to rows, or to a failure that says why."""

import hashlib

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skein.directory import Role
from tests.protocol.http_stack import serving, until
from tests.stack import skein_stack

WAIT = {"Prefer": "respond-async, wait=30"}


@pytest.fixture(scope="module")
def inbox(tmp_path_factory):
    inbox = tmp_path_factory.mktemp("inbox")
    pq.write_table(pa.table({"x": range(1000)}), inbox / "good.parquet")
    (inbox / "good.csv").write_text("a;b\n1;x\n2;y\n")
    (inbox / "ragged.csv").write_text("a,b\n1,2\n3,4,5\n")
    (inbox / "torn.parquet").write_bytes((inbox / "good.parquet").read_bytes()[:-7])
    return inbox


@pytest.fixture(scope="module")
def client(tmp_path_factory, inbox):
    with (
        skein_stack(tmp_path_factory.mktemp("data"), ingest_roots=str(inbox)) as stack,
        stack.http(timeout=40) as client,
    ):
        yield client


def start(client, dataset, path, *, headers=None, **fields):
    return client.post(
        "/api/v1/ingestions",
        json={"dataset": dataset, "source": {"kind": "file", "path": path}, **fields},
        headers=headers,
    )


def test_a_file_becomes_a_dataset(client):
    response = start(client, "numbers", "good.parquet")
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == job["href"] == f"/api/v1/ingestions/{job['id']}"
    assert job["state"] in ("queued", "running", "succeeded")
    until(lambda: client.get(job["href"]).json()["state"] == "succeeded", deadline_s=30)
    done = client.get(job["href"])
    assert "retry-after" not in done.headers
    assert done.json()["rows"] == 1000
    assert done.json()["progress"] == 1
    assert done.json()["kind"] == "file"
    assert done.json()["error"] is None
    dataset = client.get("/api/v1/datasets/numbers").json()
    assert (dataset["rows"], dataset["version"]) == (1000, done.json()["version"])


def test_one_request_can_wait_for_the_end(client):
    response = start(client, "letters", "good.csv", options={"delimiter": ";"}, headers=WAIT)
    assert response.json()["state"] == "succeeded"
    assert response.headers["preference-applied"] == "wait=30"
    assert client.get("/api/v1/datasets/letters/rows").json()["rows"] == [
        {"a": 1, "b": "x"},
        {"a": 2, "b": "y"},
    ]
    again = client.get(response.headers["location"], headers=WAIT)
    assert again.json() == response.json()


def test_a_job_tells_how_its_source_was_read(client):
    job = start(client, "read", "good.csv", options={"ragged": "pad"}, headers=WAIT).json()
    assert job["format"] == "csv"
    assert job["options"] == {"ragged": "pad", "delimiter": ";", "header": True, "encoding": "utf-8"}


@pytest.mark.parametrize("path", ["torn.parquet", "ragged.csv"])
def test_a_file_that_cannot_be_read_fails_the_job_and_leaves_nothing(client, path):
    job = start(client, "broken", path, headers=WAIT).json()
    assert job["state"] == "failed"
    assert job["error"]["code"] == "unreadable_data"
    assert path in job["error"]["message"]
    assert job["version"] is None
    assert client.get("/api/v1/datasets/broken").status_code == 404


def test_the_mode_decides_what_becomes_of_the_rows_that_are_there(client):
    for mode, rows in (("create", 1000), ("append", 2000), ("replace", 1000)):
        assert start(client, "modes", "good.parquet", mode=mode, headers=WAIT).json()["state"] == "succeeded"
        assert client.get("/api/v1/datasets/modes").json()["rows"] == rows
    refused = start(client, "modes", "good.parquet", mode="create")
    assert (refused.status_code, refused.json()["code"]) == (409, "dataset_exists")


def test_jobs_are_listed_newest_first(client):
    jobs = [start(client, "listed", "good.parquet", headers=WAIT).json()["id"] for _ in range(3)]
    listed = client.get("/api/v1/ingestions?dataset=LISTED").json()["items"]
    assert [job["id"] for job in listed] == jobs[::-1]
    latest = client.get("/api/v1/ingestions?limit=1").json()["items"]
    assert [job["id"] for job in latest] == [jobs[-1]]


@pytest.mark.parametrize("verb", ["delete", "post"])
def test_a_finished_job_cannot_be_cancelled(client, verb):
    job = start(client, "finished", "good.parquet", headers=WAIT).json()
    cancel = client.delete(job["href"]) if verb == "delete" else client.post(job["href"] + "/cancel")
    assert (cancel.status_code, cancel.json()["code"]) == (409, "ingestion_finished")


def test_a_queued_job_says_when_to_look_again_and_is_cancelled_at_once(tmp_path, inbox):
    # The worker belongs to the control role, so here nobody takes the job.
    with (
        skein_stack(tmp_path, roles={Role.FLIGHT}, ingest_roots=str(inbox)) as stack,
        serving(stack.skein.control) as url,
        httpx.Client(base_url=url) as client,
    ):
        queued = start(client, "never", "good.parquet", headers={"Prefer": "wait=1"})
        assert (queued.status_code, queued.json()["state"]) == (202, "queued")
        assert int(queued.headers["retry-after"]) > 0
        cancelled = client.delete(queued.headers["location"])
        assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
        assert client.get(queued.headers["location"]).json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        ({}, 422, "invalid_request", "/dataset"),
        ({"dataset": "d", "source": {"kind": "ftp"}}, 422, "invalid_request", "/source"),
        ({"dataset": "d", "source": {"kind": "file"}}, 422, "invalid_request", "/source/path"),
        (
            {"dataset": "d", "source": {"kind": "file", "path": "x", "z": 1}},
            422,
            "invalid_request",
            "/source/z",
        ),
        ({"dataset": "d", "source": {"kind": "file", "path": 3}}, 422, "invalid_request", "/source/path"),
        (
            {"dataset": "a/b", "source": {"kind": "file", "path": "good.csv"}},
            400,
            "invalid_dataset_name",
            None,
        ),
        (
            {"dataset": "d", "source": {"kind": "file", "path": "/etc/passwd"}},
            403,
            "source_not_allowed",
            None,
        ),
        (
            {"dataset": "d", "source": {"kind": "file", "path": "good.csv"}, "format": "xml"},
            400,
            "unknown_format",
            None,
        ),
        (
            {"dataset": "d", "source": {"kind": "file", "path": "good.csv"}, "mode": "merge"},
            422,
            "invalid_request",
            "/mode",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_once(client, body, status, code, pointer):
    response = client.post("/api/v1/ingestions", json=body)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code), problem
    assert pointer is None or pointer in [error["pointer"] for error in problem["errors"]]


def test_an_unknown_job_is_not_found(client):
    for response in (client.get("/api/v1/ingestions/nope"), client.delete("/api/v1/ingestions/nope")):
        assert (response.status_code, response.json()["code"]) == (404, "ingestion_not_found")


def test_the_kinds_of_source_are_told_with_their_fields(client):
    kinds = {item["kind"]: item["fields"] for item in client.get("/api/v1/sources").json()["items"]}
    assert kinds.keys() >= {"file", "http"}
    assert kinds["file"]["required"] == ["path"]
    assert "url" in kinds["http"]["properties"]


# Idempotency keys


def test_a_request_sent_again_with_its_key_starts_nothing(client):
    headers = WAIT | {"Idempotency-Key": "2f1c9a"}
    first = start(client, "once", "good.parquet", mode="create", headers=headers)
    assert first.json()["state"] == "succeeded"
    again = start(client, "once", "good.parquet", mode="create", headers=headers)
    assert again.status_code == 202
    assert again.headers["location"] == first.headers["location"]
    assert again.json() == first.json()
    assert client.get("/api/v1/datasets/once").json()["rows"] == 1000


def test_another_request_with_a_used_key_is_refused(client):
    headers = {"Idempotency-Key": "one key"}
    start(client, "first", "good.parquet", headers=headers)
    refused = start(client, "second", "good.parquet", headers=headers)
    assert refused.status_code == 422
    assert refused.json()["code"] == "idempotency_key_reused"
    assert client.get("/api/v1/ingestions", params={"dataset": "second"}).json()["items"] == []


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tbed"])
def test_an_idempotency_key_that_is_none_is_refused(client, key):
    refused = start(client, "never", "good.parquet", headers={"Idempotency-Key": key})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_option")


def test_a_request_that_was_refused_does_not_use_its_key_up(client):
    headers = WAIT | {"Idempotency-Key": "kept for later"}
    assert start(client, "later", "good.parquet", format="nonsense", headers=headers).status_code == 400
    assert start(client, "later", "good.parquet", headers=headers).json()["state"] == "succeeded"


def test_the_history_tells_the_checksum_of_the_source(client, inbox):
    start(client, "summed", "good.parquet", headers=WAIT)
    (version,) = client.get("/api/v1/datasets/summed/versions").json()["items"]
    expected = hashlib.sha256((inbox / "good.parquet").read_bytes()).hexdigest()
    assert version["info"]["checksum"] == f"sha256:{expected}"
