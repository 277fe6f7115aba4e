"""The OpenAPI document: what FastAPI finds out, and what it cannot know."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from control_api.formats import ARROW_STREAM, PARQUET
from schemas.errors import PROBLEM_MEDIA_TYPE, Problem
from schemas.queries import QueryResult

DESCRIPTION = """\
Datasets, ingestions, SQL and events over HTTP. Big results travel faster over Arrow Flight.

- Failures are problem details (RFC 9457); each `code` is explained at `/problems/{code}`.
- `WebSocket /api/v1/events` sends the same events as `GET /api/v1/events/stream`.
- Exact numbers that a double cannot hold are strings in JSON results.
"""

_INVALID = {
    "type": "/problems/invalid_request",
    "title": "The request is not valid",
    "status": 422,
    "detail": "limit: Input should be less than or equal to 1000",
    "code": "invalid_request",
    "retryable": False,
    "instance": "/api/v1/datasets",
    "request_id": "5b4e1f0c9a7d",
    "errors": [{"detail": "Input should be less than or equal to 1000", "parameter": "limit"}],
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    422: {
        "model": Problem,
        "description": "The request is not valid.",
        "content": {"application/json": {"example": _INVALID}},
    },
    "default": {"model": Problem, "description": "Any other failure."},
}
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "The client has it already."}}
RESULT: dict[int | str, dict[str, Any]] = {
    200: {
        "model": QueryResult,
        "description": "The result, as JSON unless `Accept` asks for another form.",
        "content": {
            ARROW_STREAM: {"schema": {"type": "string", "format": "binary"}},
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
            "application/x-ndjson": {"schema": {"type": "string"}, "example": '{"origin":"SEA","n":17}\n'},
            "text/csv": {"schema": {"type": "string"}, "example": '"origin","n"\n"SEA",17\n'},
        },
    }
}
# Credentials are wanted where some are configured.
_SECURITY: list[dict[str, list[str]]] = [{}, {"token": []}, {"password": []}]
_SECURITY_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer"},
    "password": {"type": "http", "scheme": "basic"},
}


def install(app: FastAPI) -> None:
    def document() -> dict[str, Any]:
        if not app.openapi_schema:
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            app.openapi_schema = _with_problems(document) | {"security": _SECURITY}
            document["components"]["securitySchemes"] = _SECURITY_SCHEMES
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign] # as FastAPI documents it


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI announces every model as plain JSON."""
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                schema = content.get("application/json", {}).get("schema", {})
                if schema.get("$ref", "").endswith("/Problem"):
                    content[PROBLEM_MEDIA_TYPE] = content.pop("application/json")
    return document
