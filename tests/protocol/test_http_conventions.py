"""What holds for every path of the API: HEAD, ETags, conditions, 404 and 405, pages."""

import anyio
import httpx
import pyarrow as pa
import pytest

from control_api.paging import cursor_of
from schemas.errors import PROBLEM_TYPES
from tests.protocol.http_stack import until

INGESTION = {"dataset": "numbers", "source": {"kind": "http", "url": "http://127.0.0.1:9/x.csv"}}
OTHER_SCHEDULE = {"name": "other", "every_s": 60, "paused": True, "ingestion": INGESTION}
CONTRACT = {"columns": [{"name": "i", "type": "int64"}]}


@pytest.fixture(scope="module")
def stack(stack):
    stack.write("numbers", pa.table({"i": [1, 2, 3]}))
    return stack


@pytest.fixture
def client(stack):
    with stack.http(timeout=60) as client:
        yield client


def gettable(client):
    paths = client.get("/openapi.json").json()["paths"]
    known = {"{name}": "numbers", "{code}": "not_found"}
    for path, methods in paths.items():
        for placeholder, value in known.items():
            path = path.replace(placeholder, value)
        if "get" in methods and "{" not in path and path not in ("/readyz", "/api/v1/events/stream"):
            yield path


def test_every_path_that_answers_get_answers_head_with_the_same_headers(client):
    for path in gettable(client):
        parameters = {"from": "1"} if "/diff" in path else {}
        got, head = client.get(path, params=parameters), client.head(path, params=parameters)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers.get("content-type") == got.headers.get("content-type"), path


def test_head_of_a_stream_of_events_ends(client):
    head = client.head("/api/v1/events/stream")
    assert (head.status_code, head.headers["content-type"][:17]) == (200, "text/event-stream")


def test_head_reads_no_result_and_leaves_no_query(stack, client):
    before = len(stack.skein.control.queries.log.list())
    assert client.head("/api/v1/datasets/numbers/rows").status_code == 200
    assert len(stack.skein.control.queries.log.list()) == before + 1

    def ended():
        return all(record.finished_at is not None for record in stack.skein.control.queries.log.list())

    until(ended, deadline_s=30)


def test_what_the_client_has_is_not_sent_again(client):
    for path in ("/api/v1/datasets", "/api/v1/datasets/numbers", "/api/v1/datasets/numbers/versions"):
        etag = client.get(path).headers["etag"]
        again = client.get(path, headers={"If-None-Match": f'"other", {etag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


def test_a_write_with_an_old_etag_changes_nothing(client):
    path = "/api/v1/datasets/numbers/retention"
    etag = client.get(path).headers["etag"]
    first = client.put(path, json={"keep_versions": 5}, headers={"If-Match": etag})
    assert first.status_code == 200
    second = client.put(path, json={"keep_versions": 7}, headers={"If-Match": etag})
    assert (second.status_code, second.json()["code"]) == (412, "precondition_failed")
    assert client.get(path).json()["keep_versions"] == 5
    assert client.delete(path, headers={"If-Match": "*"}).status_code == 204


def test_a_weak_etag_never_matches(client):
    path = "/api/v1/datasets/numbers/retention"
    etag = client.get(path).headers["etag"]
    assert client.put(path, json={"keep_versions": 5}, headers={"If-Match": f"W/{etag}"}).status_code == 412


def test_a_resource_is_only_created_if_that_is_wanted(client):
    path = "/api/v1/datasets/guarded/contract"
    assert client.put(path, json=CONTRACT, headers={"If-Match": "*"}).status_code == 412
    assert client.put(path, json=CONTRACT, headers={"If-None-Match": "*"}).status_code == 200
    assert client.put(path, json=CONTRACT, headers={"If-None-Match": "*"}).status_code == 412


def test_of_many_writers_with_the_same_etag_one_succeeds(stack, client):
    path = "/api/v1/datasets/numbers/retention"
    etag = client.get(path).headers["etag"]
    statuses = []

    async def write(http, number):
        reply = await http.put(path, json={"keep_versions": 100 + number}, headers={"If-Match": etag})
        statuses.append(reply.status_code)

    async def race():
        async with httpx.AsyncClient(base_url=stack.http_url) as http, anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(write, http, number)

    anyio.run(race)
    assert sorted(statuses) == [200] + [412] * 7


def test_what_is_not_there_and_what_is_not_allowed_are_problems(client):
    missing = client.get("/api/v1/nothing")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/not_found")
    refused = client.put("/api/v1/datasets/numbers")
    assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
    assert {"DELETE", "GET", "HEAD"} <= set(refused.headers["allow"].split(", "))


@pytest.mark.parametrize("path", ["datasets", "uploads", "schedules", "derivations", "datasets/numbers/tags"])
def test_limits_are_refused_and_never_changed(client, path):
    for limit in ("0", "1001", "-1", "many"):
        refused = client.get(f"/api/v1/{path}", params={"limit": limit})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["parameter"] == "limit"
    assert client.get(f"/api/v1/{path}", params={"cursor": "bm9uZQ"}).status_code == 400


FAR = 10**30


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("audit", {"cursor": cursor_of((FAR,))}),
        ("jobs", {"cursor": cursor_of(("\ud800",))}),
        ("datasets/numbers/contract", {"version": FAR}),
        ("jobs/none/log", {"after": FAR}),
        ("jobs/none/log", {"cursor": cursor_of((-FAR,))}),
        ("datasets/numbers/rows", {"offset": FAR}),
    ],
)
def test_numbers_and_texts_that_nothing_can_hold_are_refused(client, path, asked):
    assert client.get(f"/api/v1/{path}", params=asked).status_code in (400, 422)


@pytest.mark.parametrize("policy", [{"keep_versions": FAR}, {"keep_s": 1e300}])
def test_a_retention_that_no_vacuum_could_follow_is_refused(client, policy):
    reply = client.put("/api/v1/datasets/numbers/retention", json=policy)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")


def test_pages_of_tags_uploads_and_problems_lead_through_all_of_them(client):
    for number in range(5):
        assert client.put(f"/api/v1/datasets/numbers/tags/t{number}", json={}).status_code == 200
        assert client.post("/api/v1/uploads", content=b"x").status_code == 201
    for path, key, count in (
        ("/api/v1/datasets/numbers/tags", "name", 5),
        ("/api/v1/uploads", "id", 5),
        ("/problems", "code", len(PROBLEM_TYPES)),
    ):
        whole = [item[key] for item in client.get(path).json()["items"]]
        found, following = [], f"{path}?limit=2"
        while following is not None:
            page = client.get(following)
            found += [item[key] for item in page.json()["items"]]
            following = page.json()["next"]
            assert (page.links.get("next", {}).get("url")) == following
        assert (found, len(found)) == (whole, count)
    assert client.get("/api/v1/datasets/numbers/tags/T3").json()["name"] == "t3"
    assert client.get("/api/v1/datasets/numbers/tags/none").json()["code"] == "tag_not_found"


def test_a_parameter_that_nobody_would_look_at_is_refused(client):
    for path in gettable(client):
        if path.startswith("/api/"):
            refused = client.get(
                path, params={"limti": "10", "from": "1"} if "/diff" in path else {"limti": "10"}
            )
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request"), path
            assert refused.json()["errors"][0]["parameter"] == "limti"
    refused = client.get("/api/v1/jobs", params={"taks": "compact"})
    assert "task" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("preferred", "applied"),
    [
        (["wait=7"], "wait=7"),
        (["respond-async", "wait=7"], "wait=7"),
        (["respond-async, Wait = 7"], "wait=7"),
        (['handling=lenient; x=1, wait="7"'], "wait=7"),
        (["wait=99999999999"], "wait=60"),
        (["wait=soon"], None),
        (["wait=-1"], None),
    ],
)
def test_a_preference_is_read_as_it_may_be_written_and_told(client, preferred, applied):
    made = client.post("/api/v1/datasets/numbers/vacuum", headers={"Prefer": "wait=30"})
    headers = [("Prefer", each) for each in preferred]
    found = client.get(made.headers["location"], headers=headers)
    assert (found.status_code, found.headers.get("preference-applied")) == (200, applied)


# What is made once


KEYED = [
    ("/api/v1/schedules", {"name": "once", "every_s": 60, "paused": True, "ingestion": INGESTION}, "name"),
    ("/api/v1/uploads", None, "id"),
    ("/api/v1/datasets/numbers/compact", None, "id"),
    ("/api/v1/datasets/numbers/vacuum", None, "id"),
    ("/api/v1/datasets/made/derivation/refresh", None, "id"),
    ("/api/v1/datasets/made/refresh", None, "items"),
    ("/api/v1/datasets/numbers/upload?format=csv", None, "id"),
]


@pytest.mark.parametrize(("path", "body", "name"), KEYED, ids=[each[0] for each in KEYED])
def test_a_request_that_comes_again_with_its_key_makes_nothing_new(client, path, body, name):
    client.put("/api/v1/datasets/made/derivation", json={"sql": "SELECT i FROM numbers", "refresh": "manual"})
    sent = {"content": b"i\n4\n"} if "upload" in path else {"json": body} if body else {}
    headers = {"Idempotency-Key": f"of {path}", "Prefer": "wait=30"}
    first = client.post(path, headers=headers, **sent)
    again = client.post(path, headers=headers, **sent)
    assert (first.status_code, again.status_code) in [(201, 201), (202, 202)], first.text
    assert ids_in(first.json()[name]) == ids_in(again.json()[name])
    assert again.headers.get("location") == first.headers.get("location")
    other = client.post(path, headers=headers | {"Idempotency-Key": f"another {path}"}, **sent)
    assert other.status_code == 409 or ids_in(other.json()[name]) != ids_in(first.json()[name])
    refused = client.post("/api/v1/schedules", headers=headers, json=OTHER_SCHEDULE)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")


def test_rows_are_deleted_versions_restored_and_statements_run_once_for_a_key(client):
    client.post("/api/v1/queries", json={"sql": "CREATE OR REPLACE TABLE once (i INTEGER)"})
    insert = {"sql": "INSERT INTO once VALUES (?) RETURNING i", "params": [7]}
    restore = "/api/v1/datasets/numbers/restore"
    for path, body in [
        ("/api/v1/datasets/numbers/delete", {"where": "i = 1"}),
        (restore, {"version": "v0"}),
        ("/api/v1/queries", insert),
    ]:
        headers = {"Idempotency-Key": f"once {path}", "If-Match": "*"}
        first = client.post(path, headers=headers, json=body)
        versions = client.get("/api/v1/datasets/numbers/versions").json()
        again = client.post(path, headers=headers, json=body)
        assert (first.status_code, again.status_code) == (200, 200), again.text
        if path == "/api/v1/queries":
            assert first.json()["rows"] == [{"i": 7}]
            told = ("query_id", "affected_rows")
            assert [again.json()[name] for name in told] == [first.json()[name] for name in told]
        else:
            assert again.json() == first.json()
        assert client.get("/api/v1/datasets/numbers/versions").json() == versions
    found = client.post("/api/v1/queries", json={"sql": "SELECT i FROM once"})
    assert found.json()["rows"] == [{"i": 7}]
    other = {"sql": "INSERT INTO once VALUES (?) RETURNING i", "params": [8]}
    refused = client.post("/api/v1/queries", headers={"Idempotency-Key": "once /api/v1/queries"}, json=other)
    assert refused.json()["code"] == "idempotency_key_reused"


def ids_in(value):
    return value if isinstance(value, str) else [each["id"] for each in value]


def test_jobs_that_are_cancelled_or_retried_are_waited_for(client):
    missing = {"dataset": "never", "source": {"kind": "http", "url": "http://127.0.0.1:9/nothing.csv"}}
    wait = {"Prefer": "wait=30"}
    failed = client.post("/api/v1/ingestions", json=missing, headers=wait)
    assert failed.json()["state"] == "failed", failed.text
    retried = client.post(f"{failed.headers['location']}/retry", headers=wait)
    assert (retried.status_code, retried.json()["state"]) == (202, "failed")
    assert retried.headers["preference-applied"] == "wait=30"
    assert "retry-after" not in retried.headers
    assert retried.json()["retry_of"] == failed.json()["id"]
