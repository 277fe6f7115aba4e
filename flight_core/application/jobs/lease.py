"""A job that a worker has claimed: its progress, its rates, and its log."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from flight_core.application.jobs.log import JobLog
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.tracing import Span
from flight_core.domain.job import Job, Progress

_SPAN_S = 5.0
_MIN_SPAN_S = 0.2


class Pace:
    """Computes the rates of the last seconds of a phase from its progress."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._looks: deque[tuple[float, Progress]] = deque()

    def __call__(self, progress: Progress) -> Progress:
        """The progress, with its rates as soon as they are known."""
        now = self._now()
        if self._looks and self._looks[-1][1].phase != progress.phase:
            self._looks.clear()
        self._looks.append((now, progress))
        while len(self._looks) > 1 and now - self._looks[1][0] >= _SPAN_S:
            self._looks.popleft()
        then, before = self._looks[0]
        if now - then < _MIN_SPAN_S:
            return progress
        return replace(
            progress,
            bytes_per_s=max(0, progress.done_bytes - before.done_bytes) / (now - then),
            rows_per_s=max(0, progress.rows - before.rows) / (now - then),
        )


class Lease:
    """A job that was claimed as `holder`: its latest progress, its log, and how it ended."""

    def __init__(self, job: Job, holder: str, clock: Clock, span: Span) -> None:
        self.job = job
        self.holder = holder
        self.span = span
        self.log = JobLog(clock, attempt=job.attempt)
        self.progress = job.progress
        self.stored = job.progress
        self.cancelled = job.cancel_requested
        self.final: Job | None = None
        self.context = {"job": job.id, "dataset": job.dataset.value, "attempt": job.attempt}
        self._pace = Pace()
        self._began = time.monotonic()

    async def report(self, progress: Progress) -> None:
        if progress.phase is not self.progress.phase and progress.phase is not None:
            self.log.phase = progress.phase
            self.log.add(str(progress.phase))
            self.span.event(str(progress.phase))
        self.progress = progress

    def paced(self) -> Progress:
        """The latest progress, with the rates of the last seconds."""
        return self._pace(self.progress)

    def overall(self) -> Progress:
        """The latest progress, with the rates of the whole attempt."""
        elapsed_s = max(self.elapsed_s, 0.001)
        return replace(
            self.progress,
            bytes_per_s=self.progress.done_bytes / elapsed_s,
            rows_per_s=self.progress.rows / elapsed_s,
        )

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began
