"""Failures as JSON documents, which processes of ours send each other."""

from collections.abc import Mapping
from typing import Any

from flight_core.domain.errors import FlightCoreError


def failure_document(failure: FlightCoreError) -> dict[str, object]:
    return {"code": failure.code, "message": failure.message, "details": dict(failure.details)}


def failure_of(document: Mapping[str, Any]) -> FlightCoreError:
    """The inverse of `failure_document`."""
    return _BY_CODE[document["code"]](document["message"], **document["details"])


def _by_code(kind: type[FlightCoreError]) -> dict[str, type[FlightCoreError]]:
    found = {kind.code: kind}
    for narrower in kind.__subclasses__():
        found |= _by_code(narrower)
    return found


_BY_CODE = _by_code(FlightCoreError)
