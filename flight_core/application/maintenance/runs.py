"""What runs of maintenance have in common: how they tell of their steps, are stopped, and end."""

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
    """How far a piece of maintenance has come, in rows or files; `total` None: unknown."""

    done: int
    total: int | None = None

    def share_of(self, size_bytes: int) -> int:
        """As many of the bytes as there are steps done of all."""
        return int(size_bytes * self.done / self.total) if self.total else 0


TellStep = Callable[[Step], None]


def say_nothing(_step: Step) -> None: ...


class StepCounter:
    """Counts steps, tells of them, and stops where that was asked for."""

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
    """How maintenance ended well. `version` None: nothing was committed."""

    version: DatasetVersion | None = None
    result: Mapping[str, Any] = field(default_factory=dict)

    def onto(self, job: Maintenance) -> Maintenance:
        return replace(
            job, result=self.result, unchanged=self.version is None and not any(self.result.values())
        )


class MaintenanceRunner:
    """What a `Runner` of maintenance does unless it says otherwise: it commits nothing, and its failures know
    nothing but why."""

    def committed_before(self, _job: Maintenance) -> MaintenanceOutcome | None:
        return None

    def explained(self, job: Maintenance, _error: FlightCoreError) -> Maintenance:
        return job


async def stoppable(
    work: Callable[[TellStep, Cancellation], T], progress: Callable[[Step], Progress], report: Report
) -> T:
    """The result of `work`, which runs in a thread. Being cancelled asks it to stop, and waits for that."""
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
        except Exception as error:  # raised below: the group would wrap it
            await anyio.lowlevel.checkpoint_if_cancelled()  # by us: what is to be heard of is our own end
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result
