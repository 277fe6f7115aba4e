"""The result cache."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class CacheUsage:
    """The contents of a cache. `size_bytes` includes results that are being recorded."""

    entries: int = 0
    size_bytes: int = 0


class Recording(Protocol):
    """Records a result into the cache, batch by batch. Thread-safe. A failure ends the recording and raises
    nothing."""

    @property
    def over(self) -> bool:
        """Whether the recording has ended, so that further batches are ignored."""

    def asked(self) -> None:
        """The engine starts to compute; it does so until the next `write` or `finish`."""

    def write(self, batch: pa.RecordBatch) -> None: ...

    def finish(self, *, run_s: float) -> None:
        """The result is complete and may be kept. The engine took `run_s` seconds to compute it."""

    def discard(self) -> None:
        """Discard the recording, unless it is finished."""


class ResultCache(Protocol):
    """Holds complete results. A key covers everything that a result depends on, so results never become
    stale.

    Results are evicted when there is no room for them. Thread-safe.
    """

    def find(self, key: str) -> pa.RecordBatchReader | None:
        """A reader of the result; None if it is not cached. It can be read to its end even if it is
        evicted."""

    def wait(self, key: str, check: Callable[[], None]) -> bool:
        """Wait until a recording of the key has ended, as long as the engine is computing. If it waits for a
        slow client, or if there is no recording, returns False.

        `check` is called repeatedly meanwhile; what it raises ends the wait.
        """

    def rows(self, key: str) -> int | None:
        """The number of rows of the result; None if it is not cached."""

    def record(self, key: str, schema: pa.Schema, *, scrolled: bool = False) -> Recording | None:
        """Start to record a result; None if it is known to be too large. Scrolled results may be larger."""

    def usage(self) -> CacheUsage: ...
