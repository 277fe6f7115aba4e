"""Datasets derived by installed steps: what Polars says of the same rows, limits, failures."""

import datetime as dt
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from tests.protocol.http_stack import until
from tests.stack import skein_stack

EXAMPLES = Path(__file__).parents[2] / "examples" / "steps.py"
WAIT = {"Prefer": "wait=60"}
BAD = """
import os, time
import polars as pl

def raises(inputs):
    (table,) = inputs.values()
    return table.select(pl.col("nowhere"))

def crashes(inputs):
    os.abort()

def gives_text(inputs):
    return "text"

def hangs(inputs):
    time.sleep(600)

def explodes(inputs):
    kept = [bytearray(1 << 28) for _ in range(40)]
    return next(iter(inputs.values())).head(len(kept))
"""
TYPED = """
def typed(inputs, n: int, share: "float | None" = None, names: list[str | None] = [], on: bool = False, x=1):
    (table,) = inputs.values()
    return table.head(n)
"""
START = dt.datetime.fromisoformat("2026-01-01")
ROWS = pa.table(
    {
        "at": [START + dt.timedelta(minutes=minute) for minute in range(300)],
        "who": ["a", " b ", ""] * 100,
        "n": pa.array(range(300), pa.int32()),
    }
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    bad = tmp_path_factory.mktemp("steps") / "bad.py"
    bad.write_text(BAD + TYPED)
    folder = tmp_path_factory.mktemp("data")
    options = {"steps": f"{EXAMPLES},{bad}", "ingest_memory_bytes": "2GiB", "refresh_delay_s": 0.2}
    tokens = "ann=a,eve/read+write@eve*=e"
    with skein_stack(folder, tokens=tokens, **options) as stack:
        stack.write("log", ROWS)
        yield stack


@pytest.fixture
def client(stack):
    with stack.http(timeout=80, headers={"Authorization": "Bearer a"}) as client:
        yield client


def define(client, name, step, inputs=("log",), refresh="manual", **params):
    body = {"step": step, "inputs": list(inputs), "params": params, "refresh": refresh}
    return client.put(f"/api/v1/datasets/{name}/derivation", json=body)


def run(client, name):
    return client.post(f"/api/v1/datasets/{name}/derivation/refresh", headers=WAIT).json()


def table(client, name):
    answer = client.get(
        f"/api/v1/datasets/{name}/rows", headers={"Accept": "application/vnd.apache.arrow.stream"}
    )
    return pl.from_arrow(pa.ipc.open_stream(answer.content).read_all())


def test_steps_are_listed_with_what_they_take(client):
    steps = {step["name"]: step for step in client.get("/api/v1/steps").json()["items"]}
    assert {"clean", "pivot", "resample", "crashes"} <= steps.keys()
    assert steps["resample"]["description"].startswith("Means of all numbers per interval")
    assert steps["resample"]["parameters"][:2] == [
        {"name": "time", "type": "str", "required": True, "default": None},
        {"name": "every", "type": "str", "required": False, "default": "1h"},
    ]


def test_a_step_makes_what_polars_makes_and_again_when_its_input_changes(stack, client):
    assert define(client, "hourly", "resample", refresh="auto", time="at", by=["who"]).status_code == 200
    url = "/api/v1/datasets/hourly/derivation"
    until(lambda: client.get(url).json()["state"] == "fresh", deadline_s=60)
    rows = pl.from_arrow(ROWS)

    def hourly(rows):
        keys = [pl.col("at").dt.truncate("1h"), "who"]
        return rows.group_by(keys).agg(pl.col("n").mean(), pl.len().alias("rows")).sort("at", "who")

    assert_frame_equal(table(client, "hourly"), hourly(rows), check_dtypes=False)
    run = client.get(url).json()["run"]
    assert (run["kind"], run["state"]) == ("step", "succeeded")
    stack.write("log", ROWS.slice(0, 10))
    until(
        lambda: client.get(url).json()["inputs"] == [{"name": "log", "used": 1, "current": 1}], deadline_s=60
    )
    again = pl.concat([rows, rows.head(10)])
    assert_frame_equal(table(client, "hourly"), hourly(again), check_dtypes=False)
    (edge,) = client.get("/api/v1/datasets/hourly/lineage", params={"depth": 1}).json()["edges"]
    assert edge["kind"] == "input"


def test_older_versions_and_empty_tables_go_in(stack, client):
    stack.write("none", ROWS.slice(0, 0))
    for name, given, rows in (("p0", "log@v0", 300), ("pe", "none", 0)):
        define(client, name, "clean", [given])
        assert run(client, name)["state"] == "succeeded"
        assert table(client, name).height == rows
    assert table(client, "p0")["who"].unique(maintain_order=True).to_list() == ["a", "b", None]
    define(client, "wide", "pivot", index="at", columns="who", values="n", names=["a"])
    assert (run(client, "wide")["state"], table(client, "wide").columns) == ("succeeded", ["at", "a"])


def test_a_step_that_goes_row_by_row_can_be_given_the_new_rows_alone(stack, client):
    stack.write("grows", ROWS)
    url = "/api/v1/datasets/tidy/derivation"
    body = {"step": "clean", "inputs": ["grows"], "refresh": "manual", "incremental": "append"}
    assert client.put(url, json=body).status_code == 200
    run(client, "tidy")
    stack.write("grows", ROWS.slice(0, 7))
    run(client, "tidy")
    version = client.get("/api/v1/datasets/tidy/versions").json()["items"][0]
    assert (version["operation"], version["added_rows"], table(client, "tidy").height) == ("append", 7, 307)
    body |= {"step": "resample", "params": {"time": "at"}}
    assert client.put(url, json=body).json()["code"] == "invalid_option"


@pytest.mark.parametrize(
    ("step", "code", "says"),
    [
        ("raises", "query_failed", "nowhere"),
        ("crashes", "query_failed", "crashed"),
        ("gives_text", "query_failed", "a step gives a polars.LazyFrame, not str"),
        ("explodes", "limit_exceeded", "SKEIN_INGEST_MEMORY_BYTES"),
    ],
)
def test_a_step_that_goes_wrong_fails_its_job_and_nothing_else(stack, client, step, code, says):
    define(client, "wrong", step)
    ended = run(client, "wrong")
    assert (ended["state"], ended["error"]["code"]) == ("failed", code)
    assert says in ended["error"]["message"]
    assert str(stack.data) not in ended["error"]["message"]


def test_a_step_that_hangs_is_cancelled(client):
    define(client, "stuck", "hangs")
    job = client.post("/api/v1/datasets/stuck/derivation/refresh").json()
    until(lambda: client.get(job["href"]).json()["state"] == "running", deadline_s=60)
    client.post(f"{job['href']}/cancel")
    assert client.get(job["href"], headers=WAIT).json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        ({"n": 1, "share": 2, "names": ["a"], "on": True, "x": {}}, None),
        ({"n": 1, "share": None, "names": []}, None),
        ({"n": "1"}, "n"),
        ({"n": True}, "n"),
        ({"n": 1.5}, "n"),
        ({"n": None}, "n"),
        ({"n": 1, "share": "2"}, "share"),
        ({"n": 1, "names": "a"}, "names"),
        ({"n": 1, "on": 0}, "on"),
    ],
)
def test_parameters_have_the_types_that_the_step_declares(client, params, wrong):
    answer = define(client, "typed", "typed", **params)
    assert (answer.status_code < 300) == (wrong is None), answer.text
    if wrong is not None:
        assert answer.json()["code"] == "invalid_parameters"
        assert f"the parameter '{wrong}' of step 'typed' is" in answer.json()["detail"]


def test_what_cannot_be_is_refused_when_it_is_defined(stack, client):
    for answer, code in (
        (define(client, "x", "resampel", time="at"), "step_not_found"),
        (define(client, "x", "resample"), "invalid_parameters"),
        (define(client, "x", "resample", time="at", often=1), "invalid_parameters"),
        (define(client, "x", "resample", time=1), "invalid_parameters"),
        (define(client, "x", "clean", ["lag"]), "dataset_not_found"),
        (define(client, "x", "clean", ["log@v99"]), "version_not_found"),
        (define(client, "log", "clean"), "derivation_cycle"),
        (define(client, "x", "clean", []), "invalid_request"),
    ):
        assert answer.json()["code"] == code, answer.text
    with stack.http(headers={"Authorization": "Bearer e"}, timeout=60) as eve:
        assert define(eve, "eve_x", "clean").json()["code"] == "dataset_not_found"
