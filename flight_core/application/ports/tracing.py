"""Traces: which work was done for whom, within what, and how long it took."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

Fields = Mapping[str, str | int | float | bool | None]  # those that are None are left out


class Span(Protocol):
    """A piece of work that has begun. Its methods work from any thread."""

    @property
    def traceparent(self) -> str:
        """Its name in headers, as W3C Trace Context writes it; empty if nothing is traced."""

    def current(self) -> AbstractContextManager[object]:
        """What begins within the block, in this thread or task, is a part of this."""

    def event(self, name: str) -> None:
        """Something happened, just now."""

    def end(self, fields: Fields, *, error: str | None = None) -> None:
        """Call it once. `error` is the code of what made it fail."""


class Tracer(Protocol):
    def start(self, name: str, fields: Fields) -> Span:
        """Begin a part of what is current; by itself if nothing is. `name` is one of a few."""

    def serve(self, name: str, fields: Fields, headers: Mapping[str, str]) -> Span:
        """Begin what a client asks for: a part of what its `traceparent` names, if it sent one."""


class _NoSpan:
    traceparent = ""

    def current(self) -> AbstractContextManager[object]:
        return nullcontext()

    def event(self, name: str) -> None:
        pass

    def end(self, fields: Fields, *, error: str | None = None) -> None:
        pass


class Untraced:
    """Where nobody collects traces."""

    def start(self, name: str, fields: Fields) -> Span:
        return NO_SPAN

    def serve(self, name: str, fields: Fields, headers: Mapping[str, str]) -> Span:
        return NO_SPAN


NO_SPAN: Span = _NoSpan()
UNTRACED: Tracer = Untraced()
