"""`skein schedule ...` against a real server, from the first run to the last."""

import json

import pytest

from tests.e2e.commands import skein
from tests.stack import skein_stack, until


@pytest.fixture
def files(tmp_path):
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def stack(tmp_path, files):
    with skein_stack(tmp_path / "data", ingest_roots=str(files)) as stack:
        yield stack


def test_a_schedule_from_its_first_run_to_its_removal(stack, files):
    def run(*arguments):
        done = skein("schedule", *arguments, SKEIN_DATA=stack.data)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def listed():
        return json.loads(run("list", "--json"))

    def rows():
        with stack.http() as client:
            sql = {"sql": "SELECT * FROM stock ORDER BY id"}
            return client.post("/api/v1/query", json=sql).json()["rows"]

    path = files / "stock.csv"
    path.write_text("id;zip;n\n1;01067;5\n2;10115;7\n")
    options = ["--mode", "upsert", "--key", "id", "--type", "zip=string", "-m", "nightly"]
    added = run("add", "stock", path, "--as", "stock", "--every", "1d", *options, "--option", "delimiter=;")
    assert added.startswith("stock: every 1d, next at ")
    with stack.http() as client:
        until(lambda: client.get("/api/v1/datasets/stock").status_code == 200)
    assert rows() == [{"id": 1, "zip": "01067", "n": 5}, {"id": 2, "zip": "10115", "n": 7}]

    assert run("pause", "stock") == "stock: every 1d, paused\n"
    path.write_text("id;zip;n\n2;10115;8\n3;80331;9\n")
    assert "version 1" in run("run", "stock")
    assert [row["n"] for row in rows()] == [5, 8, 9]
    assert run("change", "stock", "--cron", "0 6 * * *") == "stock: 0 6 * * * (UTC), paused\n"
    assert "next at " in run("resume", "stock")
    (entry,) = listed()
    assert (entry["paused"], entry["cron"], entry["last_run"]["version"]) == (False, "0 6 * * *", 1)
    table = run("list")
    assert all(text in table for text in ("stock", "file", "0 6 * * *", "version 1"))
    with stack.http() as client:
        history = client.get("/api/v1/datasets/stock/versions").json()["items"]
    assert {entry["message"] for entry in history} == {"nightly"}

    assert run("remove", "stock") == "removed 'stock'; what it has ingested stays\n"
    assert listed() == []
    assert len(rows()) == 3


def test_what_cannot_repeat_is_told(stack, files):
    (files / "a.csv").write_text("n\n1\n")
    add = ("schedule", "add", "s", files / "a.csv", "--as", "d")
    for arguments, told in (
        ((*add, "--every", "often"), "'often' is no time"),
        ((*add, "--every", "30"), "'30' is no time; write 30d, 12h, 45m or 90s"),
        ((*add, "--every", "1d", "--mode", "create"), "cannot be 'create'"),
        ((*add, "--every", "1d", "--mode", "upsert"), "[invalid_"),
        (("schedule", "run", "s"), "[schedule_not_found]"),
    ):
        refused = skein(*arguments, SKEIN_DATA=stack.data)
        assert (refused.returncode, refused.stdout) == (1, ""), arguments
        assert told in refused.stderr
