"""Derived datasets on a real server: freshness, bursts, graphs, failures, restarts, lineage."""

import json

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.domain.access import ALL_RIGHTS, LOCAL
from flight_core.domain.dataset import DatasetName, WriteMode
from tests.protocol.http_stack import until
from tests.stack import skein_stack

WAIT = {"Prefer": "wait=60"}


@pytest.fixture
def stack(tmp_path):
    with skein_stack(tmp_path, refresh_delay_s=0.2) as stack:
        stack.write("a", pa.table({"x": [1, 2, 3]}))
        yield stack


@pytest.fixture
def client(stack):
    with stack.http(timeout=80) as client:
        yield client


def define(client, name, sql, **fields):
    return client.put(f"/api/v1/datasets/{name}/derivation", json={"sql": sql, **fields})


def state_of(client, name):
    return client.get(f"/api/v1/datasets/{name}/derivation").json()


def is_fresh(client, name):
    until(lambda: state_of(client, name)["state"] == "fresh", deadline_s=60)
    return state_of(client, name)


def rows(client, sql):
    return client.post("/api/v1/query", json={"sql": sql}).json()["rows"]


def put(flight, name, table):
    """A server that refuses may be heard already while rows are written."""
    writer, _ = flight.do_put(fl.FlightDescriptor.for_path(name), table.schema)
    writer.write_table(table)
    writer.close()


def runs_of(client, name):
    return client.get("/api/v1/ingestions", params={"dataset": name}).json()["items"]


def test_a_change_of_the_input_reaches_the_derived_dataset_by_itself(stack, client):
    assert define(client, "b", "SELECT sum(x) AS s FROM a WHERE x > ?", params=[1]).status_code == 200
    first = is_fresh(client, "b")
    assert (first["version"], first["inputs"]) == (0, [{"name": "a", "used": 0, "current": 0}])
    assert first["run"]["kind"] == "derived"
    stack.write("a", pa.table({"x": [10]}))
    until(lambda: rows(client, "SELECT s FROM b") == [{"s": 15}], deadline_s=60)
    assert is_fresh(client, "b")["inputs"] == [{"name": "a", "used": 1, "current": 1}]
    kinds = [(stored.event.kind, stored.event.subject) for stored in stack.skein.events.after(0)]
    assert ("derivation.set", "b") in kinds
    assert kinds.count(("dataset.committed", "b")) == 2


def test_rows_are_stored_in_the_order_of_the_statement(stack, client):
    numbers = [7919 * i % 200_003 for i in range(200_000)]  # several row groups
    stack.write("a", pa.table({"x": numbers}), WriteMode.REPLACE)
    define(client, "b", "SELECT x FROM a ORDER BY x DESC")
    is_fresh(client, "b")
    window = client.get("/api/v1/datasets/b/rows", params={"offset": 120_000, "limit": 3}).json()["rows"]
    assert [row["x"] for row in window] == sorted(numbers, reverse=True)[120_000:120_003]


def test_a_burst_of_changes_goes_through_a_diamond_once(stack, client):
    for name, sql in (
        ("b", "SELECT count(*) AS n FROM a"),
        ("c", "SELECT sum(x) AS s FROM a"),
    ):
        define(client, name, sql)
        is_fresh(client, name)
    define(client, "d", "SELECT n, s FROM b, c")
    is_fresh(client, "d")
    before = {name: len(runs_of(client, name)) for name in "bcd"}
    for _ in range(5):
        stack.write("a", pa.table({"x": [1]}))
    until(lambda: rows(client, "SELECT n, s FROM d") == [{"n": 8, "s": 11}], deadline_s=60)
    assert all(is_fresh(client, name) for name in "bcd")
    assert {name: len(runs_of(client, name)) - before[name] for name in "bcd"} == {"b": 1, "c": 1, "d": 1}


def test_a_cycle_is_refused_when_it_is_defined(client):
    define(client, "b", "SELECT x FROM a")
    is_fresh(client, "b")
    refused = define(client, "a", "SELECT x FROM b")
    assert (refused.status_code, refused.json()["code"]) == (400, "derivation_cycle")
    assert refused.json()["details"]["cycle"] == ["a", "b", "a"]
    assert client.get("/api/v1/datasets/a/derivation").json()["code"] == "derivation_not_found"


@pytest.mark.parametrize(
    ("sql", "code"),
    [("DROP TABLE a", "statement_not_allowed"), ("SELECT * FROM nobody", "dataset_not_found")],
)
def test_what_cannot_be_run_is_refused_when_it_is_defined(client, sql, code):
    assert define(client, "b", sql).json()["code"] == code


def test_an_input_that_is_defined_and_not_made_yet_is_told_as_such(stack, client):
    assert define(client, "Middle", "SELECT x FROM a", refresh="manual").status_code < 300
    refused = define(client, "last", "SELECT x FROM middle").json()
    assert refused["code"] == "dataset_not_found"
    assert "'Middle' is defined, but has no version yet" in refused["detail"]
    client.post("/api/v1/datasets/Middle/derivation/refresh", headers=WAIT)
    assert define(client, "last", "SELECT x FROM middle").status_code < 300


def test_a_failure_is_shown_and_not_repeated_before_the_input_changes(stack, client):
    define(client, "b", "SELECT CASE WHEN count(*) > 3 THEN error('too many') ELSE 1 END AS ok FROM a")
    is_fresh(client, "b")
    stack.write("a", pa.table({"x": [4]}))
    until(lambda: state_of(client, "b")["state"] == "failed", deadline_s=60)
    failed = state_of(client, "b")
    assert failed["run"]["error"]["code"] == "query_failed"
    assert (failed["will_refresh"], failed["version"], len(runs_of(client, "b"))) == (False, 0, 2)
    assert stack.skein.refresh_due() == 0
    stack.write("a", pa.table({"x": [1]}), WriteMode.REPLACE)
    assert is_fresh(client, "b")["version"] == 1


def test_by_hand_it_is_made_when_somebody_asks(stack, client):
    assert define(client, "b", "SELECT count(*) AS n FROM a", refresh="manual").json()["state"] == "new"
    run = client.post("/api/v1/datasets/b/derivation/refresh", headers=WAIT).json()
    assert (run["state"], run["version"]) == ("succeeded", 0)
    stack.write("a", pa.table({"x": [4]}))
    stale = state_of(client, "b")
    assert (stale["state"], stale["will_refresh"]) == ("stale", False)
    assert client.post("/api/v1/datasets/b/derivation/refresh", headers=WAIT).json()["version"] == 1
    assert rows(client, "SELECT n FROM b") == [{"n": 4}]


def test_a_dropped_input_is_named_and_its_return_is_noticed(stack, client):
    define(client, "b", "SELECT count(*) AS n FROM a")
    is_fresh(client, "b")
    client.delete("/api/v1/datasets/a")
    broken = state_of(client, "b")
    assert (broken["state"], broken["missing"]) == ("broken", ["a"])
    refused = client.post("/api/v1/datasets/b/derivation/refresh")
    assert (refused.status_code, refused.json()["code"]) == (404, "dataset_not_found")
    stack.write("a", pa.table({"x": [1]}))
    until(lambda: rows(client, "SELECT n FROM b") == [{"n": 1}], deadline_s=60)


def test_without_its_derivation_a_dataset_stays_as_it_is(stack, client):
    define(client, "b", "SELECT count(*) AS n FROM a")
    is_fresh(client, "b")
    assert client.delete("/api/v1/datasets/b/derivation").status_code == 204
    assert client.delete("/api/v1/datasets/b/derivation").status_code == 404
    stack.write("a", pa.table({"x": [4]}))
    assert stack.skein.refresh_due() == 0
    assert rows(client, "SELECT n FROM b") == [{"n": 3}]
    again = client.post("/api/v1/datasets/b/refresh")
    assert (again.status_code, again.json()["code"]) == (400, "invalid_request")
    assert again.json()["detail"].startswith("nothing that was ingested into 'b' is known")


def test_a_restart_takes_up_what_had_changed_meanwhile(tmp_path):
    with skein_stack(tmp_path) as stack, stack.http(timeout=80) as client:
        stack.write("a", pa.table({"x": [1]}))
        define(client, "b", "SELECT count(*) AS n FROM a")
        is_fresh(client, "b")
    with skein_stack(tmp_path, roles={"flight"}) as stack:
        stack.write("a", pa.table({"x": [2]}))
    with skein_stack(tmp_path) as stack, stack.http(timeout=80) as client:
        until(lambda: rows(client, "SELECT n FROM b") == [{"n": 2}], deadline_s=60)


def test_nobody_else_writes_to_a_derived_dataset_at_any_door(stack, client):
    define(client, "b", "SELECT count(*) AS n FROM a")
    is_fresh(client, "b")
    stack.write("a", pa.table({"x": [4]}))
    is_fresh(client, "b")
    ingestion = {"dataset": "b", "source": {"kind": "sql", "sql": "SELECT 1 AS n"}}
    for refused in (
        client.post("/api/v1/ingestions", json=ingestion),
        client.post("/api/v1/schedules", json={"name": "s", "every_s": 60, "ingestion": ingestion}),
        client.post("/api/v1/datasets/b/restore", json={"version": "v0"}),
        client.post("/api/v1/datasets/b/delete", json={"where": "n > 0"}),
    ):
        assert (refused.status_code, refused.json()["code"]) == (409, "dataset_derived"), refused.text
    table = pa.table({"n": [9]})
    with stack.flight() as flight, pytest.raises(pa.ArrowInvalid, match="dataset_derived"):
        put(flight, "b", table)
    with stack.cursor() as cursor:
        for sql in (
            "INSERT INTO datasets.b VALUES (9)",
            "CREATE OR REPLACE TABLE datasets.b AS SELECT 9 AS n",
            "DELETE FROM datasets.b",
        ):
            with pytest.raises(adbc.Error, match="dataset_derived"):
                cursor.execute(sql)
        with pytest.raises(adbc.Error, match="dataset_derived"):
            cursor.adbc_ingest("b", table, mode="append", db_schema_name="datasets")
    assert rows(client, "SELECT n FROM b") == [{"n": 4}]
    client.delete("/api/v1/datasets/b/derivation")
    assert client.post("/api/v1/datasets/b/restore", json={"version": "v0"}).status_code == 200


class Incremental:
    """`b`, made of the rows of `a` that are larger than 1, and what its runs did."""

    def __init__(self, stack, client):
        self.stack, self.client, self.held = stack, client, [1, 2, 3]
        self.define("SELECT x, x * 2 AS y FROM a WHERE x > 1")

    def define(self, sql):
        answer = define(self.client, "b", sql, refresh="manual", incremental="append")
        assert answer.json()["incremental"] == "append", answer.text

    def change(self, how, *values):
        """To the input; then a run. What it did, and whether the rows are right."""
        if how == "compact":
            self.stack.skein.compact(DatasetName("a"), actor=LOCAL, everything=True)
        elif how == "delete":
            self.client.post("/api/v1/datasets/a/delete", json={"where": "x = ?", "params": list(values)})
            self.held = [x for x in self.held if x not in values]
        else:
            mode = WriteMode.APPEND if how == "append" else WriteMode.REPLACE
            self.stack.write("a", pa.table({"x": list(values)}), mode)
            self.held = (self.held if how == "append" else []) + list(values)
        return self.run()

    def run(self):
        run = self.client.post("/api/v1/datasets/b/derivation/refresh", headers=WAIT).json()
        assert run["state"] == "succeeded", run
        found = rows(self.client, "SELECT x, y FROM b ORDER BY x")
        assert found == [{"x": x, "y": x * 2} for x in sorted(self.held) if x > 1]
        version = self.client.get("/api/v1/datasets/b/versions").json()["items"][0]
        return version["operation"], version["added_rows"]


def test_an_incremental_run_reads_what_was_added_and_all_where_more_has_changed(stack, client):
    made = Incremental(stack, client)
    assert made.run() == ("create", 2)
    assert made.change("append", 0, 5) == ("append", 1)
    stack.write("a", pa.table({"x": [7]}))
    made.held += [7]
    assert made.change("append", 8, 9) == ("append", 3)
    stack.skein.compact(DatasetName("b"), actor=LOCAL, everything=True)
    assert made.change("append", 10) == ("append", 1)
    assert made.change("delete", 5)[0] == "replace"
    assert made.change("append", 11) == ("append", 1)
    assert made.change("compact")[0] == "replace"
    assert made.change("replace", 20, 21) == ("replace", 2)
    made.define("SELECT x, x + x AS y FROM a WHERE x > 1")
    assert made.change("append", 22) == ("replace", 3)
    assert made.run() == ("append", 0)
    lineage = client.get("/api/v1/datasets/b/lineage", params={"depth": 1}).json()
    assert {edge["kind"] for edge in lineage["edges"]} == {"input", "previous"}


NOT_ROW_BY_ROW = (
    "SELECT sum(x) FROM a",
    "SELECT DISTINCT x FROM a",
    "SELECT x FROM a LIMIT 1",
    "SELECT x, row_number() OVER () FROM a",
    "SELECT a.x FROM a JOIN a b USING (x)",
    "SELECT x, random() FROM a",
    'SELECT x FROM "a@v0"',
    "SELECT 1 AS x",
)


def test_what_is_not_row_by_row_cannot_be_incremental(client):
    for sql in NOT_ROW_BY_ROW:
        refused = define(client, "b", sql, incremental="append")
        assert refused.json()["code"] == "invalid_option", sql
        assert "each row has to come from one row" in refused.json()["detail"]


def test_of_two_that_start_the_same_run_one_does(stack, client):
    define(client, "b", "SELECT count(*) AS n FROM a", refresh="manual")
    refresh = stack.skein.control.derivations.refresh
    (derivation,) = refresh.derivations.list()
    started = [refresh.start(derivation, actor="local", rights=ALL_RIGHTS) for _ in range(2)]
    assert [run is not None for run in started] == [True, False]
    assert len(runs_of(client, "b")) == 1


def test_lineage_goes_up_to_the_sources_and_down_to_what_was_made(stack, client):
    stack.write("a", pa.table({"x": [4]}))
    define(client, "b", "SELECT x FROM a")
    is_fresh(client, "b")
    define(client, "c", 'SELECT x FROM b UNION ALL SELECT x FROM "a@v0"')
    is_fresh(client, "c")
    up = client.get("/api/v1/datasets/c/lineage").json()
    names = {node["id"]: f"{node['dataset']}@{node['version']}" for node in up["nodes"]}
    edges = {(names[edge["from"]], names[edge["to"]], edge["kind"]) for edge in up["edges"]}
    assert edges == {
        ("b@0", "c@0", "input"),
        ("a@0", "c@0", "input"),
        ("a@1", "b@0", "input"),
        ("a@0", "a@1", "previous"),
    }
    assert up["nodes"][0]["dataset"] == "c"
    near = client.get("/api/v1/datasets/c/lineage", params={"depth": 1}).json()
    assert (len(near["nodes"]), near["truncated"]) == (3, True)
    down = client.get("/api/v1/datasets/a/lineage", params={"direction": "down", "version": "0"}).json()
    assert {node["dataset"] for node in down["nodes"]} == {"a", "b", "c"}
    info = client.get("/api/v1/datasets/c/lineage").json()["nodes"][0]
    assert info["job"] == runs_of(client, "c")[0]["id"]
    assert json.dumps(info["source"]) == '"derived over a@v0, b@v0"'
