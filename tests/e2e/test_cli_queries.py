"""`skein queries` and `skein watch` against a real server."""

import json
import threading

import pyarrow as pa
import pytest

from tests.e2e.commands import Terminal, skein
from tests.protocol.http_stack import ENDLESS, only_query, until
from tests.stack import skein_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with skein_stack(tmp_path_factory.mktemp("data")) as stack:
        stack.write("cities", pa.table({"n": [1, 2]}))
        stack.write("lakes", pa.table({"n": [1]}))
        stack.write("cities", pa.table({"n": [3]}))
        yield stack


@pytest.fixture
def run(stack):
    return lambda *arguments: skein(*arguments, SKEIN_DATA=stack.data)


def test_a_query_is_listed_with_its_progress_and_stopped(stack, run):
    outcome = {}

    def ask():
        with stack.http(timeout=60) as client:
            outcome["code"] = client.post("/api/v1/queries", json={"sql": ENDLESS}).json()["code"]

    client = threading.Thread(target=ask)
    client.start()
    queries = stack.skein.control.queries.log
    until(lambda: (queries.get(only_query(stack, ENDLESS).query_id).progress or 0) > 0, deadline_s=60)
    head, _, row = run("queries", "--state", "running").stdout.splitlines()
    assert head.split() == [
        "id",
        "state",
        "actor",
        "door",
        "began",
        "progress",
        "rows",
        "bytes",
        "lag",
        "sql",
    ]
    query_id, state, actor, door = row.split()[:4]
    assert (state, actor, door, "%" in row) == ("running", "local", "http", True)
    (listed,) = json.loads(run("queries", "--state", "running", "--json").stdout)
    assert (listed["id"], listed["sql"], 0 < listed["progress"] < 1) == (query_id, ENDLESS, True)
    assert run("queries", "cancel", query_id).stdout == f"{query_id}: cancelled\n"
    client.join(30)
    assert outcome["code"] == "cancelled"
    assert run("queries", "cancel", "nothing").stderr.startswith("error: [query_not_found] ")


def test_what_happens_is_told_a_line_each(run):
    lines = run(
        "watch", "--after", "0", "--dataset", "cit*", "--kind", "dataset.committed", "--count", "2"
    ).stdout
    first, second = (line.split() for line in lines.splitlines())
    assert (first[3:], second[3:]) == (
        ["dataset.committed", "cities", "version=0", "rows=2", "operation=create"],
        ["dataset.committed", "cities", "version=1", "rows=3", "operation=append"],
    )
    rest = run("watch", "--after", first[2], "--count", "1", "--json").stdout
    assert json.loads(rest)["subject"] == "lakes"
    assert run("watch", "--kind", "nonsense", "--count", "1").stderr.startswith("error: [invalid_")


def test_a_narrow_terminal_gets_what_tells_queries_and_jobs_apart(stack, run):
    run("query", "SELECT 'narrow' AS x")
    run("compact", "cities")
    with Terminal("queries", columns=80, SKEIN_DATA=stack.data) as terminal:
        assert terminal.wait() == 0
    assert {"id", "state", "sql"} <= set(terminal.screen.split("\n")[0].split())
    assert "SELECT 'narrow' AS x" in terminal.screen
    with Terminal("jobs", columns=80, SKEIN_DATA=stack.data) as terminal:
        assert terminal.wait() == 0
    assert "succeeded" in terminal.screen
