"""Profiles that take long, as jobs."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread

from flight_core.application.datasets.find_version import FindVersion
from flight_core.application.maintenance.jobs import MaintenanceOutcome, Unexplained, stoppable
from flight_core.application.maintenance.maintenance import Report, Step
from flight_core.application.ports import sources
from flight_core.application.profiles.profile import ComputeProfile
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.dataset import DatasetName, DatasetVersion
from flight_core.domain.job import Maintenance, Phase, Progress
from flight_core.domain.repositories import DatasetRepository


@dataclass(frozen=True)
class RunProfile(Unexplained):
    """See `Runner`. The option `version` says which one."""

    datasets: DatasetRepository
    find: FindVersion
    compute: ComputeProfile

    async def __call__(self, job: Maintenance, _folder: Path, report: sources.Report) -> MaintenanceOutcome:
        """Raises DatasetNotFound, and as `FindVersion` and `ComputeProfile`."""
        dataset = await anyio.to_thread.run_sync(self.datasets.get, job.dataset)
        version = await anyio.to_thread.run_sync(self.find, dataset, job.options["version"])
        return await stoppable(partial(self._run, dataset.name, version), partial(profiling, version), report)

    def _run(
        self, name: DatasetName, version: DatasetVersion, tell: Report, stop: Cancellation
    ) -> MaintenanceOutcome:
        known = self.compute(name, version, report=tell, stop=stop, patient=True)
        return MaintenanceOutcome(result={"columns": len(known)})

    def committed_before(self, _job: Maintenance) -> None:
        """It commits nothing."""


def profiling(version: DatasetVersion, step: Step) -> Progress:
    done_bytes = int(version.size_bytes * step.done / step.total) if step.total else 0
    return Progress(Phase.PROFILING, done_bytes, version.size_bytes)
