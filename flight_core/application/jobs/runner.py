"""The interface of what runs one kind of job."""

from pathlib import Path
from typing import Any, Protocol

from flight_core.application.ports.sources import Report
from flight_core.domain.dataset import DatasetVersion
from flight_core.domain.errors import FlightCoreError
from flight_core.domain.job import Job


class JobOutcome(Protocol):
    """The outcome of a successful job."""

    @property
    def version(self) -> DatasetVersion | None:
        """What it committed; None if there was nothing to commit."""

    def onto(self, job: Any, /) -> Job:
        """The record of the job, completed by the outcome."""


class Runner(Protocol):
    """Runs one kind of job; `folder` is for temporary files. Safe to repeat: an attempt finds what an earlier
    one has committed. If it is cancelled, the dataset is either unchanged or the job has committed."""

    async def __call__(self, job: Any, folder: Path, report: Report, /) -> JobOutcome: ...

    def committed_before(self, job: Any, /) -> JobOutcome | None:
        """The outcome of an earlier attempt that has committed; None if there is none."""

    def explained(self, job: Any, error: FlightCoreError, /) -> Job:
        """The record of a job that failed with `error`, completed by the details of the error."""
