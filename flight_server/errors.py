"""Failures as Flight clients see them: a gRPC status, a stable code, and nothing of the server's inside."""

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.application.failures import failure_to_tell
from flight_core.domain.errors import (
    Cancelled,
    Conflict,
    DeadlineExceeded,
    DependencyFailed,
    FlightCoreError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unsupported,
)

# gRPC carries the text three times, in trailers that many clients cap at 16 KB.
MAX_MESSAGE_BYTES = 1800
MAX_EXTRA_BYTES = 1024


class WireError(Exception):
    """Ready to be sent. What lacks this mark is a surprise from inside, whatever its type."""

    code = FlightCoreError.code


class _InvalidArgument(WireError, pa.ArrowInvalid): ...


class _NotFound(WireError, pa.ArrowKeyError): ...


class _Unimplemented(WireError, pa.ArrowNotImplementedError): ...


class _Unauthenticated(WireError, fl.FlightUnauthenticatedError): ...


class _PermissionDenied(WireError, fl.FlightUnauthorizedError): ...


class _Unavailable(WireError, fl.FlightUnavailableError): ...


class _DeadlineExceeded(WireError, fl.FlightTimedOutError): ...


class _Unknown(WireError, fl.FlightServerError): ...


class _Internal(WireError, fl.FlightInternalError): ...


_WIRE_TYPES: dict[type[FlightCoreError], type[WireError]] = {
    InvalidRequest: _InvalidArgument,
    Conflict: _InvalidArgument,
    NotFound: _NotFound,
    Unsupported: _Unimplemented,
    Unauthenticated: _Unauthenticated,
    PermissionDenied: _PermissionDenied,
    ResourceExhausted: _Unavailable,
    DependencyFailed: _Unavailable,
    DeadlineExceeded: _DeadlineExceeded,
    # Not FlightCancelledError: in the middle of a stream pyarrow clients take it for Ctrl-C.
    Cancelled: _Unknown,
}


@contextmanager
def flight_errors() -> Iterator[None]:
    """Let nothing but wire errors out: failures of ours by the table, anything else as `internal_error`.

    Wrap the body of every RPC, and every iterator that is handed to Flight.
    """
    try:
        yield
    except WireError:
        raise
    except Exception as error:
        raise to_wire(failure_to_tell(error)) from None


def to_wire(error: FlightCoreError) -> WireError:
    """The exception that pyarrow turns into the right gRPC status, with `[code] message` as its text."""
    kind = next((wire for family, wire in _WIRE_TYPES.items() if isinstance(error, family)), _Internal)
    text = _shortened(str(error))
    wire = kind(text, _extra_info(error)) if issubclass(kind, fl.FlightError) else kind(text)
    wire.code = error.code
    return wire


def _extra_info(error: FlightCoreError) -> bytes:
    about: dict[str, object] = {"code": error.code, "retryable": error.retryable}
    full = json.dumps({**about, "details": dict(error.details)}, default=str).encode()
    return full if len(full) <= MAX_EXTRA_BYTES else json.dumps(about).encode()


def _shortened(text: str) -> str:
    """At most MAX_MESSAGE_BYTES in UTF-8; no white space at the end, which makes some clients drop it."""
    encoded = text.strip().encode(errors="replace")
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return encoded.decode()
    return encoded[:MAX_MESSAGE_BYTES].decode(errors="ignore").rstrip() + "…"


_format_for_python = traceback.format_exception


def keep_tracebacks_home() -> None:
    """Stop Arrow's C++ from appending Python tracebacks to what it sends to clients. Idempotent.

    Arrow formats every Python exception with `traceback.format_exception` and offers no switch. It
    calls from C with no Python frame below, as nobody else does: such a call gets the code alone.
    """
    traceback.format_exception = _format_exception


def _format_exception(*arguments: Any, **options: Any) -> list[str]:
    called_from_c = sys._getframe().f_back is None
    if called_from_c:
        return [next((one.code for one in arguments if isinstance(one, WireError)), FlightCoreError.code)]
    return _format_for_python(*arguments, **options)
