"""Repository of schedules."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from flight_core.domain.events import Event
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.schedule import Schedule


class ScheduleRepository(Protocol):
    """Names are compared ignoring case."""

    def add(self, schedule: Schedule, event: Event) -> None:
        """
        Raises:
            ScheduleExists: the name is taken.
        """

    def get(self, name: str) -> Schedule:
        """
        Raises:
            ScheduleNotFound
        """

    def list(self) -> Sequence[Schedule]:
        """Ordered by name."""

    def due(self, now: datetime) -> Sequence[Schedule]:
        """The schedules that are due and whose last job has ended; the one that was due first comes first."""

    def save(self, schedule: Schedule, event: Event) -> Schedule:
        """Store a changed schedule and append `event`, in one transaction; returns the next revision.

        Raises:
            ScheduleNotFound
            Conflict: the stored schedule has another revision than `schedule`.
        """

    def fire(self, schedule: Schedule, ingestion: Ingestion, event: Event) -> None:
        """Store a changed schedule, add the job and append its event, in one transaction. Of several
        processes with the same revision only one succeeds.

        Raises:
            ScheduleNotFound, Conflict: as `save`.
            ScheduleRunning: the last job has not ended.
        """

    def remove(self, name: str, event: Event) -> None:
        """
        Raises:
            ScheduleNotFound
        """
