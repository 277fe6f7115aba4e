"""What all maintenance jobs share: progress, cancellation, and outcome."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from flight_core.application.ports.sources import Report
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.dataset import DatasetVersion
from flight_core.domain.errors import FlightCoreError
from flight_core.domain.job import Maintenance, Progress

_TELL_S = 0.2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """The progress of a maintenance job, in rows or files. `total` is None if unknown."""

    done: int
    total: int | None = None

    def share_of(self, size_bytes: int) -> int:
        """The part of `size_bytes` that corresponds to the steps done."""
        return int(size_bytes * self.done / self.total) if self.total else 0


TellStep = Callable[[Step], None]


def say_nothing(_step: Step) -> None: ...


class StepCounter:
    """Counts and reports steps, and raises Cancelled if that was requested."""

    def __init__(self, total: int | None, report: TellStep, stop: Cancellation) -> None:
        self._step = Step(0, total)
        self._report = report
        self._stop = stop

    def __call__(self, more: int) -> None:
        self._stop.check()
        self._step = replace(self._step, done=self._step.done + more)
        self._report(self._step)


@dataclass(frozen=True, slots=True)
class MaintenanceOutcome:
    """The outcome of a successful maintenance job. `version` None: nothing was committed."""

    version: DatasetVersion | None = None
    result: Mapping[str, Any] = field(default_factory=dict)

    def onto(self, job: Maintenance) -> Maintenance:
        return replace(
            job, result=self.result, unchanged=self.version is None and not any(self.result.values())
        )


class MaintenanceRunner:
    """The defaults for a `Runner` of maintenance: it commits nothing, and adds nothing to the record of a
    failure."""

    def committed_before(self, _job: Maintenance) -> MaintenanceOutcome | None:
        return None

    def explained(self, job: Maintenance, _error: FlightCoreError) -> Maintenance:
        return job


async def stoppable(
    work: Callable[[TellStep, Cancellation], T], progress: Callable[[Step], Progress], report: Report
) -> T:
    """The result of `work`, which runs in a thread. On cancellation it is asked to stop, and waited for."""
    stop = Cancellation()
    latest = Step(0)

    def tell(step: Step) -> None:
        nonlocal latest
        latest = step

    async def keep_telling() -> None:
        try:
            while True:
                await report(progress(latest))
                await anyio.sleep(_TELL_S)
        finally:
            stop.request()

    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_telling)
        try:
            result = await anyio.to_thread.run_sync(work, tell, stop)
            await report(progress(latest))
        except Exception as error:  # raised below, since the task group would wrap it
            await anyio.lowlevel.checkpoint_if_cancelled()  # cancellation takes precedence over the error
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result
