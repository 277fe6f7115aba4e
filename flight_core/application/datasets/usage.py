"""Usage statistics: counting the queries that read each dataset."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flight_core.application.access.rights import get_seen, require
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import FlightCoreError
from flight_core.domain.query import OWN_DOOR, QueryRecord
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.usage import UsageRepository
from flight_core.domain.usage import Usage, Use, usage_of

logger = logging.getLogger(__name__)


class UsageLedger:
    """Counts the queries of this process by dataset and actor, and stores the counts in batches. Thread-safe.

    Counts that are not stored yet are lost if the process is killed.
    """

    def __init__(self, usage: UsageRepository) -> None:
        self._usage = usage
        self._lock = threading.Lock()
        self._noted: dict[tuple[str, str], Use] = {}

    def note(self, record: QueryRecord) -> None:
        if record.door == OWN_DOOR:
            return
        at = record.finished_at or record.created_at
        with self._lock:
            for ref in record.pins.values():
                self._add(ref.dataset_id, Use(record.actor, 1, at))

    def flush(self) -> None:
        """Store the pending counts. If that fails they stay pending."""
        with self._lock:
            noted, self._noted = self._noted, {}
        if not noted:
            return
        try:
            self._usage.add(noted)
        except BaseException:
            with self._lock:
                for (dataset_id, _), use in noted.items():
                    self._add(dataset_id, use)
            raise

    def _add(self, dataset_id: str, use: Use) -> None:
        key = dataset_id, use.actor
        earlier = self._noted.get(key)
        self._noted[key] = use if earlier is None else earlier.plus(use)


@dataclass(frozen=True, slots=True)
class GetUsage:
    """The usage of a dataset, in total and by the caller; for administrators of everything by each actor,
    most queries first.

    Raises DatasetNotFound.
    """

    datasets: DatasetRepository
    usage: UsageRepository
    flush: Callable[[], None]  # stores pending counts, so that the latest queries are included

    def __call__(self, name: DatasetName, *, actor: Actor) -> tuple[Usage, Sequence[Use]]:
        require(actor, Scope.READ)
        dataset = get_seen(self.datasets, name, actor)
        self._count_latest()
        uses = self.usage.of(dataset.id)
        seen = [use for use in uses if actor.oversees_all or use.actor == actor.name]
        return usage_of(uses), sorted(seen, key=lambda use: (-use.queries, use.actor))

    def of_all(self) -> Mapping[str, Usage]:
        """The usage of all datasets that were ever queried, by id."""
        self._count_latest()
        return self.usage.totals()

    def _count_latest(self) -> None:
        try:
            self.flush()
        except FlightCoreError:  # reading must still work if the disk is full
            logger.warning("the latest use of datasets could not be stored", exc_info=True)
