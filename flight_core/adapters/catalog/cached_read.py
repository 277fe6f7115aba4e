"""Caching what is read from the catalog for every request."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import sqlalchemy as sa

from flight_core.adapters.catalog import counters
from flight_core.infrastructure.database import Database

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Cached(Generic[T]):
    stamp: int | None
    number: int
    value: T


class CachedRead(Generic[T]):
    """Calls `load(connection, number)` again only when the counter `name` has another number. Thread-safe."""

    def __init__(self, database: Database, name: str, load: Callable[[sa.Connection, int], T]) -> None:
        self._database = database
        self._name = name
        self._load = load
        self._cached: _Cached[T] | None = None

    def __call__(self) -> T:
        stamp, cached = (
            self._database.stamp(),
            self._cached,
        )  # the stamp first: never newer than the value
        if cached is not None and stamp is not None and cached.stamp == stamp:
            return cached.value
        with self._database.read() as connection:
            number = counters.current(connection, self._name)
            if cached is None or cached.number != number:
                cached = _Cached(stamp, number, self._load(connection, number))
        self._cached = replace(cached, stamp=stamp)
        return cached.value
