"""What people say about datasets, and finding them by it."""

import pyarrow as pa
import pytest

from tests.stack import skein_stack

FLIGHTS = "/api/v1/datasets/flights"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with skein_stack(tmp_path_factory.mktemp("data")) as stack:
        for name in ("flights", "flights_rejected", "zipcodes"):
            stack.write(name, pa.table({"origin": ["SEA"], "delay": [1]}))
        yield stack


@pytest.fixture
def client(stack):
    with stack.http(timeout=60) as client:
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
