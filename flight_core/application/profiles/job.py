"""Jobs that read a whole version, such as profiles that take long."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread

from flight_core.application.datasets.find_version import FindVersion
from flight_core.application.maintenance.runs import (
    MaintenanceOutcome,
    MaintenanceRunner,
    Step,
    TellStep,
    stoppable,
)
from flight_core.application.ports.sources import Report
from flight_core.application.profiles.profile import ComputeProfile
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.dataset import DatasetName, DatasetVersion
from flight_core.domain.job import Maintenance, Phase, Progress
from flight_core.domain.repositories.datasets import DatasetRepository


@dataclass(frozen=True)
class VersionRunner(MaintenanceRunner, ABC):
    """A `Runner` that reads a whole version, the one in the option `version`."""

    datasets: DatasetRepository
    find: FindVersion

    async def __call__(self, job: Maintenance, _folder: Path, report: Report) -> MaintenanceOutcome:
        """Raises DatasetNotFound, and as `FindVersion` and `result`."""
        dataset = await anyio.to_thread.run_sync(self.datasets.get, job.dataset)
        version = await anyio.to_thread.run_sync(self.find, dataset, job.options["version"])

        def look(tell: TellStep, stop: Cancellation) -> MaintenanceOutcome:
            return MaintenanceOutcome(result=self.result(dataset.name, version, tell, stop))

        return await stoppable(look, partial(_profiling, version), report)

    @abstractmethod
    def result(
        self, name: DatasetName, version: DatasetVersion, tell: TellStep, stop: Cancellation
    ) -> Mapping[str, Any]:
        """The result of the job."""


@dataclass(frozen=True)
class RunProfile(VersionRunner):
    """The result is the number of columns: the profile itself is kept."""

    compute: ComputeProfile

    def result(
        self, name: DatasetName, version: DatasetVersion, tell: TellStep, stop: Cancellation
    ) -> Mapping[str, Any]:
        """Raises as `ComputeProfile`."""
        return {"columns": len(self.compute(name, version, report=tell, stop=stop, patient=True))}


def _profiling(version: DatasetVersion, step: Step) -> Progress:
    return Progress(Phase.PROFILING, step.share_of(version.size_bytes), version.size_bytes)
