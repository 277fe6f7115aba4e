"""Contracts over HTTP, from the first draft to the replay of what they rejected."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pyarrow as pa
import pytest

from schemas.contracts import Contract
from tests.e2e.commands import skein
from tests.stack import skein_stack, until

JSON = {"Content-Type": "application/json"}
CSV = "id,price\n1,1.5\n2,-1\n3,free\n"
CONTRACT = {
    "columns": [
        {"name": "id", "type": "int64", "nullable": False},
        {"name": "price", "type": "float64", "ge": 0},
    ],
    "unique": [{"columns": ["id"]}],
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    files = tmp_path_factory.mktemp("files")
    (files / "orders.csv").write_text(CSV)
    with skein_stack(tmp_path_factory.mktemp("data"), ingest_roots=str(files)) as stack:
        yield stack


@pytest.fixture
def http(stack):
    with stack.http(timeout=60) as http:
        yield http


def url(name: str, *rest: str) -> str:
    return "/".join(("/api/v1/datasets", name, *rest))


def ingested(http, name: str, **request) -> dict:
    body = {"dataset": name, "source": {"kind": "file", "path": "orders.csv"}, **request}
    reply = http.post("/api/v1/ingestions", json=body, headers={"Prefer": "wait=30"})
    assert reply.status_code == 202, reply.text
    return reply.json()


def checked(http, name: str, contract: dict) -> dict:
    """The job, once it has ended."""
    reply = http.post(url(name, "contract", "check"), json=contract, headers={"Prefer": "wait=60"})
    assert (reply.status_code, reply.json()["state"]) == (202, "succeeded"), reply.text
    assert reply.headers["Location"] == reply.json()["href"]
    return reply.json()


def test_a_contract_is_kept_in_versions_before_there_is_a_dataset(http):
    assert http.get(url("early", "contract")).json()["code"] == "contract_not_found"
    first = http.put(url("early", "contract"), json=CONTRACT)
    assert (first.status_code, first.json()["version"]) == (200, 1)
    assert http.put(url("early", "contract"), json={}).json()["version"] == 2
    assert http.put(url("early", "contract"), json={}).json()["version"] == 2
    old = http.get(url("early", "contract"), params={"version": 1}).json()
    assert old["contract"]["columns"][1]["ge"] == 0
    assert http.delete(url("early", "contract")).status_code == 204
    assert http.delete(url("early", "contract")).status_code == 404


@pytest.mark.parametrize(
    ("contract", "what"),
    [
        ({"columns": [{"name": "a", "type": "integer"}]}, "'integer'"),
        ({"columns": [{"name": "a", "type": "int64", "ge": "x"}]}, "a.ge"),
        ({"columns": [{"name": "a", "ge": 1}]}, "no type"),
        ({"columns": [{"name": "a", "type": "string", "pattern": "("}]}, "a.pattern"),
        ({"columns": [{"name": "a", "type": "int64", "pattern": "x"}]}, "'string'"),
        ({"columns": [{"name": "a"}, {"name": "A"}]}, "same name"),
        ({"columns": [{"name": "a", "severities": {"speed": "warn"}}]}, "'speed'"),
        ({"unique": [{"columns": ["a"]}]}, "'a'"),
        ({"freshness": {"column": "a", "max_age_s": 1}}, "'a'"),
        ({"rules": [{"name": "r", "expression": "a >"}]}, "character 4"),
        ({"rules": [{"name": "r", "expression": "a > 1"}]}, "'a'"),
        ({"rules": [{"name": "r", "expression": "1 + 1"}]}, "bool is expected"),
        ({"rules": [{"name": "r", "expression": "read_csv('x') = 1"}]}, "no function"),
        (
            {"columns": [{"name": "d", "type": "date"}], "rules": [{"name": "r", "expression": "d = 1"}]},
            "date",
        ),
    ],
)
def test_a_contract_that_nothing_could_be_checked_by_is_refused(http, contract, what):
    reply = http.put(url("wrong", "contract"), json=contract)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_contract")
    assert what in reply.json()["detail"]


def test_a_document_of_another_form_and_a_quarantine_are_refused(http):
    reply = http.put(url("wrong", "contract"), json={"colums": []})
    assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, "/colums")
    reply = http.put(url("wrong_rejects", "contract"), json={})
    assert reply.json()["code"] == "invalid_dataset_name"


def test_rows_are_rejected_counted_found_in_sql_and_replayed(http):
    http.put(url("orders", "contract"), json=CONTRACT)
    job = ingested(http, "orders")
    assert (job["state"], job["rows"], job["rejected_rows"], job["contract_version"]) == (
        "succeeded",
        1,
        2,
        1,
    )
    assert {(rule["column"], rule["rule"], rule["rows"]) for rule in job["rules"]} == {
        ("price", "ge", 1),
        ("price", "type", 1),
    }
    stored = http.get(url("orders", "contract")).json()
    assert (stored["rejects"], stored["rejected_rows"]) == ("orders_rejects", 2)
    sql = "SELECT row, rules[1] AS rule, raw['price'] AS price FROM orders_rejects ORDER BY row"
    assert http.post("/api/v1/query", json={"sql": sql}).json()["rows"] == [
        {"row": 2, "rule": "price.ge", "price": "-1"},
        {"row": 3, "rule": "price.type", "price": "free"},
    ]
    relaxed = {**CONTRACT, "columns": [CONTRACT["columns"][0], {"name": "price", "type": "float64"}]}
    http.put(url("orders", "contract"), json=relaxed)
    replay = http.post(url("orders", "rejects", "replay"))
    assert replay.status_code == 202
    job = http.get(replay.headers["Location"], headers={"Prefer": "wait=30"}).json()
    assert (job["state"], job["kind"], job["rejected_rows"]) == ("succeeded", "rejects", 1), job
    assert http.get(url("orders")).json()["rows"] == 2
    assert http.get(url("orders_rejects")).json()["rows"] == 1


def test_what_is_there_can_be_checked_by_a_contract_on_trial(http, stack):
    stack.write("trial", pa.table({"id": [1, 1, None], "price": [1.0, -2.0, 3.0]}))
    proposed = http.post(url("trial", "contract", "infer")).json()
    assert [(column["name"], column["type"], column["nullable"]) for column in proposed["columns"]] == [
        ("id", "int64", True),
        ("price", "double", False),
    ]
    assert checked(http, "trial", proposed)["result"]["rejected_rows"] == 0
    stack.write("grown", pa.table({"price": ["x"]}))  # by two writers, and of two schemas
    assert ingested(http, "grown", schema_policy="add")["error"] is None
    assert checked(http, "grown", {})["result"]["rows"] == 1 + 3
    assert proposed["columns"][1]["ge"] is None
    job = checked(http, "trial", {**CONTRACT, "limits": {"max_rejected_rows": 1}})
    report = job["result"]
    assert (job["state"], job["task"], job["version"], job["unchanged"]) == (
        "succeeded",
        "check",
        None,
        False,
    )
    assert (report["version"], report["contract_version"]) == (0, 0)
    assert "2 of 3 rows" in report["violation"]
    assert (report["rows"], report["rejected_rows"]) == (3, 2)
    assert {rule["rule"] for rule in report["rules"]} == {"not_null", "ge"}
    assert http.get("/api/v1/jobs", params={"task": "check"}).json()["items"][0]["id"] == job["id"]
    assert http.post(url("trial", "contract", "check")).json()["code"] == "contract_not_found"
    assert http.get(url("trial")).json()["versions"][0]["version"] == 0


def test_the_names_of_quarantines_are_refused_and_nothing_rejected_is_not_replayed(http):
    body = {"dataset": "x_rejects", "source": {"kind": "file", "path": "orders.csv"}}
    assert http.post("/api/v1/ingestions", json=body).json()["code"] == "invalid_dataset_name"
    assert http.post(url("nobody", "rejects", "replay")).json()["code"] == "dataset_not_found"


def test_a_contract_is_proposed_from_keys_values_and_forms_and_the_rows_keep_it(http, stack):
    count = 40
    rows = {
        "twice": [number // 2 for number in range(count)],
        "id": [f"{number:05}" for number in range(count)],
        "state": ["open", "paid", None, "sent"] * (count // 4),
        "mail": [f"p{number % 7}@example.org" for number in range(count)],
        "note": [f"note {number % 20}" for number in range(count)],
        "share": [number / count for number in range(count)],
        "cold": [float(number - 3) for number in range(count)],
        "odd": [float("nan"), *[1.0] * (count - 1)],
        "nested": [[number] for number in range(count)],
        "empty": pa.nulls(count, pa.string()),
    }
    stack.write("seen", pa.table(rows))
    proposed = http.post(url("seen", "contract", "infer")).json()
    plain = {"description": "", "severity": "reject", "severities": {}}
    said = {
        column.pop("name"): {
            member: value
            for member, value in column.items()
            if value not in (None, []) and member not in plain
        }
        for column in proposed["columns"]
    }
    assert said == {
        "twice": {"type": "int64", "nullable": False, "ge": 0},
        "id": {"type": "string", "nullable": False, "pattern": "^[0-9]{5}$"},
        "state": {"type": "string", "nullable": True, "enum": ["open", "paid", "sent"]},
        "mail": {"type": "string", "nullable": False, "pattern": "^[^@ ]+@[^@ ]+[.][^@ ]+$"},
        "note": {"type": "string", "nullable": False, "min_length": 1},
        "share": {"type": "double", "nullable": False, "ge": 0, "le": 1},
        "cold": {"type": "double", "nullable": False},
        "odd": {"type": "double", "nullable": False},
        "nested": {"nullable": False},
        "empty": {"type": "string", "nullable": True},
    }
    assert [key["columns"] for key in proposed["unique"]] == [["id"]]
    proposed = http.post(url("seen", "contract", "infer")).json()
    report = checked(http, "seen", proposed)["result"]
    assert (report["violation"], report["rows"], report["rejected_rows"]) == (None, count, 0), report


def test_a_proposal_that_takes_long_is_the_result_of_a_job(http, stack, monkeypatch):
    stack.write("large", pa.table({"twice": [1, 1, 2], "id": [1, 2, 3]}))
    at_once = http.post(url("large", "contract", "infer"))
    assert (at_once.status_code, at_once.json()["unique"]) == (
        200,
        [{"columns": ["id"], "severity": "reject"}],
    )
    monkeypatch.setattr("flight_core.application.profiles.profile._QUICK_CELLS", 5)  # there are six
    asked = http.post(url("large", "contract", "infer"), headers={"Prefer": "wait=60"})
    job = asked.json()
    assert (asked.status_code, job["task"], job["state"]) == (202, "infer", "succeeded"), asked.text
    assert job["result"] == {"version": 0, "contract": at_once.json()}
    assert http.get(asked.headers["Location"]).json() == job
    shown = skein("contract", "infer", "large", "--json", SKEIN_DATA=stack.data)
    assert json.loads(shown.stdout) == at_once.json(), shown.stderr
    draft = skein("contract", "infer", "large", SKEIN_DATA=stack.data).stdout
    assert Contract.model_validate_json(draft) == Contract.model_validate(at_once.json())
    assert "null," not in draft
    assert '"severity"' not in draft
    known = http.get("/api/v1/jobs", params={"dataset": "large", "task": "infer"}).json()["items"]
    assert len(known) == 3


@pytest.mark.parametrize(
    "contract",
    [
        {"columns": [{"name": "who", "type": "string", "pattern": "\ud800"}]},
        {"columns": [{"name": "\ud800"}]},
        {"rules": [{"name": "r", "expression": "id = '\ud800'"}]},
        {"description": "\ud800"},
    ],
)
def test_half_characters_are_refused(http, contract):
    reply = http.put(url("halves", "contract"), content=json.dumps(contract), headers=JSON)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request"), reply.text
    assert "lone surrogate" in reply.json()["detail"]


def test_checks_on_trial_do_not_fill_the_queue(http, monkeypatch):
    monkeypatch.setattr("flight_core.application.contracts.checks._MOST_WAITING", 2)
    ingested(http, "tried")

    def tried(limit: int) -> httpx.Response:
        contract = {"columns": [{"name": "id", "type": "int64", "ge": limit}]}
        return http.post(url("tried", "contract", "check"), json=contract)

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(tried, range(16)))
    refused = [reply for reply in replies if reply.status_code != 202]
    assert {reply.json()["code"] for reply in refused} == {"too_many_requests"}
    assert {reply.headers["Retry-After"] for reply in refused} == {"10"}
    for reply in replies:
        if reply.status_code == 202:
            until(lambda reply=reply: http.get(reply.json()["href"]).json()["finished_at"])
    assert tried(99).status_code == 202
