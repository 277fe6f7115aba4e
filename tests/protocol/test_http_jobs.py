"""Jobs over HTTP: lists and pages, logs, retries, maintenance that is asked for and that is due."""

import threading

import pyarrow as pa
import pytest

from flight_core.application.maintenance.compaction import CompactDataset
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.dataset import WriteMode
from tests.stack import skein_stack, until

WAIT = {"Prefer": "wait=30"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def stack(tmp_path_factory, files):
    with skein_stack(tmp_path_factory.mktemp("data"), ingest_roots=str(files), compact_files=4) as stack:
        yield stack


@pytest.fixture
def http(stack):
    with stack.http(timeout=60) as client:
        yield client


def ingested(http, files, dataset, content="n\n1\n", **request):
    path = files / f"{dataset}.csv"
    path.write_text(content)
    source = {"kind": "file", "path": str(path)}
    reply = http.post(
        "/api/v1/ingestions", json={"dataset": dataset, "source": source, **request}, headers=WAIT
    )
    assert reply.status_code == 202, reply.text
    return reply.json()


def test_a_job_tells_how_fast_it_was_and_is_listed_with_the_others(http, files):
    job = ingested(http, files, "fast", priority=5)
    assert job["state"] == "succeeded"
    assert (job["task"], job["priority"], job["retry_of"], job["eta_s"]) == ("ingest", 5, None, None)
    assert job["bytes_per_s"] > 0
    assert job["rows_per_s"] > 0
    listed = http.get("/api/v1/jobs", params={"dataset": "fast"}).json()["items"]
    assert [each["id"] for each in listed] == [job["id"]]
    assert listed[0]["href"] == job["href"]
    assert http.get(f"/api/v1/jobs/{job['id']}").json() == listed[0]


def test_lists_have_pages_and_filters(http, files):
    ids = [ingested(http, files, "paged", content)["id"] for content in ("n\n1\n", "", "n\n2\n")]
    path, seen = "/api/v1/ingestions?dataset=paged&limit=2", []
    while path:
        page = http.get(path)
        seen += [job["id"] for job in page.json()["items"]]
        path = page.json()["next"]
        assert ("Link" in page.headers) == (path is not None)
    assert seen == ids[::-1]
    failed = http.get("/api/v1/jobs", params={"dataset": "paged", "state": ["failed", "cancelled"]})
    assert [job["id"] for job in failed.json()["items"]] == [ids[1]]
    assert http.get("/api/v1/jobs", params={"dataset": "paged", "task": "vacuum"}).json()["items"] == []
    bad = http.get("/api/v1/jobs", params={"cursor": "bm9ib2R5"})
    assert (bad.status_code, bad.json()["code"]) == (400, "invalid_request")
    assert http.get("/api/v1/jobs", params={"state": "asleep"}).status_code == 422


def test_a_log_tells_what_happened_without_paths_of_the_server(http, files, stack):
    good = ingested(http, files, "good")
    messages = [line["message"] for line in http.get(f"{good['href']}/log").json()["items"]]
    assert messages[0] == "attempt 1 of 3"
    assert "parsing" in messages
    assert messages[-1].startswith("version 0, 1 rows in ")
    bad = ingested(http, files, "bad", "a,b\n1,2\n3\n")
    lines = http.get(f"/api/v1/jobs/{bad['id']}/log").json()["items"]
    assert (lines[-1]["level"], lines[-1]["phase"]) == ("error", "parsing")
    assert lines[-1]["message"] == f"failed: [unreadable_data] {bad['error']['message']}"
    text = "\n".join(line["message"] for line in lines)
    assert "parser: Traceback" in text
    assert "parser: flight_core.domain.errors.UnreadableData: [unreadable_data] bad.csv" in text
    for folder in (str(files), str(stack.data), "/flight_core/"):
        assert folder not in text


def test_a_log_warns_of_an_encoding_that_was_guessed(http, files):
    (files / "late.csv").write_bytes("name\ncafé\n".encode("cp1252"))
    paths = [str(files / name) for name in ("good.csv", "late.csv")]
    (files / "good.csv").write_text("name\nx\n")
    source = {"kind": "file", "path": paths}
    for options, told in (({}, [True]), ({"encoding": "cp1252"}, [])):
        request = {"dataset": "guessed", "source": source, "options": options}
        job = http.post("/api/v1/ingestions", json=request, headers=WAIT).json()
        assert job["options"]["encoding"] == "cp1252"
        lines = http.get(f"{job['href']}/log").json()["items"]
        warned = [line["message"] for line in lines if line["level"] == "warning"]
        assert ["read as Windows-1252" in message for message in warned] == told


def test_a_log_warns_of_folders_that_became_no_columns(http, files):
    folder = files / "by" / "k=1"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("name\nx\n")
    request = {"dataset": "by", "source": {"kind": "file", "path": str(files / "by")}}
    job = http.post("/api/v1/ingestions", json=request, headers=WAIT).json()
    lines = http.get(f"{job['href']}/log").json()["items"]
    warned = [line["message"] for line in lines if line["level"] == "warning"]
    assert ["'k=1' did not become a column" in message for message in warned] == [True]


def test_a_log_has_pages_and_is_read_on_from_a_number(http, files):
    job = ingested(http, files, "long")
    whole = http.get(f"{job['href']}/log").json()["items"]
    path, seen = f"{job['href']}/log?limit=2", []
    while path:
        reply = http.get(path)
        seen += reply.json()["items"]
        path = reply.json()["next"]
        assert reply.links.get("next", {}).get("url") == path
    assert seen == whole
    assert len(whole) > 2
    later = http.get(f"{job['href']}/log", params={"after": whole[1]["number"]}).json()["items"]
    assert later == whole[2:]


def test_a_failed_job_is_tried_again_and_a_good_one_is_not(http, files):
    failed = ingested(http, files, "again", "")
    (files / "again.csv").write_text("n\n7\n")
    reply = http.post(f"{failed['href']}/retry")
    assert (reply.status_code, reply.json()["retry_of"]) == (202, failed["id"])
    assert reply.headers["Location"] == reply.json()["href"] != failed["href"]
    done = http.get(reply.headers["Location"], headers=WAIT).json()
    assert (done["state"], done["rows"]) == ("succeeded", 1)
    assert http.get(failed["href"]).json()["state"] == "failed"
    refused = http.post(f"{done['href']}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_retryable")


def rows_of(stack, name):
    with stack.http() as client:
        return [row["n"] for row in client.get(f"/api/v1/datasets/{name}/rows").json()["rows"]]


def test_a_dataset_is_compacted_on_demand(http, stack):
    for n in (3, 1, 2):
        stack.write("crumbs", pa.table({"n": [n]}))
    reply = http.post("/api/v1/datasets/crumbs/compact", headers=WAIT)
    job = reply.json()
    assert (reply.status_code, job["state"], job["task"], job["version"]) == (202, "succeeded", "compact", 3)
    assert job["result"] == {"files_before": 3, "files_after": 1}
    assert reply.headers["Location"] == job["href"] == f"/api/v1/jobs/{job['id']}"
    assert http.get(job["href"]).json() == job
    assert http.get(f"/api/v1/ingestions/{job['id']}").status_code == 404
    assert rows_of(stack, "crumbs") == [3, 1, 2]
    again = http.post("/api/v1/datasets/crumbs/compact", headers=WAIT).json()
    assert (again["state"], again["unchanged"], again["version"]) == ("succeeded", True, None)
    by_n = http.post("/api/v1/datasets/crumbs/compact", json={"sort_by": ["n"]}, headers=WAIT).json()
    assert by_n["state"] == "succeeded"
    assert rows_of(stack, "crumbs") == [1, 2, 3]
    wrong = http.post("/api/v1/datasets/crumbs/compact", json={"sort_by": ["m"]})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_request")
    assert http.post("/api/v1/datasets/nothing/compact").status_code == 404


def test_a_dataset_is_vacuumed_on_demand(http, stack):
    stack.write("dusty", pa.table({"n": [1]}))
    job = http.post("/api/v1/datasets/dusty/vacuum", headers=WAIT).json()
    assert (job["state"], job["task"], job["version"], job["error"]) == ("succeeded", "vacuum", None, None)
    assert job["result"] == {
        "expired_versions": 0,
        "deleted_versions": 0,
        "deleted_files": 0,
        "freed_bytes": 0,
    }
    assert rows_of(stack, "dusty") == [1]


def test_a_dry_run_of_vacuum_tells_what_would_go_and_counts_for_nothing(http, stack):
    for number in range(3):
        stack.write("rehearsed", pa.table({"n": [number]}), WriteMode.REPLACE)
    http.put("/api/v1/datasets/rehearsed/retention", json={"keep_versions": 1})
    url = "/api/v1/datasets/rehearsed/vacuum"
    dry = http.post(url, json={"dry_run": True}, headers=WAIT).json()
    assert (dry["state"], dry["options"], dry["result"]["expired_versions"]) == (
        "succeeded",
        {"dry_run": True},
        2,
    )
    states = [each["state"] for each in http.get("/api/v1/datasets/rehearsed/versions").json()["items"]]
    assert states == ["kept"] * 3
    wet = http.post(url, headers=WAIT).json()
    assert (wet["options"], wet["result"]["expired_versions"]) == ({}, 2)


def test_datasets_with_many_small_files_are_compacted_by_themselves(http, stack):
    for n in range(4):
        stack.write("many", pa.table({"n": [n]}))
    stack.write("few", pa.table({"n": [1]}))
    stack.skein.maintain()
    (job,) = http.get("/api/v1/jobs", params={"dataset": "many", "task": "compact"}).json()["items"]
    assert job["actor"] == "skein"
    assert http.get(job["href"], headers=WAIT).json()["result"] == {"files_before": 4, "files_after": 1}
    assert stack.skein.maintain() == 0
    assert http.get("/api/v1/jobs", params={"dataset": "few"}).json()["items"] == []


def test_maintenance_that_runs_can_be_cancelled(http, stack, monkeypatch):
    begun = threading.Event()

    def endless(self, name, *, cancellation: Cancellation, **_):
        begun.set()
        while True:
            cancellation.check()

    monkeypatch.setattr(CompactDataset, "__call__", endless)
    stack.write("endless", pa.table({"n": [1]}))
    job = http.post("/api/v1/datasets/endless/compact").json()
    assert begun.wait(30)
    assert http.post("/api/v1/datasets/endless/compact").json()["id"] == job["id"]
    assert http.delete(job["href"]).status_code == 202
    until(lambda: http.get(job["href"]).json()["state"] == "cancelled")
    events = [stored.event.kind for stored in stack.skein.events.after(0, limit=100_000)]
    assert events[-1] == "maintenance.cancelled"
