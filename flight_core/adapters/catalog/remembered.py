"""What is read so often that it is kept until somebody commits something else."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import sqlalchemy as sa

from flight_core.adapters.catalog import counters
from flight_core.infrastructure.database import Database

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Seen(Generic[T]):
    stamp: int | None
    number: int
    value: T


class Remembered(Generic[T]):
    """`load(connection, number)` once for each number that the counter `name` reaches. Thread-safe."""

    def __init__(self, database: Database, name: str, load: Callable[[sa.Connection, int], T]) -> None:
        self._database = database
        self._name = name
        self._load = load
        self._seen: _Seen[T] | None = None

    def __call__(self) -> T:
        stamp, seen = self._database.stamp(), self._seen  # the stamp first: it may be older than the value
        if seen is not None and stamp is not None and seen.stamp == stamp:
            return seen.value
        with self._database.read() as connection:
            number = counters.current(connection, self._name)
            if seen is None or seen.number != number:
                seen = _Seen(stamp, number, self._load(connection, number))
        self._seen = replace(seen, stamp=stamp)
        return seen.value
