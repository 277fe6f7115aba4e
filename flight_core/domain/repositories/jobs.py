"""Repository of jobs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from flight_core.domain.events import Event
from flight_core.domain.job import Job, JobFilter, LogLine, Maintenance, Progress

EVERY_JOB = JobFilter()


class JobRepository(Protocol):
    """Jobs of every kind, and the leases that workers have on them."""

    def request_maintenance(self, job: Maintenance, event: Event) -> Maintenance:
        """Add a job and append `event`. If an equal job of the dataset, with the same task and options, is
        queued or running, returns that instead."""

    def get(self, job_id: str) -> Job:
        """
        Raises:
            IngestionNotFound: there is no such job.
        """

    def list(
        self, wanted: JobFilter = EVERY_JOB, *, limit: int = 100, before: str | None = None
    ) -> Sequence[Job]:
        """Newest first; only jobs that were added before the one with the id `before`, if it is given.

        Raises:
            IngestionNotFound: there is no job with the id `before`, or not any more.
        """

    def claim(self, *, worker: str, lease_until: datetime) -> Job | None:
        """Claim the next job; None if there is nothing to do.

        Jobs whose lease has expired come first. Others are ordered by priority, then by the number of jobs of
        the same dataset before them (so that many jobs for one dataset do not hold up others), then by the
        order in which they were added. A job does not overtake an exclusive one of its dataset.

        Atomic: only one of several workers gets the job. It is returned as RUNNING, with `attempt` + 1.
        """

    def report(self, job_id: str, progress: Progress, *, worker: str, lease_until: datetime) -> Job:
        """Store progress and extend the lease. Check `cancel_requested` of the returned job.

        Raises:
            Conflict: another worker holds the job now; stop without committing.
        """

    def release(self, job_id: str, *, worker: str) -> None:
        """Return a claimed job to the queue. The attempt does not count.

        Does nothing if `worker` does not hold the job.
        """

    def request_cancel(self, job_id: str) -> Job:
        """Cancel a queued job, or mark a running one with `cancel_requested`.

        Raises:
            IngestionNotFound: there is no such job.
            IngestionFinished: it is in a final state.
        """

    def finish(self, job: Job, event: Event) -> None:
        """Store a final state and append `event`, in one transaction. A final state never changes again."""

    def write_log(self, job_id: str, lines: Sequence[LogLine]) -> None:
        """Add to the job's log."""

    def read_log(self, job_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, LogLine]]:
        """Numbered lines, oldest first; only those with a larger number than `after`.

        Raises:
            IngestionNotFound: there is no such job.
        """

    def prune(self, *, keep: int) -> int:
        """Delete all but the newest `keep` finished jobs, with their logs; returns the number of deleted
        jobs."""
