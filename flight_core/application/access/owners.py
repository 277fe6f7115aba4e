"""Work that is done long after it was asked for, with the rights that its owner has by then."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from flight_core.application.ports.authentication import Credentials
from flight_core.domain.access import ITSELF, LOCAL, Actor, Scope
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import PermissionDenied
from flight_core.domain.job import Job, Task
from flight_core.domain.limits import NO_LIMITS

_NEEDED = {Task.INGEST: Scope.INGEST} | dict.fromkeys((Task.PROFILE, Task.CHECK, Task.INFER), Scope.READ)


@dataclass(frozen=True, slots=True)
class ActAsOwner:
    """The owner of a job as those of their credentials have them now that still allow the work, at least one.

    What jobs read has bounds of its own. What was asked for while nobody needed credentials goes on.

    Raises:
        PermissionDenied: there is none.
    """

    credentials: Credentials

    def __call__(self, job: Job) -> Sequence[Actor]:
        return self.allowed(job.actor, _NEEDED.get(job.task, Scope.WRITE), job.dataset)

    def allowed(
        self, owner: str, scope: Scope, dataset: DatasetName, inputs: Iterable[DatasetName] = ()
    ) -> Sequence[Actor]:
        """The same of work that there is no job for yet, and that reads `inputs`."""
        for itself in (LOCAL, ITSELF):
            if owner == itself.name:
                return [itself]
        names = (dataset, *inputs)
        allowed = [
            replace(actor, limits=NO_LIMITS)
            for actor in self.credentials.holders(owner)
            if actor.may(scope) and all(map(actor.sees, names))
        ]
        if allowed:
            return allowed
        also = " or read what that takes" if len(names) > 1 else ""
        raise PermissionDenied(
            f"'{owner}', who asked for this, may not do it to '{dataset}'{also} any more; somebody who may"
            " has to ask for it",
            name=dataset.value,
        )
