"""The rights for background work: those that it was asked for with, as far as its owner still has them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from flight_core.application.ports.authentication import Credentials
from flight_core.domain.access import ITSELF, LOCAL, Actor, Rights, Scope
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import PermissionDenied
from flight_core.domain.job import Job, Task
from flight_core.domain.limits import NO_LIMITS

_NEEDED = {Task.INGEST: Scope.INGEST} | dict.fromkeys((Task.PROFILE, Task.CHECK, Task.INFER), Scope.READ)


@dataclass(frozen=True, slots=True)
class ActAsOwner:
    """The current credentials of a job's owner that allow the job, as one actor each; at least one.

    Each may do what the credential that asked for the job could do, too, and nothing else. Limits do not
    apply, since jobs have their own. Jobs from before there were credentials go on.

    Raises:
        PermissionDenied: none of the credentials allow the job.
    """

    credentials: Credentials

    def __call__(self, job: Job) -> Sequence[Actor]:
        return self.allowed(job.actor, job.rights, _NEEDED.get(job.task, Scope.WRITE), job.dataset)

    def allowed(
        self,
        owner: str,
        rights: Rights,
        scope: Scope,
        dataset: DatasetName,
        inputs: Iterable[DatasetName] = (),
    ) -> Sequence[Actor]:
        """The same for work without a job yet, which also reads `inputs`."""
        for itself in (LOCAL, ITSELF):
            if owner == itself.name:
                return [itself]
        names = (dataset, *inputs)
        actors = [_limited_to(rights, holder) for holder in self.credentials.holders(owner)]
        allowed = [actor for actor in actors if actor.may(scope) and all(map(actor.sees, names))]
        if allowed:
            return allowed
        also = " or read what that takes" if len(names) > 1 else ""
        raise PermissionDenied(
            f"'{owner}', who asked for this, may not do it to '{dataset}'{also} any more; somebody who may"
            " has to ask for it",
            name=dataset.value,
        )


def _limited_to(rights: Rights, holder: Actor) -> Actor:
    shared = rights.shared(holder.rights)
    return replace(holder, scopes=shared.scopes, datasets=shared.datasets, limits=NO_LIMITS)
