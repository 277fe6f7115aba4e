"""Every failure there is has a status, a stable type and a page that explains it."""

import json
from collections.abc import Iterator

import pytest
from fastapi.exceptions import RequestValidationError

from control_api.errors import HttpProblem, problem_response, status_of
from flight_core.domain import errors
from flight_core.domain.errors import FlightCoreError
from schemas.errors import PROBLEM_TYPES

SCOPE = {"type": "http", "path": "/api/v1/query", "method": "POST", "state": {"request_id": "r1"}}


def every(kind: type[FlightCoreError]) -> Iterator[type[FlightCoreError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from every(child)


FAILURES = [kind for kind in every(FlightCoreError) if kind.__module__ == errors.__name__]


def problem(error: Exception) -> dict:
    response = problem_response(SCOPE, error)
    assert response.media_type == "application/problem+json"
    body = json.loads(response.body)
    assert body["status"] == response.status_code
    return body


@pytest.mark.parametrize("kind", FAILURES)
def test_every_failure_has_a_status_and_an_explanation(kind):
    body = problem(kind("what is wrong", name="x"))
    assert body["type"] == PROBLEM_TYPES[kind.code].type == f"/problems/{kind.code}"
    assert body["title"] == PROBLEM_TYPES[kind.code].title
    assert body["code"] == kind.code
    assert body["retryable"] is kind.retryable
    assert body["detail"] == "what is wrong"
    assert body["details"] == {"name": "x"}
    assert body["instance"] == "/api/v1/query"
    assert body["request_id"] == "r1"
    assert (status_of(kind("")) == 500) == (kind is FlightCoreError)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid_sql", 400),
        ("query_failed", 422),
        ("dataset_not_found", 404),
        ("dataset_exists", 409),
        ("unauthenticated", 401),
        ("statement_not_allowed", 403),
        ("too_many_streams", 429),
        ("limit_exceeded", 413),
        ("source_unavailable", 503),
        ("deadline_exceeded", 504),
        ("unsupported", 501),
    ],
)
def test_the_status_follows_the_style_guide(code, status):
    (kind,) = [kind for kind in FAILURES if kind.code == code]
    assert problem(kind("no"))["status"] == status


def test_what_may_be_repeated_says_when():
    for kind in FAILURES:
        assert ("retry-after" in problem_response(SCOPE, kind("")).headers) is kind.retryable


def test_missing_credentials_are_asked_for():
    response = problem_response(SCOPE, errors.Unauthenticated("who are you?"))
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_a_surprise_tells_nothing_of_the_inside():
    body = problem(RuntimeError("/srv/secret/path"))
    assert body["code"] == "internal_error"
    assert "secret" not in json.dumps(body)


def test_details_of_any_type_can_be_sent():
    assert problem(errors.InvalidRequest("no", value={1, 2}, path=b"x"))["details"]["path"] == "b'x'"


def test_codes_of_the_protocol_itself_are_explained_too():
    codes = {"host_not_allowed", "origin_not_allowed", "method_not_allowed", "not_acceptable"}
    codes |= {"unsupported_media_type", "precondition_failed", "precondition_required"}
    assert codes | {kind.code for kind in FAILURES} == PROBLEM_TYPES.keys()
    assert problem(HttpProblem(421, "host_not_allowed", "no"))["status"] == 421


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            {"type": "missing", "loc": ("body", "source", "file", "path"), "msg": "Field required"},
            {"pointer": "/source/path", "detail": "Field required"},
        ),
        (
            {"type": "string_type", "loc": ("body", "source", "file", "a/b~c", 0), "msg": "no"},
            {"pointer": "/source/a~1b~0c/0", "detail": "no"},
        ),
        (
            {"type": "int_parsing", "loc": ("query", "limit"), "msg": "not a number"},
            {"parameter": "limit", "detail": "not a number"},
        ),
    ],
)
def test_a_fault_in_a_request_is_pointed_at(fault, expected):
    body = problem(RequestValidationError([fault], body={"source": {"a/b~c": [1]}}))
    assert (body["status"], body["code"]) == (422, "invalid_request")
    assert body["errors"] == [expected]
