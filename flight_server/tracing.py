"""A span for each RPC, which takes and gives W3C Trace Context."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import pyarrow.flight as fl

from flight_core.application.ports.tracing import Span, Tracer

MIDDLEWARE = "trace"

_SERVICE = "arrow.flight.protocol.FlightService"
_HEADERS = ("traceparent", "tracestate")
_CODE = re.compile(r"\[([a-z_]+)\]")  # that our messages begin with

Self = TypeVar("Self")
Rest = ParamSpec("Rest")
Answer = TypeVar("Answer")


class CallSpan(fl.ServerMiddleware):
    def __init__(self, span: Span) -> None:
        self.span = span

    def sending_headers(self) -> Mapping[str, str]:  # type: ignore[override] # the stubs are wrong
        return {"traceparent": self.span.traceparent}

    def call_completed(self, exception: Exception | None) -> None:
        self.span.end({}, error=None if exception is None else _code(exception))


class TracingMiddleware(fl.ServerMiddlewareFactory):
    """Goes before the one that refuses calls, so that those that are refused are traced too."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start_call(  # type: ignore[override] # the stubs are wrong
        self, info: fl.CallInfo, headers: Mapping[str, Sequence[str]]
    ) -> CallSpan:
        method = info.method.name.title().replace("_", "")
        fields = {"rpc.system": "grpc", "rpc.service": _SERVICE, "rpc.method": method}
        given = {name: headers[name][0] for name in _HEADERS if headers.get(name)}
        return CallSpan(self._tracer.serve(f"{_SERVICE}/{method}", fields, given))


def traced(
    handler: Callable[Concatenate[Self, fl.ServerCallContext, Rest], Answer],
) -> Callable[Concatenate[Self, fl.ServerCallContext, Rest], Answer]:
    """Make what the handler of an RPC does a part of the RPC's span, if there is one."""

    @wraps(handler)
    def within_span(
        self: Self, context: fl.ServerCallContext, /, *arguments: Rest.args, **options: Rest.kwargs
    ) -> Answer:
        middleware = context.get_middleware(MIDDLEWARE)
        if not isinstance(middleware, CallSpan):
            return handler(self, context, *arguments, **options)
        with middleware.span.current():
            return handler(self, context, *arguments, **options)

    return within_span


def _code(exception: Exception) -> str:
    """Of the failure; messages stay out of traces, since they quote what clients sent."""
    found = _CODE.search(str(exception))
    return found[1] if found else type(exception).__name__
