"""The OpenAPI document: what FastAPI finds out, and what it cannot know."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from control_api.formats import ARROW_STREAM, PARQUET
from schemas.errors import PROBLEM_MEDIA_TYPE, Problem
from schemas.queries import QueryResult

DESCRIPTION = """\
Datasets, ingestions, SQL and events over HTTP. Large results are faster over Arrow Flight.

- Failures are problem details (RFC 9457); each `code` is explained at `/problems/{code}`.
- `WebSocket /api/v1/events` sends the same events as `GET /api/v1/events/stream`.
- In JSON results, numbers that a double cannot represent exactly are strings.
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
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "Not modified: the client has the current representation."}
}
RESULT: dict[int | str, dict[str, Any]] = {
    200: {
        "model": QueryResult,
        "description": "The result, as JSON unless `Accept` asks for another format.",
        "content": {
            ARROW_STREAM: {"schema": {"type": "string", "format": "binary"}},
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
            "application/x-ndjson": {"schema": {"type": "string"}, "example": '{"origin":"SEA","n":17}\n'},
            "text/csv": {"schema": {"type": "string"}, "example": '"origin","n"\n"SEA",17\n'},
        },
    }
}
MERGE_PATCH: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/merge-patch+json": {"schema": {"$ref": "#/components/schemas/DatasetChange"}}
        }
    }
}


def _header(name: str, description: str, example: str) -> dict[str, Any]:
    schema = {"type": "string", "examples": [example]}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


_KNOWN = _header("If-None-Match", "The ETag that the client has: 304 if it is still current.", '"0f8b6c-3-0"')
_STATE = _header(
    "If-Match", "The ETag that GET returned: 412 if the resource has changed since.", '"0f8b6c-3-0"'
)
_PATIENCE = _header(
    "Prefer", "How many seconds to wait for the end of the job or query, at most 60.", "wait=10"
)
_PART = [
    _header("Upload-Complete", "`?1`: nothing follows this body; `?0`: something does.", "?0"),
    _header("Upload-Length", "The size of the whole upload in bytes, if it is known.", "104857600"),
    _header("Content-Digest", "The digest of the body, `sha-256` or `sha-512`.", f"sha-256=:{'A' * 43}=:"),
    _header("Repr-Digest", "The digest of the whole upload.", f"sha-256=:{'A' * 43}=:"),
]
_PLACE = _header("Upload-Offset", "Where the body belongs: what HEAD returned.", "1048576") | {
    "required": True
}
_JOBS = frozenset({"/api/v1/jobs/{job_id}", "/api/v1/ingestions/{ingestion_id}"})

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
            app.openapi_schema = _with_headers(_with_problems(document)) | {"security": _SECURITY}
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


def _with_headers(document: dict[str, Any]) -> dict[str, Any]:
    """Those that whole kinds of routes take."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            headers = []
            if path.startswith("/api/v1") and method == "get":
                headers.append(_KNOWN)
                operation["responses"].setdefault("304", NOT_MODIFIED[304])
            if method in ("put", "patch", "delete") or path.endswith(("/restore", "/{name}/delete")):
                headers.append(_STATE)
            if "202" in operation["responses"] or (method == "get" and path in _JOBS):
                headers.append(_PATIENCE)
            if "/uploads" in path and method in ("post", "patch"):
                headers += [_PLACE, *_PART] if method == "patch" else _PART
            operation.setdefault("parameters", []).extend(headers)
    return document
