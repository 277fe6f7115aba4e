"""Work that is done long after it was asked for, with the rights that its owner has by then."""

from dataclasses import dataclass, replace

from flight_core.application.ports.authentication import Credentials
from flight_core.domain.access import ITSELF, LOCAL, Actor, Scope
from flight_core.domain.errors import PermissionDenied
from flight_core.domain.job import Job, Task
from flight_core.domain.limits import NO_LIMITS

_NEEDED = {Task.INGEST: Scope.INGEST, Task.PROFILE: Scope.READ, Task.CHECK: Scope.READ}


@dataclass(frozen=True, slots=True)
class ActAsOwner:
    """The owner of a job as one of their credentials has them now that still allows the work.

    What jobs read has bounds of its own. What was asked for while nobody needed credentials goes on.

    Raises:
        PermissionDenied: there is none.
    """

    credentials: Credentials

    def __call__(self, job: Job) -> Actor:
        for itself in (LOCAL, ITSELF):
            if job.actor == itself.name:
                return itself
        scope = _NEEDED.get(job.task, Scope.WRITE)
        for actor in self.credentials.holders(job.actor):
            if actor.may(scope) and actor.sees(job.dataset):
                return replace(actor, limits=NO_LIMITS)
        raise PermissionDenied(
            f"'{job.actor}', who asked for this, may not do it to '{job.dataset}' any more; somebody who may"
            " has to ask for it",
            name=job.dataset.value,
        )
