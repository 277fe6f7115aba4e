"""Tracing, in spans as OpenTelemetry has them."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

Fields = Mapping[str, str | int | float | bool | None]  # those that are None are left out


class Span(Protocol):
    """A span that has started. Its methods may be called from any thread."""

    @property
    def traceparent(self) -> str:
        """The value for the header `traceparent` (W3C Trace Context); empty if nothing is traced."""

    def current(self) -> AbstractContextManager[object]:
        """Make this the parent of spans that are started within the block, in this thread or task."""

    def event(self, name: str) -> None:
        """Add an event with the current time."""

    def end(self, fields: Fields, *, error: str | None = None) -> None:
        """End the span; call it once. `error` is the code of a failure."""


class Tracer(Protocol):
    def start(self, name: str, fields: Fields) -> Span:
        """Start a span within the current one, if any. Use few different names."""

    def serve(self, name: str, fields: Fields, headers: Mapping[str, str]) -> Span:
        """Start a span for a client's request, within the span of its `traceparent` header, if any."""


class _NoSpan:
    traceparent = ""

    def current(self) -> AbstractContextManager[object]:
        return nullcontext()

    def event(self, name: str) -> None:
        pass

    def end(self, fields: Fields, *, error: str | None = None) -> None:
        pass


class Untraced:
    """A `Tracer` that does nothing."""

    def start(self, name: str, fields: Fields) -> Span:
        return NO_SPAN

    def serve(self, name: str, fields: Fields, headers: Mapping[str, str]) -> Span:
        return NO_SPAN


NO_SPAN: Span = _NoSpan()
UNTRACED: Tracer = Untraced()
