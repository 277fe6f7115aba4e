"""Queueing jobs for maintenance and for the analysis of whole datasets."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from flight_core.application.access.rights import get_seen, require
from flight_core.application.jobs.jobs import Wakeup, event_of
from flight_core.application.maintenance.compaction import require_columns
from flight_core.application.ports.clock import Clock, NewId
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import DatasetName
from flight_core.domain.job import JobState, Maintenance, Task
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.jobs import JobRepository


@dataclass(frozen=True, slots=True)
class StartMaintenance:
    """Queue a compaction, a vacuum or a check. If an equal job is queued or running, returns that instead.

    Raises:
        DatasetNotFound
        InvalidRequest: a column in `options` does not exist.
        PermissionDenied
    """

    jobs: JobRepository
    datasets: DatasetRepository
    clock: Clock
    new_id: NewId
    wakeup: Wakeup

    def __call__(
        self,
        name: DatasetName,
        task: Task,
        *,
        actor: Actor,
        options: Mapping[str, Any] = MappingProxyType({}),
        scope: Scope = Scope.WRITE,
    ) -> Maintenance:
        require(actor, scope)
        dataset = get_seen(self.datasets, name, actor)
        require_columns(dataset, options.get("sort_by", ()))
        return self.queue(dataset.name, task, actor=actor, options=options)

    def queue(
        self, name: DatasetName, task: Task, *, actor: Actor, options: Mapping[str, object]
    ) -> Maintenance:
        """The same without the checks."""
        job = Maintenance(
            id=self.new_id(),
            maintains=name,
            does=task,
            options=options,
            state=JobState.QUEUED,
            created_at=self.clock(),
            actor=actor.name,
            rights=actor.rights,
        )
        job = self.jobs.request_maintenance(job, event_of(JobState.QUEUED, job, self.clock))
        self.wakeup.notify()
        return job
