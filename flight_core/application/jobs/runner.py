"""What does one kind of job."""

from pathlib import Path
from typing import Any, Protocol

from flight_core.application.ports.sources import Report
from flight_core.domain.dataset import DatasetVersion
from flight_core.domain.errors import FlightCoreError
from flight_core.domain.job import Job


class JobOutcome(Protocol):
    """How a job that succeeded ended."""

    @property
    def version(self) -> DatasetVersion | None:
        """What it committed; None if there was nothing to commit."""

    def onto(self, job: Any, /) -> Job:
        """The record of the job, with what else came out of it."""


class Runner(Protocol):
    """Does one kind of job, using `folder` for scratch. Safe to repeat: what an attempt committed is
    found by the next one. Cancelling it leaves the dataset as it was, or commits."""

    async def __call__(self, job: Any, folder: Path, report: Report, /) -> JobOutcome: ...

    def committed_before(self, job: Any, /) -> JobOutcome | None:
        """What an earlier attempt committed."""

    def explained(self, job: Any, error: FlightCoreError, /) -> Job:
        """The record of a job that failed with `error`, with what else that knows."""
