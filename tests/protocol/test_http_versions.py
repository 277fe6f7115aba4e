"""Versions over HTTP: history, differences, restoring, tags, retention."""

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, WriteMode
from tests.stack import skein_stack

REPLACE = WriteMode.REPLACE


def people(**rows):
    return pa.table({"name": list(rows), "people": pa.array(list(rows.values()), pa.int32())})


@pytest.fixture(scope="module")
def stack(stack):
    stack.write("cities", people(Oslo=700, Rome=2800, Bonn=330))
    stack.write("cities", people(Oslo=717, Cairo=10_000, Bonn=330), REPLACE)
    return stack


@pytest.fixture
def client(stack):
    with stack.http() as client:
        client.base_url = f"{stack.http_url}/api/v1/datasets"
        yield client


@pytest.fixture
def fresh(stack, request):
    """A dataset of the test's own with three versions of one row each."""
    name = request.node.name[:100].replace("[", "_").replace("]", "")
    for number in range(3):
        stack.write(name, pa.table({"n": [number]}), REPLACE)
    return name


def sql(stack, text):
    with stack.http() as http:
        response = http.post("/api/v1/query", json={"sql": text})
        return response.json().get("rows", response.json().get("code"))


def test_a_diff_by_key_tells_what_was_added_removed_and_changed(client):
    diff = client.get("/cities/diff", params={"from": "v0", "to": 1, "key": "NAME"}).json()
    assert (diff["before"]["version"], diff["after"]["version"], diff["key"]) == (0, 1, ["name"])
    assert diff["columns"] == {"added": [], "removed": [], "retyped": []}
    assert diff["rows"] == {
        "added": 1,
        "removed": 1,
        "changed": 1,
        "unchanged": 1,
        "by_column": {"people": 1},
    }
    assert diff["sample"] == [
        {"change": "added", "key": {"name": "Cairo"}, "before": None, "after": {"people": 10_000}, "rows": 1},
        {
            "change": "changed",
            "key": {"name": "Oslo"},
            "before": {"people": 700},
            "after": {"people": 717},
            "rows": 1,
        },
        {"change": "removed", "key": {"name": "Rome"}, "before": {"people": 2800}, "after": None, "rows": 1},
    ]


def test_the_key_of_a_diff_is_that_of_the_contract_where_it_holds(stack, client):
    old, new = pa.table({"id": [1, 2], "v": ["a", "b"]}), pa.table({"id": [1, 2], "v": ["a", "c"]})
    for table in (old, new, pa.concat_tables([new, new])):
        stack.write("keyed", table, REPLACE)
    unique = [{"columns": ["gone"]}, {"columns": ["id"]}]
    contract = {"columns": [{"name": "id"}, {"name": "gone"}], "unique": unique}
    assert client.put("/keyed/contract", json=contract).is_success

    def diff(to, **key):
        return client.get("/keyed/diff", params={"from": 0, "to": to, **key}).json()

    assert (diff(1)["key"], diff(1)["rows"]["changed"]) == (["id"], 1)
    assert (diff(1, key="")["key"], diff(2)["key"]) == ([], [])


def test_a_diff_without_a_key_counts_whole_rows(client):
    diff = client.get("/cities/diff", params={"from": "v0", "limit": 1}).json()
    assert diff["rows"] == {"added": 2, "removed": 2, "changed": None, "unchanged": None, "by_column": None}
    assert diff["sample"] == [
        {
            "change": "added",
            "rows": 1,
            "key": None,
            "before": None,
            "after": {"name": "Cairo", "people": 10_000},
        }
    ]


def test_all_differences_can_be_read_as_arrow(client):
    response = client.get(
        "/cities/diff/rows",
        params={"from": "v0", "key": "name"},
        headers={"Accept": "application/vnd.apache.arrow.stream"},
    )
    table = pa.ipc.open_stream(response.content).read_all()
    assert table.column_names == ["change", "key", "before", "after"]
    assert sorted(zip(table["change"].to_pylist(), table["key"].to_pylist(), strict=True), key=str) == [
        ("added", {"name": "Cairo"}),
        ("changed", {"name": "Oslo"}),
        ("removed", {"name": "Rome"}),
    ]


def test_a_diff_tells_which_columns_changed(stack, client, fresh):
    stack.write(fresh, pa.table({"n": [2.5], "new": ["x"]}), REPLACE)
    diff = client.get(f"/{fresh}/diff", params={"from": "v2", "key": "n"}).json()
    assert diff["columns"] == {
        "added": [{"name": "new", "type": "string", "nullable": True, "description": ""}],
        "removed": [],
        "retyped": [{"name": "n", "before": "int64", "after": "double"}],
    }
    assert (diff["rows"]["added"], diff["rows"]["removed"]) == (1, 1)
    back = client.get(f"/{fresh}/diff", params={"from": "v3", "to": "v2"}).json()
    assert [column["name"] for column in back["columns"]["removed"]] == ["new"]


@pytest.mark.parametrize(
    ("parameters", "status", "code", "text"),
    [
        ({"from": "v0", "key": "nme"}, 400, "invalid_request", "'nme' is no column of both"),
        ({"from": "v9"}, 404, "version_not_found", "no version 9"),
        ({"from": "golden"}, 404, "tag_not_found", "no tag 'golden'"),
        ({"from": "a b"}, 404, "version_not_found", "not a version"),
        ({}, 422, "invalid_request", "from"),
    ],
)
def test_what_cannot_be_compared_is_told(client, parameters, status, code, text):
    response = client.get("/cities/diff", params=parameters)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert text in response.text


def test_a_key_that_names_several_rows_is_refused(stack, client, fresh):
    stack.write(fresh, pa.table({"n": [7, 7, 8, 8, 9]}), REPLACE)
    response = client.get(f"/{fresh}/diff", params={"from": "v0", "key": "n"})
    assert response.status_code == 400
    assert "2 values of the key (n) are those of more than one row of version 3" in response.json()["detail"]


def test_the_history_tells_who_did_what_and_why(stack, client, fresh):
    body = {"version": "v0", "message": "the feed was broken"}
    restored = client.post(f"/{fresh}/restore", json=body).json()
    assert (restored["version"], restored["operation"], restored["rows"]) == (3, "restore", 1)
    assert sql(stack, f'SELECT n FROM "{fresh}"') == [{"n": 0}]
    page = client.get(f"/{fresh}/versions", params={"limit": 2}).json()
    newest, second = page["items"]
    assert (newest["actor"], newest["source"], newest["message"]) == (
        "local",
        "version 0",
        "the feed was broken",
    )
    assert (newest["added_rows"], newest["removed_rows"], newest["state"]) == (1, 1, "kept")
    assert (second["version"], second["removed_rows"]) == (2, 1)
    assert [each["version"] for each in client.get(f"{stack.http_url}{page['next']}").json()["items"]] == [
        1,
        0,
    ]


def test_restoring_the_current_version_does_nothing(client, fresh):
    assert client.post(f"/{fresh}/restore", json={"version": "v2"}).json()["version"] == 2


def test_a_restore_can_insist_on_the_version_it_follows(stack, client, fresh):
    etag = client.get(f"/{fresh}").headers["ETag"]
    stack.write(fresh, pa.table({"n": [9]}))
    stale = client.post(f"/{fresh}/restore", json={"version": "v0"}, headers={"If-Match": etag})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    etag = client.get(f"/{fresh}").headers["ETag"]
    assert client.post(f"/{fresh}/restore", json={"version": 0}, headers={"If-Match": etag}).is_success


def test_a_tag_can_stand_wherever_a_version_can(stack, client, fresh):
    made = client.put(f"/{fresh}/tags/Golden", json={"version": "v1", "message": "audited"}).json()
    assert (made["name"], made["version"], made["actor"], made["message"]) == (
        "Golden",
        1,
        "local",
        "audited",
    )
    assert sql(stack, f'SELECT n FROM "{fresh}@golden"') == [{"n": 1}]
    assert client.get(f"/{fresh}", params={"version": "golden"}).json()["version"] == 1
    assert client.get(f"/{fresh}/rows", params={"version": "golden"}).json()["rows"] == [{"n": 1}]
    assert client.get(f"/{fresh}/diff", params={"from": "golden", "to": "v1"}).json()["rows"]["added"] == 0
    flight = stack.flight()
    descriptor = fl.FlightDescriptor.for_path(fresh, "golden")
    ticket = flight.get_flight_info(descriptor).endpoints[0].ticket
    assert client.put(f"/{fresh}/tags/golden", json={}).json()["version"] == 2
    assert flight.do_get(ticket).read_all()["n"].to_pylist() == [1]
    assert sql(stack, f'SELECT n FROM "{fresh}@golden"') == [{"n": 2}]
    flight.close()
    assert [tag["name"] for tag in client.get(f"/{fresh}/tags").json()["items"]] == ["golden"]
    assert [each["tags"] for each in client.get(f"/{fresh}/versions").json()["items"]] == [["golden"], [], []]
    assert client.delete(f"/{fresh}/tags/GOLDEN").status_code == 204
    assert client.delete(f"/{fresh}/tags/golden").json()["code"] == "tag_not_found"
    assert sql(stack, f'SELECT n FROM "{fresh}@golden"') == "tag_not_found"


@pytest.mark.parametrize("tag", ["v3", "3", "latest", "a%20b", "x" * 65])
def test_what_names_a_version_by_itself_is_no_tag(client, tag):
    response = client.put(f"/cities/tags/{tag}", json={})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_tag")


def test_a_policy_is_the_servers_until_the_dataset_has_its_own(client, fresh):
    url = f"/{fresh}/retention"
    assert client.get(url).json() == {"keep_versions": None, "keep_s": None, "own": False}
    assert client.put(url, json={"keep_versions": 2}).json() == {
        "keep_versions": 2,
        "keep_s": None,
        "own": True,
    }
    assert client.put(url, json={"keep_versions": 0}).status_code == 422
    assert client.delete(url).status_code == 204
    assert client.get(url).json()["own"] is False


def test_an_expired_version_is_told_as_such(stack, client, fresh):
    client.put(f"/{fresh}/tags/first", json={"version": "v0"})
    client.put(f"/{fresh}/retention", json={"keep_versions": 1})
    stack.skein.vacuum(DatasetName(fresh), actor=LOCAL)
    assert [each["state"] for each in client.get(f"/{fresh}/versions").json()["items"]] == [
        "kept",
        "expired",
        "kept",
    ]
    response = client.get(f"/{fresh}", params={"version": "v1"})
    assert (response.status_code, response.json()["code"]) == (410, "version_expired")
    assert sql(stack, f'SELECT * FROM "{fresh}@v1"') == "version_expired"
    assert sql(stack, f'SELECT n FROM "{fresh}@first"') == [{"n": 0}]
    assert client.post(f"/{fresh}/restore", json={"version": "v1"}).json()["code"] == "version_expired"


def test_every_change_is_an_event(stack, client, fresh):
    after = stack.skein.events.bounds()[1]
    client.put(f"/{fresh}/tags/golden", json={})
    client.delete(f"/{fresh}/tags/golden")
    client.put(f"/{fresh}/retention", json={"keep_versions": 1})
    stack.skein.vacuum(DatasetName(fresh), actor=LOCAL)
    events = [stored.event for stored in stack.skein.events.after(after) if stored.event.subject == fresh]
    assert [str(event.kind) for event in events] == [
        "dataset.tagged",
        "dataset.untagged",
        "dataset.retention_set",
        "dataset.expired",
    ]
    assert events[0].data["version"] == 2


def test_who_may_only_read_compares_and_changes_nothing(tmp_path):
    with skein_stack(tmp_path, tokens="ann/read=s3cret") as stack:
        stack.write("cities", people(Oslo=700))
        stack.write("cities", people(Oslo=717), REPLACE)
        with stack.http(headers={"Authorization": "Bearer s3cret"}) as client:
            url = "/api/v1/datasets/cities"
            diff = client.get(f"{url}/diff", params={"from": "v0", "key": "name"})
            assert diff.json()["rows"]["changed"] == 1
            for response in (
                client.post(f"{url}/restore", json={"version": "v0"}),
                client.put(f"{url}/tags/golden", json={}),
                client.delete(f"{url}/tags/golden"),
                client.put(f"{url}/retention", json={"keep_versions": 1}),
                client.delete(f"{url}/retention"),
            ):
                assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
