"""Pages of lists. A cursor holds the place of the last item shown, so what is added or removed
between two pages moves nothing: items that stay are shown once each."""

import base64
import binascii
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Protocol, TypeVar, cast
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from starlette.responses import Response

from flight_core.domain.errors import InvalidRequest

Item = TypeVar("Item")
# What items are ordered by: no two of a list have the same.
Place = tuple[str | int | float, ...]
LikePlace = TypeVar("LikePlace", bound=Place)

Limit = Annotated[int, Query(ge=1, le=1000, description="The maximum number of items.")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=2000, description="Where the page starts: taken from the `next` link of the previous page."
    ),
]


class Created(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...


def newest_first(item: Created) -> Place:
    return -item.created_at.timestamp(), item.id


def page_after(
    items: Sequence[Item], after: Place | None, limit: int, *, place: Callable[[Item], Place]
) -> tuple[Sequence[Item], Place | None]:
    """Of the items, ordered by `place`, the first `limit` ones that come after a place; and the place
    of the last one, if others follow."""
    start = 0 if after is None else bisect_right(items, after, key=place)
    page = items[start : start + limit]
    return page, place(page[-1]) if start + limit < len(items) else None


def cursor_of(place: Place) -> str:
    """Opaque to clients."""
    text = json.dumps(place, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(cursor: str, *, like: LikePlace | None) -> LikePlace:
    """`like` is a place of the list; None: it has none, since it is empty.

    Raises:
        InvalidRequest: it was not made by `cursor_of`, or belongs to another list.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        json.dumps(found, ensure_ascii=False).encode()  # half of a character is no text
    except (binascii.Error, ValueError, RecursionError):
        found = None
    if (
        not isinstance(found, list)
        or (like is not None and [type(part) for part in found] != [type(part) for part in like])
        or any(isinstance(part, int) and part.bit_length() > 63 for part in found)
    ):
        raise InvalidRequest(
            f"{cursor[:60]!r} is not a cursor of this list; follow the `next` links, or start without one"
        )
    return cast(LikePlace, tuple(found))


class Paging:
    """Which page of a list is wanted, and how the answer links to the next one: also in its header `Link`."""

    def __init__(self, request: Request, response: Response, limit: int, cursor: str | None) -> None:
        self.limit = limit
        self._request = request
        self._response = response
        self._cursor = cursor

    def after(self, *, like: LikePlace | None) -> LikePlace | None:
        """The place of the last item of the page before; None: there is none. Raises as `place_of`."""
        return place_of(self._cursor, like=like) if self._cursor else None

    def page(
        self, items: Iterable[Item], *, place: Callable[[Item], Place]
    ) -> tuple[Sequence[Item], str | None]:
        """Of all items those of the page, ordered by `place`, and the URL of the next one."""
        ordered = sorted(items, key=place)
        after = self.after(like=place(ordered[0]) if ordered else None)
        page, last = page_after(ordered, after, self.limit, place=place)
        return page, self._link(last)

    def cut(
        self, found: Sequence[Item], *, place: Callable[[Item], Place]
    ) -> tuple[Sequence[Item], str | None]:
        """Likewise of the first `limit + 1` items that come after `after`, in their order."""
        page = found[: self.limit]
        return page, self._link(place(page[-1]) if len(found) > self.limit else None)

    def _link(self, last: Place | None) -> str | None:
        if last is None:
            return None
        given = [
            (name, value) for name, value in self._request.query_params.multi_items() if name != "cursor"
        ]
        following = f"{self._request.url.path}?{urlencode([*given, ('cursor', cursor_of(last))])}"
        self._response.headers["Link"] = f'<{following}>; rel="next"'
        return following


async def _paging(request: Request, response: Response, limit: Limit = 100, cursor: Cursor = None) -> Paging:
    return Paging(request, response, limit, cursor)


Paged = Annotated[Paging, Depends(_paging)]
