"""Results that were computed before, kept for whoever asks the same again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """What a cache holds; `size_bytes` counts what is being recorded, too."""

    entries: int = 0
    size_bytes: int = 0


class Recording(Protocol):
    """A result on its way into a cache, a batch at a time. Thread-safe; trouble ends it, and never raises."""

    @property
    def over(self) -> bool:
        """Whether nothing that is written is kept any more."""

    def asked(self) -> None:
        """The engine computes from now on, until the next `write` or `finish`."""

    def write(self, batch: pa.RecordBatch) -> None: ...

    def finish(self, *, run_s: float) -> None:
        """The result is complete, and may be kept; computing it took the engine `run_s` seconds."""

    def discard(self) -> None:
        """Forget it, unless it is finished."""


class ResultCache(Protocol):
    """Holds complete results under keys that say all they depend on, so that none ever goes stale.

    Forgets what it has no room for. Thread-safe.
    """

    def find(self, key: str) -> pa.RecordBatchReader | None:
        """The result, from its first row. It stays whole while it is read, whatever the cache forgets."""

    def wait(self, key: str, check: Callable[[], None]) -> bool:
        """Wait for the end of a recording of the key, as long as the engine computes it: a client that reads
        slowly is not waited for. False: there is none, or none to wait for.

        `check` is called now and then meanwhile; what it raises ends the wait.
        """

    def rows(self, key: str) -> int | None:
        """How many rows the result has, if it is here."""

    def record(self, key: str, schema: pa.Schema, *, scrolled: bool = False) -> Recording | None:
        """None where it is known that the result cannot be kept. One that is scrolled may be larger."""

    def usage(self) -> CacheUsage: ...
