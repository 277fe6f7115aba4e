"""Reporting the open reads of this process, so that no other process deletes files that are being read.

Reads are registered before they look at the catalog, and each process reports every few seconds when its
oldest open reads began. So a report includes all reads that began before it, and reads that began later only
use versions that had not expired by then, or that a valid ticket names.
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

_INTERVAL_S = 15.0
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
        """Register a read of the dataset, other than a query, for the block."""
        key = object()
        with self._lock:
            self._held[key] = (dataset_id, self._clock())
        try:
            yield
        finally:
            with self._lock:
                del self._held[key]

    def oldest(self) -> Mapping[str, datetime]:
        """The argument of `OpenReadRepository.report`. A transaction may read any dataset, and so may a query
        that is not planned yet."""
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


class OpenReadReporter:
    """Reports the open reads of this process and stores the usage statistics, periodically, from a background
    thread until `close`."""

    def __init__(
        self,
        reads: OpenReads,
        repository: OpenReadRepository,
        usage: UsageLedger,
        clock: Clock,
        *,
        process: str,
    ) -> None:
        self._reads = reads
        self._repository = repository
        self._usage = usage
        self._clock = clock
        self._process = process
        self._closing = threading.Event()
        self.report()
        self._thread = threading.Thread(target=self._run, name="open-reads", daemon=True)
        self._thread.start()

    def report(self) -> None:
        now = self._clock()  # first: reads that begin meanwhile are later than that
        self._repository.report(self._process, now, self._reads.oldest())
        self._usage.flush()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        try:
            self._repository.leave(self._process)
            self._usage.flush()
        except Exception:  # after a while the process is considered dead
            logger.exception("the catalog was not told that this process has ended")

    def _run(self) -> None:
        while not self._closing.wait(_INTERVAL_S):
            try:
                self.report()
            except Exception:  # reads since the last report stay protected
                logger.exception("the catalog was not told what is being read")
