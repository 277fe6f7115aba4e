"""The OpenAPI document against the API, with requests made up from the document."""

import json

import pytest
import schemathesis
import stamina
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import CHECKS, load_all_checks

load_all_checks()
# No credentials are configured, and no schema tells which SQL, names and files there are.
_NOT_HERE = {"ignored_auth", "positive_data_acceptance"}
_CHECKS = [check for check in CHECKS.get_all() if check.__name__ not in _NOT_HERE]
_PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def document(stack):
    with stack.http(timeout=60) as client:
        return client.get("/openapi.json").json()


@pytest.fixture(scope="module")
def operations(stack):
    api = schemathesis.openapi.from_url(f"{stack.http_url}/openapi.json")
    endless = "/api/v1/events/stream"
    return [each.ok() for each in api.get_all_operations() if each.ok().path != endless]


def test_answers_are_as_the_document_says(operations):
    wrong = []
    with stamina.set_testing(True):  # retries draw random numbers, which Hypothesis takes for ours
        for operation in operations:
            try:
                _try_out(operation)
            except* Exception as failures:
                wrong += [(operation.label, str(failure)[:1500]) for failure in failures.exceptions]
    assert not wrong, "\n\n".join(f"{label}: {failure}" for label, failure in wrong)


def _try_out(operation):
    @given(operation.as_strategy())
    @settings(
        max_examples=2,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def answers_are_valid(case):
        case.call_and_validate(checks=_CHECKS, timeout=30)

    answers_are_valid()


def test_every_operation_is_explained(document):
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description"), (method, path)
            assert _PROBLEM in operation["responses"]["default"]["content"], (method, path)


def test_every_body_has_an_example(document):
    models = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            text = json.dumps(content["schema"])
            names = [name for name in models if f'"#/components/schemas/{name}"' in text]
            assert names or "example" in text, (method, path)
            assert any("example" in json.dumps(models[name]) for name in names), (method, path, names)


def test_every_example_is_as_its_schema_says(document):
    examples = list(examples_in(document))
    assert len(examples) > 400
    for schema, example in examples:
        Draft202012Validator({**schema, "components": document["components"]}).validate(example)


def examples_in(node):
    """Schemas with what they give as an example."""
    if isinstance(node, list):
        for each in node:
            yield from examples_in(each)
    elif isinstance(node, dict):
        yield from ((node, example) for example in listed(node.get("examples")))
        if "schema" in node and "example" in node:
            yield node["schema"], node["example"]
        for each in node.values():
            yield from examples_in(each)


def listed(value):
    return value if isinstance(value, list) else []


def test_operations_have_short_names_for_the_clients_that_are_made_of_them(document):
    names = [each["operationId"] for operations in document["paths"].values() for each in operations.values()]
    assert len(names) == len(set(names))
    assert not [name for name in names if "api" in name or not name.isidentifier()]


def test_clients_can_tell_how_changes_and_parts_of_uploads_are_sent(document):
    change = document["paths"]["/api/v1/datasets/{name}"]["patch"]["requestBody"]["content"]
    assert set(change) == {"application/json", "application/merge-patch+json"}
    part = document["paths"]["/api/v1/uploads/{upload_id}"]["patch"]["parameters"]
    assert [each["name"] for each in part if each["required"]] == ["upload_id", "Upload-Offset"]
    first = document["paths"]["/api/v1/uploads"]["post"]["parameters"]
    assert {"Upload-Complete", "Upload-Length", "Content-Digest"} <= {each["name"] for each in first}


def test_clients_can_tell_that_jobs_are_waited_for(document):
    for path in ("/api/v1/jobs/{job_id}", "/api/v1/ingestions/{ingestion_id}"):
        assert "Prefer" in [each["name"] for each in document["paths"][path]["get"]["parameters"]]


def test_every_answer_has_an_example_and_every_parameter_is_explained(document):
    models = document["components"]["schemas"]

    def exemplified(schema, seen=frozenset()):
        text = json.dumps(schema)
        named = {name for name in models if f'"#/components/schemas/{name}"' in text} - seen
        return '"example' in text or any(exemplified(models[name], seen | named) for name in named)

    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                for form, content in response.get("content", {}).items():
                    assert '"binary"' in json.dumps(content) or exemplified(content), (
                        method,
                        path,
                        status,
                        form,
                    )
            for parameter in operation.get("parameters", []):
                told = parameter.get("description") or parameter["in"] == "path"
                assert told, (method, path, parameter["name"])


def test_the_document_describes_what_the_routes_answer(document):
    query = document["paths"]["/api/v1/query"]["post"]
    assert query["responses"]["200"]["content"].keys() == {
        "application/json",
        "application/vnd.apache.arrow.stream",
        "application/vnd.apache.parquet",
        "application/x-ndjson",
        "text/csv",
    }
    for path in document["paths"].values():
        for operation in path.values():
            assert list(operation["responses"]["422"]["content"]) == [_PROBLEM]
    schemas = document["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    assert schemas["QueryRequest"]["examples"]
    assert schemas["IngestionRequest"]["examples"]
