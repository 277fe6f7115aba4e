"""Validating the fields of an `api` source."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from flight_core.adapters.sources.fields import fields_of
from flight_core.adapters.sources.pages import Json, Pagination, parsed_pagination
from flight_core.adapters.sources.watermark import Incremental, parsed_incremental
from flight_core.adapters.sources.web import check_value, checked_headers, parsed_url
from flight_core.application.ports.secrets import Secrets
from flight_core.domain.errors import InvalidSource
from flight_core.domain.ingestion import SourceSpec

MAX_PAGES = 10_000


@dataclass(frozen=True, slots=True)
class ApiCall:
    url: httpx.URL
    method: str
    headers: Mapping[str, object]
    params: Mapping[str, Any]
    body: Mapping[str, Json]
    record_path: str
    pagination: Pagination
    incremental: Incremental | None
    requests_per_s: float | None
    max_pages: int
    max_records: int | None


def in_query(value: Json) -> str:
    """The value in the query of a URL."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def parsed_call(spec: SourceSpec, secrets: Secrets) -> ApiCall:
    """
    Raises:
        InvalidSource, SecretNotFound.
    """
    fields = fields_of(
        spec,
        *("url", "method", "params", "headers", "body", "record_path", "pagination", "incremental"),
        *("requests_per_s", "max_pages", "max_records"),
    )
    method, body = fields.get("method", "GET"), fields.get("body")
    if method not in ("GET", "POST"):
        raise InvalidSource(f"'method' is GET or POST, not {method!r:.40}")
    if body is not None and (method == "GET" or not isinstance(body, Mapping)):
        raise InvalidSource("'body' is a JSON object, for the method POST")
    pagination = parsed_pagination(fields.get("pagination"))
    incremental = parsed_incremental(fields.get("incremental"))
    if method == "GET" and "body" in (pagination.place, incremental.place if incremental else ""):
        raise InvalidSource("what goes in the body needs the method POST")
    rate = fields.get("requests_per_s")
    if rate is not None and not (isinstance(rate, int | float) and 0.001 <= rate <= 10_000):
        raise InvalidSource(f"'requests_per_s' is a number from 0.001 to 10000, not {rate!r:.40}")
    max_records = fields.get("max_records")
    return ApiCall(
        url=parsed_url(fields.get("url"), spec.kind),
        method=str(method),
        headers=checked_headers(fields.get("headers"), secrets),
        params=_checked_params(fields.get("params"), secrets),
        body=body if isinstance(body, Mapping) else {},
        record_path=_path(fields.get("record_path")),
        pagination=pagination,
        incremental=incremental,
        requests_per_s=None if rate is None else float(rate),
        max_pages=_bound("max_pages", fields.get("max_pages", MAX_PAGES)),
        max_records=None if max_records is None else _bound("max_records", max_records),
    )


def _checked_params(given: object, secrets: Secrets) -> Mapping[str, object]:
    params = given or {}
    if not isinstance(params, Mapping):
        raise InvalidSource("'params' has to be an object of names and values")
    checked: dict[str, object] = {}
    for name, value in params.items():
        plain = in_query(value) if isinstance(value, int | float) else value
        check_value(plain, f"the value of the parameter '{str(name)[:60]}'", secrets)
        checked[str(name)] = plain
    return checked


def _path(given: object) -> str:
    if given is None:
        return ""
    if not isinstance(given, str) or not given:
        raise InvalidSource("'record_path' has to be keys joined by dots, such as data.items")
    return given.removeprefix("$.").removeprefix("$")


def _bound(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**53:
        raise InvalidSource(f"'{name}' is a whole number from 1, not {value!r:.40}")
    return value
