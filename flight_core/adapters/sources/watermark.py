"""Incremental fetches: which records of an API are new, by the largest value of a field so far."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flight_core.adapters.sources.pages import Json, PageRequest, dig
from flight_core.domain.errors import InvalidSource, LimitExceeded
from flight_core.domain.source_state import SourceState

MAX_TIES = 100_000

Key = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class Incremental:
    """`field` is a path in a record. The next fetch sends its largest value as `param`."""

    field: str
    param: str
    start: Json = None
    place: str = "query"


class Watermark:
    """The largest value so far, and digests of the records that have it.

    Servers disagree on whether a time includes records of exactly that time. So records at the watermark are
    told apart by their content: those that were seen before are skipped, others are taken.
    """

    def __init__(self, incremental: Incremental | None, state: SourceState | None) -> None:
        cursor = state.cursor if state is not None else {}
        self._incremental = incremental
        self._since: Json = cursor.get("since")
        self._floor: Key | None = None if self._since is None else _key(self._since)
        self._seen = frozenset(_list(cursor.get("at")))
        self._top, self._top_value = self._floor, self._since
        self._ties = set(self._seen)

    def asked(self, request: PageRequest) -> PageRequest:
        """The first request, with the parameter for new records only."""
        if self._incremental is None:
            return request
        since = self._incremental.start if self._since is None else self._since
        if since is None:
            return request
        return request.with_value(self._incremental.place, self._incremental.param, since)

    def new_ones(self, records: Sequence[Mapping[str, Json]], label: str) -> list[Mapping[str, Json]]:
        """
        Raises:
            InvalidSource: a record lacks the field, or its values cannot be compared.
        """
        if self._incremental is None:
            return list(records)
        return [record for record in records if self._note(record, self._incremental, label)]

    @property
    def cursor(self) -> Mapping[str, object]:
        return {"since": self._top_value, "at": sorted(self._ties)}

    def _note(self, record: Mapping[str, Json], incremental: Incremental, label: str) -> bool:
        """Whether the record is new."""
        value = dig(record, incremental.field)
        key = _key(value)
        if key is None or (self._top is not None and key[0] != self._top[0]):
            raise InvalidSource(
                f"a record of {label} has {json.dumps(value)[:60]} at '{incremental.field}', which cannot be"
                " compared with the others; 'incremental' needs numbers or times in every record"
            )
        if self._floor is not None and key < self._floor:
            return False
        mark = _mark(record)
        if key == self._floor and mark in self._seen:
            return False
        if self._top is None or key > self._top:
            self._top, self._top_value, self._ties = key, value, set()
        if key == self._top:
            self._ties.add(mark)
        if len(self._ties) > MAX_TIES:
            raise LimitExceeded(
                f"more than {MAX_TIES} records of {label} have the same '{incremental.field}';"
                " choose a finer field"
            )
        return True


def parsed_incremental(given: object) -> Incremental | None:
    """
    Raises:
        InvalidSource: it is not valid.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping) or set(given) - {"field", "param", "start", "in"}:
        raise InvalidSource("'incremental' has 'field' and 'param', and may have 'start' and 'in'")
    name, param, place = given.get("field"), given.get("param"), given.get("in", "query")
    if not (isinstance(name, str) and name and isinstance(param, str) and param):
        raise InvalidSource("'incremental' needs 'field', a path in each record, and 'param', what to send")
    if place not in ("query", "body"):
        raise InvalidSource(f"'in' of 'incremental' is query or body, not {place!r:.40}")
    start = given.get("start")
    if start is not None and _key(start) is None:
        raise InvalidSource(f"'start' of 'incremental' is a text or a number, not {start!r:.40}")
    return Incremental(name, param, start, place)


def _key(value: Json) -> Key | None:
    """The sort of a value, and the value to compare it by. Times are compared across time zones."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return "number", value
    if not isinstance(value, str):
        return None
    if value.isdecimal():
        return "number", int(value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return "text", value
    return "time", moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _mark(record: Mapping[str, Json]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:24]


def _list(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []
