"""Schedules: ingestions that are repeated."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from flight_core.domain.access import ALL_RIGHTS, Rights
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import InvalidOption
from flight_core.domain.ingestion import IngestionRequest

MIN_EVERY_S = 1.0
MAX_EVERY_S = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Interval:
    """Every `every_s` seconds, counted from the creation of the schedule, so that runs do not drift.

    Raises:
        InvalidOption: on construction.
    """

    every_s: float

    def __post_init__(self) -> None:
        if not MIN_EVERY_S <= self.every_s <= MAX_EVERY_S:
            raise InvalidOption(f"a schedule repeats every {MIN_EVERY_S:g} to {MAX_EVERY_S:g} seconds")

    def next_after(self, moment: datetime, *, anchor: datetime) -> datetime:
        """The first multiple of the interval after `moment`, counted from `anchor`."""
        step = timedelta(seconds=self.every_s)
        return anchor + (max(timedelta(), moment - anchor) // step + 1) * step


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression, and the time zone that it is in."""

    expression: str
    timezone: str = "UTC"


Timing = Interval | Cron


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule is immutable: changes make a new record with the next `revision`.

    `next_at` is when it is due; None while it is paused. `pause_reason` says why Skein paused it by itself:
    its owner has lost the rights that it needs. `rights` are those that the owner had on becoming its owner;
    runs have no others. `reads` are the datasets that its source reads. Runs never
    overlap: a schedule that is due waits until its last job has ended, and missed runs are made up for by a
    single one.
    """

    name: str
    request: IngestionRequest
    timing: Timing
    created_at: datetime
    actor: str
    next_at: datetime | None
    last_job: str | None = None
    last_at: datetime | None = None
    revision: int = 1
    pause_reason: str = ""
    reads: frozenset[DatasetName] = frozenset()
    rights: Rights = ALL_RIGHTS

    @property
    def paused(self) -> bool:
        return self.next_at is None
