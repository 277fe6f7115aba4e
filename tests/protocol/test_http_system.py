"""What the HTTP door says of its server: pages, problem types, readiness, metrics."""

import threading
from dataclasses import replace

import httpx
import pytest

from flight_core.domain.errors import OutOfDisk
from schemas.errors import PROBLEM_TYPES
from tests.protocol.http_stack import serving


@pytest.fixture
def client(stack):
    with stack.http() as client:
        yield client


@pytest.mark.parametrize("page", ["/", "/docs", "/redoc"])
def test_pages_bring_everything_they_need(client, page):
    html = client.get(page).text
    assert "http://" not in html
    assert "https://" not in html
    assert "<script>" not in html
    for name in ("src", "href"):
        for reference in html.split(f'{name}="')[1:]:
            target = reference.partition('"')[0]
            if target.startswith("/"):
                assert client.get(target).status_code == 200, target


def test_nothing_inline_runs_or_draws_on_the_page_to_ask_on(client):
    policy = client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy


def test_problem_types_lead_somewhere(client):
    problem = client.get("/api/v1/datasets/nope").json()
    explained = client.get(problem["type"]).json()
    assert (explained["code"], explained["title"]) == (problem["code"], problem["title"])
    assert {item["code"] for item in client.get("/problems").json()["items"]} == set(PROBLEM_TYPES)
    assert client.get("/problems/nope").status_code == 404


def test_readiness_tries_every_part(stack, client):
    assert client.get("/readyz").json() == {
        "status": "ready",
        "checks": {"catalog": "ok", "disk": "ok", "engine": "ok"},
    }


def test_a_part_that_does_not_work_is_named(stack):
    stuck = threading.Event()
    began = []

    def refused() -> None:
        raise OutOfDisk("no room")

    def wait() -> None:
        began.append(True)
        stuck.wait()

    checks = {"good": lambda: None, "full": refused, "broken": lambda: 1 / 0, "stuck": wait}
    with serving(replace(stack.skein.control, checks=checks), check_timeout_s=1) as url:
        for _ in range(2):
            response = httpx.get(url + "/readyz", timeout=60)
        stuck.set()
    assert len(began) == 1  # what is stuck is not tried again, with one more thread each time
    assert response.status_code == 503
    assert response.json() == {
        "status": "not ready",
        "checks": {
            "broken": "failed; the server's log tells more",
            "full": "[out_of_disk] no room",
            "good": "ok",
            "stuck": "no answer within 1 s",
        },
    }


def test_a_part_that_worked_a_moment_ago_is_not_taken_for_broken_because_it_is_slow(stack):
    slow, go_on = [], threading.Event()

    def check() -> None:
        if slow:
            go_on.wait()

    with serving(replace(stack.skein.control, checks={"engine": check}), check_timeout_s=60) as url:
        assert httpx.get(url + "/readyz").status_code == 200
        slow.append(True)
        assert httpx.get(url + "/readyz").status_code == 200  # at once, not after a minute
        go_on.set()


def test_metrics_count_requests_queries_streams_and_jobs(stack):
    with serving(stack.skein.control) as url, httpx.Client(base_url=url) as client:
        client.post("/api/v1/query", json={"sql": "SELECT * FROM range(17)"})
        client.get("/api/v1/datasets/nope")
        client.get("/made/up/by/the/client")
        client.post("/api/v1/query", json={"sql": "SELECT * FROM nope"})
        metrics = client.get("/metrics").text
    assert 'skein_http_requests_total{method="POST",route="/api/v1/query",status="200"} 1.0' in metrics
    assert (
        'skein_http_requests_total{method="GET",route="/api/v1/datasets/{name}",status="404"} 1.0' in metrics
    )
    assert "made/up" not in metrics
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert float(values['skein_query_rows_total{door="http"}']) >= 17
    assert float(values['skein_query_bytes_total{door="http"}']) >= 17 * 8
    assert float(values['skein_queries_total{door="http",state="succeeded"}']) >= 1
    assert float(values['skein_query_errors_total{code="dataset_not_found"}']) >= 1
    assert (
        float(values["skein_engine_memory_bytes"]) <= float(values["skein_engine_memory_limit_bytes"]) == 1e9
    )
    assert float(values["skein_engine_spilled_bytes"]) == 0
    assert float(values["skein_disk_free_bytes"]) > 0
    assert values["skein_streams_open"] == values["skein_streams_waiting"] == "0.0"
    assert values['skein_ingestions{state="failed"}'] == "0.0"
