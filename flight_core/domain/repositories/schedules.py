"""Schedules."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from flight_core.domain.events import Event
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.schedule import Schedule


class ScheduleRepository(Protocol):
    """Names compare without case."""

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
        """By name."""

    def due(self, now: datetime) -> Sequence[Schedule]:
        """Those that are due, and whose last job has ended; the one that waits longest first."""

    def save(self, schedule: Schedule, event: Event) -> Schedule:
        """Store a changed schedule and append `event`, in one transaction; its next revision.

        Raises:
            ScheduleNotFound
            Conflict: it is not the revision that `schedule` was made from.
        """

    def fire(self, schedule: Schedule, ingestion: Ingestion, event: Event) -> None:
        """Store a changed schedule, add the job and append its event, in one transaction: of several
        processes that see the same revision one gets through.

        Raises:
            ScheduleNotFound, Conflict: as `save`.
            ScheduleRunning: the last job has not ended.
        """

    def remove(self, name: str, event: Event) -> None:
        """
        Raises:
            ScheduleNotFound
        """
