"""Styles of pagination: which request follows a response."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from flight_core.domain.errors import InvalidSource

Json = Any


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What the request for a page adds to that of the source. If there is a `url`, it replaces the source's
    URL and query."""

    url: httpx.URL | None = None
    query: Mapping[str, Json] = field(default_factory=dict)
    body: Mapping[str, Json] = field(default_factory=dict)

    def with_value(self, place: str, name: str, value: Json) -> "PageRequest":
        if place == "body":
            return replace(self, body={**self.body, name: value})
        return replace(self, query={**self.query, name: value})


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """A response. `number` counts from 1; `link` is the `next` URL in the header `Link`."""

    number: int
    url: httpx.URL
    body: Json
    records: int
    link: str | None


@dataclass(frozen=True, slots=True)
class Pagination:
    """One of the styles `page`, `offset`, `cursor`, `link` and `next_url`; `none` is a single request."""

    style: str = "none"
    param: str = ""
    place: str = "query"
    start: int = 0
    size: int | None = None
    size_param: str | None = None
    path: str = ""
    more: str | None = None

    def first(self) -> PageRequest:
        request = PageRequest()
        if self.size_param is not None:
            request = request.with_value(self.place, self.size_param, self.size)
        return self._numbered(request, self.start)

    def after(self, request: PageRequest, answer: PageAnswer, taken: int) -> PageRequest | None:
        """The next request, after `taken` records so far; None at the end.

        Raises:
            InvalidSource: the response has no valid next page.
        """
        match self.style:
            case "page":
                return self._numbered(request, self.start + answer.number) if answer.records else None
            case "offset":
                return self._numbered(request, self.start + taken) if answer.records else None
            case "cursor":
                return self._at_cursor(request, answer)
            case "link":
                return _at_url(answer, answer.link)
            case "next_url":
                return _at_url(answer, dig(answer.body, self.path))
        return None

    @property
    def numbered(self) -> bool:
        """Whether pages are requested by number. A server that ignores it sends the same page forever."""
        return self.style in ("page", "offset")

    def _numbered(self, request: PageRequest, number: int) -> PageRequest:
        return request.with_value(self.place, self.param, number) if self.numbered else request

    def _at_cursor(self, request: PageRequest, answer: PageAnswer) -> PageRequest | None:
        if self.more is not None and not dig(answer.body, self.more):
            return None
        cursor = dig(answer.body, self.path)
        if cursor in (None, "", False):
            return None
        if not isinstance(cursor, str | int):
            raise InvalidSource(
                f"page {answer.number} has neither text nor number as cursor, at '{self.path}'"
            )
        return request.with_value(self.place, self.param, cursor)


def dig(value: Json, path: str) -> Json:
    """The value at `path`, which is keys and indexes joined by dots, such as `data.-1.id`; None without
    one."""
    for step in path.split(".") if path else ():
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.lstrip("-").isdecimal():
            index = int(step)
            value = value[index] if -len(value) <= index < len(value) else None
        else:
            return None
    return value


def parsed_pagination(given: object) -> Pagination:
    """
    Raises:
        InvalidSource: it is not a valid pagination.
    """
    if given is None:
        return Pagination()
    if not isinstance(given, Mapping):
        raise InvalidSource("'pagination' has to be an object with a 'style'")
    style: Any = given.get("style")
    fields: dict[str, Any] = {str(name): value for name, value in given.items() if name != "style"}
    if style not in _STYLES:
        styles = ", ".join(_STYLES)
        raise InvalidSource(f"'{str(style)[:40]}' is not a style of pagination; use one of: {styles}")
    for name, value in fields.items():
        if name not in _STYLES[style]:
            known = ", ".join(_STYLES[style]) or "none"
            raise InvalidSource(f"pagination by '{style}' has no field '{name[:40]}'; it has: {known}")
        if not _CHECKS[name](value):
            raise InvalidSource(f"'{name}' of 'pagination' cannot be {value!r:.60}")
    if (fields.get("size") is None) != (fields.get("size_param") is None):
        raise InvalidSource("'size' and 'size_param' of 'pagination' belong together: give both or none")
    if "path" in _STYLES[style] and not fields.get("path"):
        raise InvalidSource(f"pagination by '{style}' needs 'path', where an answer tells what comes next")
    defaults: dict[str, Any] = {"param": style, "start": 1 if style == "page" else 0}
    renamed = {"place" if name == "in" else name: value for name, value in fields.items()}
    return Pagination(style=style, **{**defaults, **renamed})


_SIZED = ("size", "size_param", "in")
_STYLES: Mapping[str, tuple[str, ...]] = {
    "page": ("param", "start", *_SIZED),
    "offset": ("param", "start", *_SIZED),
    "cursor": ("path", "param", "more", *_SIZED),
    "link": ("size", "size_param"),
    "next_url": ("path", "size", "size_param"),
}


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def _number(least: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**53


_CHECKS: Mapping[str, Callable[[object], bool]] = {
    "param": _text,
    "path": _text,
    "more": _text,
    "size_param": _text,
    "in": lambda value: value in ("query", "body"),
    "start": _number(0),
    "size": _number(1),
}


def _at_url(answer: PageAnswer, target: Json) -> PageRequest | None:
    if target in (None, "", False):
        return None
    if not isinstance(target, str):
        raise InvalidSource(f"page {answer.number} tells a next page that is not a URL")
    try:
        url = answer.url.join(target)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidSource(f"page {answer.number} tells a next page that is not an http or https URL")
    return PageRequest(url)
