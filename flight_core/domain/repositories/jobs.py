"""Jobs of every kind."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from flight_core.domain.events import Event
from flight_core.domain.job import Job, JobFilter, LogLine, Maintenance, Progress

EVERY_JOB = JobFilter()


class JobRepository(Protocol):
    """All jobs, and which worker holds which."""

    def request_maintenance(self, job: Maintenance, event: Event) -> Maintenance:
        """Add a job, unless one of that kind, with the same options, waits or runs for the dataset: then that
        one is the answer."""

    def get(self, job_id: str) -> Job:
        """
        Raises:
            IngestionNotFound: no such job.
        """

    def list(
        self, wanted: JobFilter = EVERY_JOB, *, limit: int = 100, before: str | None = None
    ) -> Sequence[Job]:
        """Newest first; those that were added before the job of the id `before`.

        Raises:
            IngestionNotFound: no job has the id `before` (any more).
        """

    def claim(self, *, worker: str, lease_until: datetime) -> Job | None:
        """Take the job whose turn it is; None if there is nothing to do.

        First the jobs whose lease ran out. Then by priority; then those that have the fewest jobs of
        their own dataset before them, so that many for one dataset do not keep others waiting; then
        in the order in which they were added. A job does not overtake an exclusive one of its dataset.

        Atomic: of several workers one gets it. The job comes back RUNNING with `attempt` + 1.
        """

    def report(self, job_id: str, progress: Progress, *, worker: str, lease_until: datetime) -> Job:
        """Store progress and extend the lease. The answer tells `cancel_requested`.

        Raises:
            Conflict: another worker holds the job now; stop without committing.
        """

    def release(self, job_id: str, *, worker: str) -> None:
        """Give a claimed job back: it is QUEUED again and this attempt does not count.

        Nothing happens if `worker` does not hold the job.
        """

    def request_cancel(self, job_id: str) -> Job:
        """A queued job becomes CANCELLED at once; a running one is marked.

        Raises:
            IngestionNotFound: no such job.
            IngestionFinished: it is in a final state.
        """

    def finish(self, job: Job, event: Event) -> None:
        """Store a final state and append `event`, in one transaction. A final state never changes again."""

    def write_log(self, job_id: str, lines: Sequence[LogLine]) -> None:
        """Add to the job's log."""

    def read_log(self, job_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, LogLine]]:
        """Numbered lines, oldest first: those with a larger number than `after`.

        Raises:
            IngestionNotFound: no such job.
        """

    def prune(self, *, keep: int) -> int:
        """Delete all but the newest `keep` jobs that have ended, with their logs; the number deleted."""
