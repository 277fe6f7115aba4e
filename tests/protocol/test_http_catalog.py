"""What people say about datasets, and finding them by it."""

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.domain.access import LOCAL, Actor, Scope
from flight_core.domain.dataset import DatasetName
from flight_core.domain.query import Statement
from tests.protocol.http_stack import until
from tests.stack import skein_stack

FLIGHTS = "/api/v1/datasets/flights"


@pytest.fixture(scope="module")
def stack(stack):
    for name in ("flights", "flights_rejected", "zipcodes"):
        stack.write(name, pa.table({"origin": ["SEA"], "delay": [1]}))
    return stack


@pytest.fixture
def client(stack):
    # As they are: a compressed text has an ETag of its own.
    with stack.http(timeout=60, headers={"Accept-Encoding": "identity"}) as client:
        yield client


def change(client, path, body, etag="*"):
    return client.patch(path, json=body, headers={"If-Match": etag})


def names(client, **parameters):
    return [each["name"] for each in client.get("/api/v1/datasets", params=parameters).json()["items"]]


def test_a_patch_changes_what_it_names_and_nothing_else(client):
    body = {"description": "To the moon", "tags": ["a", "b", "A"], "owners": ["me"]}
    changed = change(client, FLIGHTS, {**body, "columns": {"DELAY": "Minutes", "origin": "From"}})
    assert changed.status_code == 200
    assert changed.json()["tags"] == ["a", "b"]
    assert change(client, FLIGHTS, {"tags": None, "columns": {"origin": None}}).status_code == 200
    described = client.get(FLIGHTS).json()
    assert (described["description"], described["tags"], described["owners"]) == ("To the moon", [], ["me"])
    assert {each["name"]: each["description"] for each in described["columns"]} == {
        "origin": "",
        "delay": "Minutes",
    }
    assert described["current_version"] == client.get(FLIGHTS).json()["version"]


def test_a_patch_without_a_condition_is_refused(client):
    refused = client.patch(FLIGHTS, json={"description": "x"})
    assert (refused.status_code, refused.json()["code"]) == (428, "precondition_required")


def test_the_etag_changes_with_the_description_and_guards_it(client):
    etag = client.get(FLIGHTS).headers["etag"]
    changed = change(client, FLIGHTS, {"description": "first"}, etag)
    assert changed.headers["etag"] == client.get(FLIGHTS).headers["etag"] != etag
    assert client.get(FLIGHTS, headers={"If-None-Match": etag}).json()["description"] == "first"
    assert change(client, FLIGHTS, {"description": "second"}, etag).status_code == 412
    assert client.get(FLIGHTS).json()["description"] == "first"


def test_faults_are_named(client):
    refused = change(client, FLIGHTS, {"columns": {"delya": "x"}})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_option")
    assert "delya" in refused.json()["detail"]
    refused = change(client, FLIGHTS, {"tags": ["two words"]})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/tags/0")


def test_a_search_wants_all_words_and_shows_the_best_first(client):
    change(client, "/api/v1/datasets/zipcodes", {"description": "no flights here", "tags": ["Geo"]})
    assert names(client, q="flights") == ["flights", "flights_rejected", "zipcodes"]
    assert names(client, q="FLIGHTS here") == ["zipcodes"]
    assert names(client, q="flights nowhere") == []
    assert names(client, tag="geo") == ["zipcodes"]
    assert names(client, owner="nobody") == []


def test_pages_of_a_search_keep_its_order(client):
    page = client.get("/api/v1/datasets", params={"q": "flights", "limit": 1}).json()
    found = [page["items"][0]["name"]]
    while page["next"] is not None:
        page = client.get(page["next"]).json()
        found += [each["name"] for each in page["items"]]
    assert found == names(client, q="flights")


def test_new_versions_keep_what_was_said(stack, client):
    change(client, FLIGHTS, {"description": "kept", "owners": ["me"]})
    stack.write("flights", pa.table({"origin": ["SFO"], "delay": [2]}))
    described = client.get(FLIGHTS).json()
    assert (described["description"], described["owners"]) == ("kept", ["me"])


def test_many_datasets_change_at_once_and_each_tells_how_it_went(client):
    before = client.get("/api/v1/datasets/zipcodes").json()["description"]
    items = [
        {"name": "flights", "if_match": etag_in_list(client, "flights"), "change": {"tags": ["bulk"]}},
        {"name": "zipcodes", "if_match": '"another"', "change": {"description": "lost"}},
        {"name": "flihgts", "if_match": "*", "change": {"description": "lost"}},
        {"name": "flights_rejected", "if_match": "*", "change": {"columns": {"nope": "x"}}},
        {"name": "FLIGHTS", "if_match": "*", "change": {"owners": ["bulk"]}},
    ]
    reply = client.patch("/api/v1/datasets", json={"items": items})
    outcomes = reply.json()["items"]
    assert [each["status"] for each in outcomes] == [200, 412, 404, 400, 200]
    assert [each["problem"]["code"] for each in outcomes[1:4]] == [
        "precondition_failed",
        "dataset_not_found",
        "invalid_option",
    ]
    flights = client.get(FLIGHTS)
    assert (flights.json()["tags"], flights.json()["owners"]) == (["bulk"], ["bulk"])
    assert flights.headers["etag"] == outcomes[4]["dataset"]["etag"] == etag_in_list(client, "flights")
    assert client.get("/api/v1/datasets/zipcodes").json()["description"] == before
    assert client.patch("/api/v1/datasets", json={"items": []}).status_code == 422


def etag_in_list(client, name):
    items = client.get("/api/v1/datasets").json()["items"]
    return next(each["etag"] for each in items if each["name"] == name)


def test_links_lead_to_what_else_there_is(client):
    described = client.get(FLIGHTS).json()
    assert described["links"] == client.get("/api/v1/datasets").json()["items"][0]["links"]
    assert described["links"]["self"] == described["href"] == FLIGHTS
    for name, path in described["links"].items():
        expected = 404 if name in ("contract", "derivation") else 200  # it has none
        assert client.get(path).status_code == expected, name


def test_a_sample_has_a_few_rows_of_anywhere_in_any_form(stack, client):
    stack.write("numbers", pa.table({"n": range(100_000), "m": range(100_000)}))
    url = "/api/v1/datasets/numbers/sample"
    found = [client.get(url, params={"rows": 20, "columns": "n"}).json()["rows"] for _ in range(2)]
    assert [len({row["n"] for row in rows}) for rows in found] == [20, 20]
    assert found[0] != found[1]
    assert max(row["n"] for row in found[0]) > 20
    arrow = client.get(url, headers={"Accept": "application/vnd.apache.arrow.stream"})
    table = pa.ipc.open_stream(arrow.content).read_all()
    assert (table.num_rows, table.column("m")) == (10, table.column("n"))
    assert client.get(url, params={"rows": 1001}).status_code == 422
    assert client.get("/api/v1/datasets/nope/sample").status_code == 404


def test_usage_tells_how_many_asked_through_any_door_and_when(tmp_path):
    with skein_stack(tmp_path) as stack, stack.http() as client, stack.flight() as flight:
        for name in ("read", "unread"):
            stack.write(name, pa.table({"n": [1, 2]}))
        entry, other = client.get("/api/v1/datasets").json()["items"]
        never = {"queries": 0, "identities": 0, "last_queried_at": None}
        assert (entry["usage"], other["usage"]) == (never, never)
        client.post("/api/v1/queries", json={"sql": "SELECT * FROM read, read AS again"})
        client.post("/api/v1/queries", json={"sql": "SELECT 1"})
        info = flight.get_flight_info(fl.FlightDescriptor.for_command(b"SELECT n FROM read"))
        flight.do_get(info.endpoints[0].ticket).read_all()
        use_cases = stack.skein.control
        reader = Actor("reader", frozenset({Scope.READ}))
        with use_cases.queries.open(Statement("SELECT n FROM read"), actor=reader, door="http") as query:
            list(query)
        until(lambda: all(record.finished_at for record in use_cases.queries.log.list()), deadline_s=30)
        usage = client.get("/api/v1/datasets/read/usage").json()
        assert (usage["queries"], usage["identities"]) == (3, 2)
        assert [(each["actor"], each["queries"]) for each in usage["by"]] == [("local", 2), ("reader", 1)]
        assert usage["last_queried_at"] == max(each["last_queried_at"] for each in usage["by"])
        total, seen = use_cases.datasets.get_usage(DatasetName("read"), actor=reader)
        assert (total.identities, [use.actor for use in seen]) == (2, ["reader"])
        assert client.get("/api/v1/datasets/unread/usage").json() == {"dataset": "unread", "by": [], **never}
    with skein_stack(tmp_path) as stack, stack.http() as client:
        assert client.get("/api/v1/datasets/read/usage").json() == usage
        client.delete("/api/v1/datasets/read")
        stack.write("read", pa.table({"n": [1]}))
        assert client.get("/api/v1/datasets/read/usage").json()["queries"] == 0
        assert stack.skein.control.datasets.get_usage(DatasetName("unread"), actor=LOCAL)[0].queries == 0
