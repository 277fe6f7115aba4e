"""Telling other processes what this one reads, so that they do not delete the files.

Every read is known before it looks at the catalog. Each process says every few seconds when the oldest
of its reads began. So whatever a process began to read before its last word is in that word, and
what it began later reads what can still be asked for then, or what a valid ticket names.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from flight_core.application.datasets.usage import UsageLedger
from flight_core.application.ports.clock import Clock
from flight_core.application.queries.log import QueryLog
from flight_core.application.sessions.registry import SessionRegistry
from flight_core.domain.repositories.open_reads import OpenReadRepository

logger = logging.getLogger(__name__)

_BEAT_S = 15.0
DEAD_AFTER = timedelta(hours=1)

_ANY = ""


class OpenReads:
    """The reads of this process. Thread-safe."""

    def __init__(self, queries: QueryLog, sessions: SessionRegistry, clock: Clock) -> None:
        self._queries = queries
        self._sessions = sessions
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[object, tuple[str, datetime]] = {}

    @contextmanager
    def holding(self, dataset_id: str) -> Iterator[None]:
        """A read of the dataset that is no query."""
        key = object()
        with self._lock:
            self._held[key] = (dataset_id, self._clock())
        try:
            yield
        finally:
            with self._lock:
                del self._held[key]

    def oldest(self) -> Mapping[str, datetime]:
        """As `OpenReadRepository.beat` takes it. A transaction may read any dataset, and so may a query that
        has not been planned."""
        oldest: dict[str, datetime] = {}
        for dataset_id, moment in self._all():
            oldest[dataset_id] = min(moment, oldest.get(dataset_id, moment))
        return oldest

    def _all(self) -> Iterable[tuple[str, datetime]]:
        with self._lock:
            yield from list(self._held.values())
        for moment, pins in self._queries.running_since():
            yield from ((ref.dataset_id, moment) for ref in pins.values())
            if not pins:
                yield _ANY, moment
        transaction = self._sessions.in_transaction_since()
        if transaction is not None:
            yield _ANY, transaction


class ReadBeacon:
    """Says what this process reads, from now until `close`, in a thread of its own, and stores who has
    read what."""

    def __init__(
        self,
        reads: OpenReads,
        told: OpenReadRepository,
        usage: UsageLedger,
        clock: Clock,
        *,
        process: str,
    ) -> None:
        self._reads = reads
        self._told = told
        self._usage = usage
        self._clock = clock
        self._process = process
        self._closing = threading.Event()
        self.beat()
        self._thread = threading.Thread(target=self._run, name="read-beacon", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        now = self._clock()  # before looking: what begins meanwhile began later
        self._told.beat(self._process, now, self._reads.oldest())
        self._usage.flush()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        try:
            self._told.leave(self._process)
            self._usage.flush()
        except Exception:  # it is taken for dead after a while
            logger.exception("the catalog was not told that this process has ended")

    def _run(self) -> None:
        while not self._closing.wait(_BEAT_S):
            try:
                self.beat()
            except Exception:  # nothing is deleted that was read since the last beat
                logger.exception("the catalog was not told what is being read")
