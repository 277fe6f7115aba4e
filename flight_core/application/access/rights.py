"""Authorization. Datasets that an actor may not see are reported as if they did not exist."""

from collections.abc import Sequence
from typing import TypeVar

from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import Dataset, DatasetName, dataset_not_found
from flight_core.domain.errors import IngestionNotFound, PermissionDenied, ScheduleNotFound
from flight_core.domain.job import Job
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.schedule import Schedule

AnyJob = TypeVar("AnyJob", bound=Job)


def require(actor: Actor, scope: Scope) -> None:
    """
    Raises:
        PermissionDenied: the actor lacks the scope.
    """
    if not actor.may(scope):
        act = "administer" if scope is Scope.ADMIN else scope
        raise PermissionDenied(f"'{actor.name}' may not {act}; ask for a token with the scope '{scope}'")


def require_unguarded(actor: Actor) -> None:
    """
    Raises:
        PermissionDenied: the actor may only use an isolated engine (see `Actor.guarded`).
    """
    if actor.guarded:
        raise PermissionDenied(
            f"'{actor.name}' may only read with SQL; ask for a token with the scope 'write' for all datasets"
        )


def list_seen(datasets: DatasetRepository, actor: Actor) -> Sequence[Dataset]:
    """Ordered by name."""
    return [dataset for dataset in datasets.list() if actor.sees(dataset.name)]


def get_seen(datasets: DatasetRepository, name: DatasetName, actor: Actor) -> Dataset:
    """
    Raises:
        DatasetNotFound: suggests a similar name that the actor sees.
    """
    dataset = datasets.find(name) if actor.sees(name) else None
    if dataset is None:
        raise dataset_not_found(name.value, actor.view_of(datasets.lake_state()).datasets)
    return dataset


def require_granted(name: DatasetName, actor: Actor) -> None:
    """Whether the actor may create or write something under a name, whether it exists or not.

    Raises:
        PermissionDenied: the name does not match the actor's patterns.
    """
    if not actor.sees(name):
        raise PermissionDenied(
            f"'{actor.name}' may not write to '{name}'; choose a name like {' or '.join(actor.datasets)}",
            name=name.value,
        )


def seen_job(job: AnyJob, actor: Actor) -> AnyJob:
    """
    Raises:
        IngestionNotFound: the actor may not see its dataset.
    """
    if not actor.sees(job.dataset):
        raise IngestionNotFound(f"ingestion '{job.id}' does not exist; see 'skein jobs'", id=job.id)
    return job


def readable_job(job: AnyJob, actor: Actor) -> AnyJob:
    """Whoever asked for a job may look at it, also without the scope `read`.

    Raises:
        IngestionNotFound: the actor may not see its dataset.
        PermissionDenied
    """
    seen = seen_job(job, actor)
    if seen.actor != actor.name or not actor.may(Scope.INGEST):
        require(actor, Scope.READ)
    return seen


def seen_schedule(schedule: Schedule, actor: Actor) -> Schedule:
    """
    Raises:
        ScheduleNotFound: the actor may not see its dataset.
    """
    if not actor.sees(schedule.request.dataset):
        name = schedule.name
        raise ScheduleNotFound(f"schedule '{name}' does not exist; see 'skein schedule list'", name=name)
    return schedule
