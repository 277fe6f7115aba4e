"""Schedules over HTTP, on a running server."""

import time

import pytest

from tests.stack import skein_stack

DEADLINE_S = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("files")
    (path / "a.csv").write_text("n\n1\n")
    return path


@pytest.fixture(scope="module")
def stack(tmp_path_factory, folder):
    with skein_stack(tmp_path_factory.mktemp("data"), ingest_roots=str(folder)) as stack:
        yield stack


@pytest.fixture
def client(stack):
    with stack.http() as client:
        yield client


def wanted(name, folder, **fields):
    source = {"kind": "file", "path": str(folder / "a.csv"), "only_new": True}
    ingestion = {"dataset": name, "source": source}
    return {"name": name, "ingestion": ingestion, **fields}


def last_run(client, name):
    """Once the latest job has ended."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        run = client.get(f"/api/v1/schedules/{name}").json()["last_run"]
        if run is not None and run["state"] in ("succeeded", "failed"):
            return run
    raise AssertionError("it did not run")


def test_a_schedule_runs_by_itself_and_tells_how_it_went(client, folder):
    made = client.post("/api/v1/schedules", json=wanted("rows", folder, every_s=3600))
    assert made.status_code == 201
    assert made.headers["location"] == made.json()["href"] == "/api/v1/schedules/rows"
    run = last_run(client, "rows")
    assert (run["state"], run["version"], run["unchanged"], run["error"]) == ("succeeded", 0, False, None)
    job = client.get(run["href"]).json()
    assert (job["schedule"], job["rows"]) == ("rows", 1)


def test_run_now_answers_with_the_job_and_nothing_new_is_told(client, folder):
    client.post("/api/v1/schedules", json=wanted("manual", folder, cron="0 6 * * *"))
    for version, unchanged in ((0, False), (None, True)):
        answer = client.post("/api/v1/schedules/manual/run", headers={"Prefer": "wait=60"})
        assert answer.status_code == 202
        job = answer.json()
        assert (job["state"], job["version"], job["unchanged"]) == ("succeeded", version, unchanged)
    refreshed = client.post("/api/v1/datasets/manual/refresh")
    assert refreshed.status_code == 202
    assert [job["dataset"] for job in refreshed.json()["items"]] == ["manual"]


def test_a_schedule_is_changed_paused_resumed_and_removed(client, folder):
    client.post("/api/v1/schedules", json=wanted("c", folder, cron="0 6 * * *", timezone="Europe/Berlin"))
    url = "/api/v1/schedules/c"
    paused = client.patch(url, json={"paused": True}).json()
    assert (paused["paused"], paused["next_at"]) == (True, None)
    resumed = client.patch(url, json={"paused": False}).json()
    assert resumed["next_at"] is not None
    changed = client.patch(url, json={"every_s": 7200}).json()
    assert (changed["every_s"], changed["cron"], changed["timezone"]) == (7200, None, None)
    assert "c" in [item["name"] for item in client.get("/api/v1/schedules").json()["items"]]
    assert client.delete(url).status_code == 204
    assert client.get(url).json()["code"] == "schedule_not_found"
    assert client.delete(url).status_code == 404


@pytest.mark.parametrize("name", ["api_key", "PWD", "sessionId", "client_secret", "jwt"])
def test_parameters_that_sound_like_credentials_are_hidden(client, name):
    source = {"kind": "api", "url": "https://example.org/x", "params": {name: "hunter2", "page": "1"}}
    schedule = {"name": f"hides_{name}", "ingestion": {"dataset": "h", "source": source}, "every_s": 86_400}
    told = client.post("/api/v1/schedules", json={**schedule, "paused": True}).json()["source"]
    assert told["params"] == {name: "***", "page": "1"}


def test_sources_are_told_without_credentials(client):
    source = {
        "kind": "http",
        "url": "https://ann:hunter2@example.org/x?token=hunter2&page=hunter2",
        "headers": {"X-Any": "hunter2"},
    }
    body = {"name": "hidden", "ingestion": {"dataset": "h", "source": source}, "cron": "0 6 1 1 *"}
    answers = [
        client.post("/api/v1/schedules", json=body),
        client.get("/api/v1/schedules/hidden"),
        client.get("/api/v1/schedules"),
    ]
    assert all("hunter2" not in answer.text for answer in answers)
    assert answers[1].json()["source"] == {
        "kind": "http",
        "url": "https://example.org/x?token=***&page=***",
        "headers": {"X-Any": "***"},
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "invalid_request"),
        ({"every_s": 60, "cron": "* * * * *"}, "invalid_request"),
        ({"every_s": 60, "timezone": "UTC"}, "invalid_request"),
        ({"every_s": 0}, "invalid_request"),
        ({"cron": "often"}, "invalid_option"),
        ({"cron": "* * * * *", "timezone": "Mars"}, "invalid_option"),
        ({"every_s": 60, "name": "a b"}, "invalid_option"),
    ],
    ids=str,
)
def test_what_is_no_schedule_is_refused(client, folder, changes, code):
    answer = client.post("/api/v1/schedules", json={**wanted("bad", folder), **changes})
    assert (answer.status_code in (400, 422), answer.json()["code"]) == (True, code)


def test_sources_are_listed_with_schema_and_example(client):
    items = {item["kind"]: item["fields"] for item in client.get("/api/v1/sources").json()["items"]}
    assert {"file", "http", "api"} <= set(items)
    for kind, fields in items.items():
        assert all(example["kind"] == kind for example in fields["examples"])
