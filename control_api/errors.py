"""Failures as HTTP sees them: a status, a stable code, and nothing of the server's inside."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Scope

from flight_core.domain.errors import (
    Cancelled,
    Conflict,
    ContractViolated,
    DeadlineExceeded,
    DependencyFailed,
    FlightCoreError,
    IdempotencyKeyReused,
    InvalidContract,
    InvalidKeys,
    InvalidRequest,
    LimitExceeded,
    LossyType,
    NotFound,
    OutOfDisk,
    PermissionDenied,
    QueryFailed,
    ResourceExhausted,
    SchemaMismatch,
    Unauthenticated,
    UnreadableData,
    Unsupported,
    UnsupportedType,
    VersionExpired,
)
from flight_core.domain.system_errors import system_failure
from schemas.errors import PROBLEM_MEDIA_TYPE, PROBLEM_TYPES, FieldError, Problem

RETRY_AFTER_S = 2

_MAX_FAULTS = 20

# What Pydantic tells in words of Python.
_NO_OBJECT = frozenset({"dict_type", "model_attributes_type", "model_type"})

# The nearest class among a failure's own and its parents decides.
_STATUSES: dict[type[FlightCoreError], int] = {
    FlightCoreError: 500,
    InvalidRequest: 400,
    QueryFailed: 422,
    UnreadableData: 422,
    SchemaMismatch: 422,
    LossyType: 422,
    InvalidContract: 422,
    ContractViolated: 422,
    UnsupportedType: 422,
    InvalidKeys: 422,
    IdempotencyKeyReused: 422,
    NotFound: 404,
    VersionExpired: 410,
    Conflict: 409,
    Cancelled: 409,
    Unauthenticated: 401,
    PermissionDenied: 403,
    ResourceExhausted: 429,
    LimitExceeded: 413,
    OutOfDisk: 507,
    DependencyFailed: 503,
    DeadlineExceeded: 504,
    Unsupported: 501,
}

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "limit_exceeded"}


class HttpProblem(HTTPException):
    """A failure of the protocol itself, which the hexagon knows nothing of."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.code = code


def unsupported_coding(coding: str, *, known: Sequence[str]) -> HttpProblem:
    """The body's `Content-Encoding` is none that can be read there."""
    there = f"send {', '.join(known)}, or the bytes as they are" if known else "send it as it is"
    return HttpProblem(
        415,
        "unsupported_media_type",
        f"the body's Content-Encoding is {coding[:40]!r}; {there}",
        headers={"Accept-Encoding": ", ".join(known) or "identity"},
    )


def status_of(error: FlightCoreError) -> int:
    return next(_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)


def install(app: FastAPI) -> None:
    """Answer every failure that a route raises with problem details."""

    async def on_failure(request: Request, error: Exception) -> Response:
        return problem_response(request.scope, error)

    for kind in (FlightCoreError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, on_failure)


def problem_response(scope: Scope, error: Exception) -> Response:
    """The answer to a failure; what is not known to be fit for clients becomes `internal_error`."""
    match error:
        case FlightCoreError():
            return _respond(
                scope,
                status_of(error),
                error.code,
                error.message,
                headers=_headers_of(error),
                retryable=error.retryable,
                details=_json_values(error.details) or None,
            )
        case HttpProblem():
            return _respond(
                scope, error.status_code, error.code, str(error.detail), headers=error.headers or {}
            )
        case RequestValidationError():
            return _invalid(scope, error)
        case HTTPException():
            return _unrouted(scope, error)
    if failure := system_failure(error):
        return problem_response(scope, failure)
    return _respond(scope, 500, "internal_error", "internal error; the server's log tells more")


def problem_of(scope: Scope, error: Exception) -> Problem:
    """Likewise, for a failure of one part of a request."""
    return Problem.model_validate_json(bytes(problem_response(scope, error).body))


def _respond(
    scope: Scope,
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    retryable: bool = False,
    errors: list[FieldError] | None = None,
    details: dict[str, Any] | None = None,
) -> Response:
    kind = PROBLEM_TYPES[code]
    problem = Problem(
        type=kind.type,
        title=kind.title,
        status=status,
        detail=detail,
        code=code,
        retryable=retryable,
        instance=scope["path"],
        request_id=scope.get("state", {}).get("request_id"),
        errors=errors,
        details=details,
    )
    content = problem.model_dump_json(exclude_none=True)
    return Response(content, status, dict(headers or {}), PROBLEM_MEDIA_TYPE)


def _headers_of(error: FlightCoreError) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="skein", Basic realm="skein", charset="UTF-8"'}
    if not error.retryable:
        return {}
    wait_s = error.details.get("retry_after_s")
    return {"Retry-After": str(math.ceil(wait_s) if isinstance(wait_s, float) else RETRY_AFTER_S)}


def _json_values(details: Mapping[str, object]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(dict(details), default=str))
    return values


def _unrouted(scope: Scope, error: HTTPException) -> Response:
    """What the framework itself refuses."""
    coding = Headers(scope=scope).get("content-encoding", "identity")
    if error.status_code == 400 and coding != "identity":  # it took the body for JSON
        return problem_response(scope, unsupported_coding(coding, known=()))
    code = _HTTP_CODES.get(error.status_code, "invalid_request")
    details = {
        400: "the body cannot be read; send JSON in UTF-8",  # the only reason the framework has
        404: f"there is nothing at {scope['path'][:200]!r}; /docs lists the paths",
        405: f"{scope.get('method', 'GET')} is not allowed at {scope['path'][:200]!r}",
    }
    detail = details.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _allowed(scope) or headers.get("Allow", "")
    return _respond(scope, error.status_code, code, detail, headers=headers)


def _allowed(scope: Scope) -> str:
    """All methods of the path; the framework names those of the first route only."""
    documented: dict[str, dict[str, Any]] = scope["app"].openapi()["paths"]
    methods = {
        method.upper()
        for path, operations in documented.items()
        if compile_path(path)[0].match(scope["path"])
        for method in operations
    }
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def _invalid(scope: Scope, error: RequestValidationError) -> Response:
    faults = error.errors()
    errors = [_fault(fault, error.body) for fault in faults[:_MAX_FAULTS]]
    detail = "; ".join(": ".join(filter(None, (e.pointer or e.parameter, e.detail))) for e in errors[:5])
    status = 400 if faults[0]["type"] == "json_invalid" else 422
    return _respond(scope, status, "invalid_request", detail, errors=errors)


def _fault(fault: Mapping[str, Any], body: object) -> FieldError:
    where, *path = fault["loc"]
    reason = _reason(fault)
    if fault["type"] == "json_invalid":
        return FieldError(detail=f"{reason}: {fault['ctx']['error']} at character {path[0]}", pointer="")
    if where == "body":
        return FieldError(detail=reason, pointer=_pointer(path, body, missing=fault["type"] == "missing"))
    return FieldError(detail=reason, parameter=".".join(map(str, path)) or str(where))


def first_fault(error: ValidationError) -> str:
    """What is wrong with a message, and where in it."""
    fault = error.errors()[0]
    place = ".".join(map(str, fault["loc"]))[:60]
    return f"'{place}': {_reason(fault)}" if place else _reason(fault)


def _reason(fault: Mapping[str, Any]) -> str:
    if fault["type"] in _NO_OBJECT:
        return "Input should be a JSON object"
    if fault["type"] == "missing" and fault["loc"] == ("body",):
        return "There is no body; send a JSON object"
    return str(fault["msg"]).removeprefix("Value error, ")


def _pointer(path: Sequence[str | int], body: Any, *, missing: bool) -> str:
    """RFC 6901. Pydantic's paths also name the members of unions, which are not in the body."""
    pointer = ""
    for index, part in enumerate(path):
        try:
            body = body[part]
        except (LookupError, TypeError):
            if not (missing and index == len(path) - 1):
                continue
        pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
    return pointer
