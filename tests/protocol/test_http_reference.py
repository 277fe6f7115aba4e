"""The reference of the HTTP API against the API."""

import json
import re

import pytest

from tests.architecture import documents
from tests.stack import skein_stack

PAGE = documents.DOCS / "reference" / "http-api.md"
VALUES = re.findall(r"^\| `(.+?)` \| `(.+?)` \|$", documents.sections(PAGE)["Values in JSON"], re.MULTILINE)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with skein_stack(tmp_path_factory.mktemp("data")) as stack, stack.http(timeout=60) as client:
        yield client


def test_every_endpoint_has_a_heading_and_no_heading_lacks_an_endpoint(client):
    paths = client.get("/openapi.json").json()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    headings = [heading.strip("`") for heading in documents.headings(PAGE) if heading.startswith("`")]
    sockets = {"WebSocket /api/v1/events", "WebSocket /api/v1/live"}
    assert sorted(headings) == sorted(routes | sockets)


def test_every_parameter_of_a_query_string_is_named(client):
    named = set(re.findall(r"`(\w+)", PAGE.read_text()) + re.findall(r"[?&](\w+)=", PAGE.read_text()))
    paths = client.get("/openapi.json").json()["paths"]
    assert [
        (path, each["name"])
        for path, methods in paths.items()
        for operation in methods.values()
        for each in operation.get("parameters", [])
        if each["in"] == "query" and each["name"] not in named
    ] == []


def test_every_metric_is_listed(client):
    client.post("/api/v1/query", json={"sql": "SELECT 1"})
    kinds = re.findall(r"^# TYPE (skein_\w+) (\w+)$", client.get("/metrics").text, re.MULTILINE)
    listed = set(re.findall(r"`(skein_\w+)`", documents.sections(PAGE)["`GET /metrics`"]))
    assert listed == {name for name, _ in kinds if not name.endswith("_created")}


@pytest.mark.parametrize(("sql", "text"), VALUES)
def test_values_look_as_the_reference_says(client, sql, text):
    reply = client.post("/api/v1/query", json={"sql": f"SELECT {sql}"}).json()
    ((value,),) = [row.values() for row in reply["rows"]]
    assert json.dumps(value) == json.dumps(json.loads(text))


def test_the_table_of_values_was_found():
    assert len(VALUES) > 20
