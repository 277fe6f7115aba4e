"""A schedule: an ingestion that repeats."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import InvalidOption
from flight_core.domain.ingestion import IngestionRequest

MIN_EVERY_S = 1.0
MAX_EVERY_S = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so many seconds, counted from when the schedule was made: runs do not drift.

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
    """A cron expression, and the time zone whose clock it means."""

    expression: str
    timezone: str = "UTC"


Timing = Interval | Cron


@dataclass(frozen=True, slots=True)
class Schedule:
    """Replaced, never changed in place: `revision` grows with every change.

    `next_at` is when it is due; None while it is paused. `pause_reason` tells why Skein itself paused it: its
    owner may not do what it does any more. `reads` are the datasets that its source reads.
    One that is due while its last job has not ended waits for that: its runs never overlap, and those that
    were missed are made up for by one.
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

    @property
    def paused(self) -> bool:
        return self.next_at is None
