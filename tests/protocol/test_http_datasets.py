"""Datasets over HTTP: lists in pages, descriptions with validators, windows of rows."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import quote

import httpx
import pyarrow as pa
import pytest

from flight_core.domain.dataset import WriteMode
from tests.protocol.http_stack import serving
from tests.stack import Stack, skein_stack

NAMES = ["alpha", "Beta", "delta_1", "gamma", "omega"]


@pytest.fixture(scope="module")
def stack(stack):
    for name in NAMES:
        stack.write(name, pa.table({f"{name}_id": [1]}))
    stack.write("rows", pa.table({"i": range(100), "t": [f"r{i}" for i in range(100)]}))
    stack.write("rows", pa.table({"i": range(100, 150), "t": [f"r{i}" for i in range(100, 150)]}))
    return stack


@pytest.fixture
def client(stack: Stack):
    with stack.http() as client:
        yield client


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 100])
def test_following_next_lists_every_dataset_once(client, limit):
    url, names = f"/api/v1/datasets?limit={limit}", []
    while url:
        response = client.get(url)
        page = response.json()
        assert len(page["items"]) <= limit
        names += [item["name"] for item in page["items"]]
        url = page["next"]
        assert response.links.get("next", {}).get("url") == url
    assert names == [*NAMES, "rows"]


def test_a_cursor_survives_what_others_create_and_drop(tmp_path):
    with skein_stack(tmp_path) as stack, stack.http() as client:
        for name in ("a", "c", "e"):
            stack.write(name, pa.table({"x": [1]}))
        page = client.get("/api/v1/datasets?limit=2").json()
        client.delete("/api/v1/datasets/c")
        stack.write("b", pa.table({"x": [1]}))
        stack.write("d", pa.table({"x": [1]}))
        assert [item["name"] for item in client.get(page["next"]).json()["items"]] == ["d", "e"]


def test_a_search_keeps_to_its_pages(client):
    page = client.get("/api/v1/datasets?q=TA&limit=1").json()
    assert [item["name"] for item in page["items"]] == ["Beta"]
    page = client.get(page["next"]).json()
    assert [item["name"] for item in page["items"]] == ["delta_1"]
    assert page["next"] is None


def test_a_search_looks_at_columns_too(client):
    found = client.get("/api/v1/datasets?q=omega_id").json()["items"]
    assert [item["name"] for item in found] == ["omega"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "cursor=%21%21"])
def test_limits_and_cursors_are_refused_rather_than_bent(client, query):
    response = client.get(f"/api/v1/datasets?{query}")
    assert response.status_code in (400, 422)
    assert response.json()["code"] == "invalid_request"


def test_a_description_tells_columns_sizes_and_history(client):
    reply = client.get("/api/v1/datasets/ROWS").json()
    assert (reply["name"], reply["rows"]) == ("rows", 150)
    assert reply["version"] == reply["current_version"] == reply["versions"][0]["version"]
    assert [(version["rows"], version["added_rows"]) for version in reply["versions"]] == [
        (150, 50),
        (100, 100),
    ]
    first, second = reply["columns"]
    assert (first["name"], first["type"], first["null_count"]) == ("i", "int64", 0)
    assert (first["minimum"], first["maximum"]) == (0, 149)
    assert (second["minimum"], second["maximum"]) == ("r0", "r99")
    older = client.get(f"/api/v1/datasets/rows?version=v{reply['version'] - 1}").json()
    assert (older["rows"], older["columns"][0]["maximum"]) == (100, 99)
    assert older["current_version"] == reply["version"]
    then = client.get("/api/v1/datasets/rows", params={"version": reply["versions"][1]["committed_at"]})
    assert then.json()["version"] == older["version"]


def test_statistics_are_exact_whatever_the_type(tmp_path):
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    with skein_stack(tmp_path) as stack, stack.http() as client:
        stack.write(
            "types",
            pa.table(
                {
                    "big": pa.array([2**60, None]),
                    "price": pa.array([Decimal("0.10"), Decimal("12.50")]),
                    "at": pa.array([moment, moment]),
                }
            ),
        )
        big, price, at = client.get("/api/v1/datasets/types").json()["columns"]
    assert (big["maximum"], big["null_count"]) == (str(2**60), 1)
    assert (price["minimum"], price["maximum"]) == ("0.10", "12.50")
    assert at["minimum"] == "2026-01-02T03:04:05.000000Z"


def test_versions_come_in_pages_newest_first(client):
    page = client.get("/api/v1/datasets/rows/versions?limit=1").json()
    assert [version["added_rows"] for version in page["items"]] == [50]
    page = client.get(page["next"]).json()
    assert [version["added_rows"] for version in page["items"]] == [100]
    assert page["next"] is None
    wrong = client.get("/api/v1/datasets?limit=1").json()["next"].partition("cursor=")[2]
    assert client.get(f"/api/v1/datasets/rows/versions?cursor={wrong}").json()["code"] == "invalid_request"


def test_what_a_client_holds_already_is_not_sent_again(tmp_path):
    with skein_stack(tmp_path) as stack, stack.http() as client:
        stack.write("d", pa.table({"x": [1]}))
        for path in ("/api/v1/datasets/d", "/api/v1/datasets/d/rows"):
            first = client.get(path)
            held = {"If-None-Match": f'"other", {first.headers["etag"]}'}
            again = client.get(path, headers=held)
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == first.headers["etag"]
            stack.write("d", pa.table({"x": [2]}))
            changed = client.get(path, headers=held)
            assert changed.status_code == 200
            assert changed.headers["etag"] != first.headers["etag"]


def test_each_format_of_the_rows_has_its_own_validator(client):
    etags = {
        client.get("/api/v1/datasets/rows/rows", headers={"Accept": accept}).headers["etag"]
        for accept in ("application/json", "text/csv", "application/x-ndjson")
    }
    assert len(etags) == 3


def test_dropping_is_guarded_by_the_version(tmp_path):
    with skein_stack(tmp_path) as stack, stack.http() as client:
        stack.write("d", pa.table({"x": [1]}))
        seen = client.get("/api/v1/datasets/d").headers["etag"]
        stack.write("d", pa.table({"x": [2]}))
        refused = client.delete("/api/v1/datasets/d", headers={"If-Match": seen})
        assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
        now = client.get("/api/v1/datasets/d").headers["etag"]
        control = stack.skein.control

        def drop_late(name, **asked):
            stack.write("d", pa.table({"x": [3]}))  # from another door, after the ETag was looked at
            return control.datasets.drop(name, **asked)

        late = replace(control, datasets=replace(control.datasets, drop=drop_late))
        with serving(late) as url, httpx.Client(base_url=url) as slow:
            refused = slow.delete("/api/v1/datasets/d", headers={"If-Match": now})
        assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
        now = client.get("/api/v1/datasets/d").headers["etag"]
        assert client.delete("/api/v1/datasets/d", headers={"If-Match": now}).status_code == 204
        assert client.get("/api/v1/datasets/d").json()["code"] == "dataset_not_found"
        assert client.delete("/api/v1/datasets/d").status_code == 404


def test_a_name_used_again_is_another_resource(tmp_path):
    with skein_stack(tmp_path) as stack, stack.http() as client:
        stack.write("d", pa.table({"x": [1]}))
        before = client.get("/api/v1/datasets/d").headers["etag"]
        client.delete("/api/v1/datasets/d")
        stack.write("d", pa.table({"x": [2]}), WriteMode.CREATE)
        assert client.get("/api/v1/datasets/d", headers={"If-None-Match": before}).status_code == 200


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("limit=3", [0, 1, 2]),
        ("offset=98&limit=4", [98, 99, 100, 101]),
        ("offset=148", [148, 149]),
        ("offset=1000", []),
        ("limit=0", []),
    ],
)
def test_a_window_of_rows_keeps_their_order(client, query, rows):
    reply = client.get(f"/api/v1/datasets/rows/rows?{query}").json()
    assert [row["i"] for row in reply["rows"]] == rows


def test_a_window_has_the_columns_and_the_version_asked_for(client):
    version = client.get("/api/v1/datasets/rows").json()["version"]
    window = f"/api/v1/datasets/rows/rows?version={version - 1}&columns=t&columns=i&offset=99"
    assert client.get(window).json()["rows"] == [{"t": "r99", "i": 99}]
    unknown = client.get("/api/v1/datasets/rows/rows?columns=nope")
    assert (unknown.status_code, unknown.json()["code"]) == (400, "invalid_sql")


def test_a_window_comes_in_arrow_too(client):
    response = client.get(
        "/api/v1/datasets/rows/rows?limit=2", headers={"Accept": "application/vnd.apache.arrow.stream"}
    )
    assert pa.ipc.open_stream(response.content).read_all().to_pydict() == {"i": [0, 1], "t": ["r0", "r1"]}


def test_a_column_name_is_never_sql(tmp_path):
    with skein_stack(tmp_path) as stack, stack.http() as client:
        stack.write("d", pa.table({'a" FROM x; --': [1]}))
        reply = client.get("/api/v1/datasets/d/rows", params={"columns": 'a" FROM x; --'})
        assert reply.json()["rows"] == [{'a" FROM x; --': 1}]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/datasets/nope", 404, "dataset_not_found"),
        ("/api/v1/datasets/nope/rows", 404, "dataset_not_found"),
        ("/api/v1/datasets/nope/versions", 404, "dataset_not_found"),
        ("/api/v1/datasets/rows?version=99", 404, "version_not_found"),
        ("/api/v1/datasets/rows/rows?version=99", 404, "version_not_found"),
        ("/api/v1/datasets/rows?version=soon", 404, "tag_not_found"),
        ("/api/v1/datasets/rows?version=2001-01-01", 404, "version_not_found"),
        ("/api/v1/datasets/rows/rows?offset=-1", 422, "invalid_request"),
        (f"/api/v1/datasets/{quote('../etc', safe='')}", 404, "not_found"),
        ("/api/v1/datasets/a%20b", 400, "invalid_dataset_name"),
        ("/api/v1/datasets/" + "x" * 200, 400, "invalid_dataset_name"),
    ],
)
def test_what_is_not_there_is_named(client, path, status, code):
    response = client.get(path)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
