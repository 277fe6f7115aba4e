"""Derived datasets, and the lineage of versions."""

from dataclasses import asdict
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from control_api import answers, requests
from control_api.dependencies import Caller, Name, UseCases, Version, json_body
from control_api.paging import Paged, Place
from control_api.queued import LOCATION, Queued
from flight_core.application.datasets.lineage import Direction, Lineage
from flight_core.application.derived.status import DerivationStatus
from flight_core.domain.dataset import VersionRef
from flight_core.domain.job import JobState
from schemas import derivations
from schemas.http import API
from schemas.ingestions import Ingestion

router = APIRouter(prefix=API, tags=["derivations"])


@router.get("/derivations")
def list_derivations(
    use_cases: UseCases,
    caller: Caller,
    paging: Paged,
) -> derivations.DerivationPage:
    """All derived datasets, ordered by name, and how fresh they are."""
    found = use_cases.derivations.inspect(actor=caller)
    page, following = paging.page(found, place=_place)
    return derivations.DerivationPage(items=[_derivation(status) for status in page], next=following)


def _place(status: DerivationStatus) -> Place:
    return (status.derivation.target.key,)


@router.get("/steps")
def list_steps(use_cases: UseCases, _caller: Caller, paging: Paged) -> derivations.StepPage:
    """The functions that the operator has installed for deriving datasets, ordered by name."""
    page, following = paging.page(use_cases.derivations.steps.list(), place=lambda step: (step.name,))
    return derivations.StepPage(
        next=following,
        items=[
            derivations.Step(
                name=step.name,
                description=step.description,
                parameters=[derivations.StepParameter(**asdict(each)) for each in step.parameters],
            )
            for step in page
        ],
    )


@router.put("/datasets/{name}/derivation", dependencies=[Depends(json_body)])
def define_derivation(
    name: Name, request: derivations.DerivationRequest, use_cases: UseCases, caller: Caller
) -> derivations.Derivation:
    """Define how a dataset, new or not, is derived from others. With `auto` the first run starts at once."""
    use_cases.derivations.define(requests.derivation(name, request), actor=caller)
    return get_derivation(name, use_cases, caller)


@router.get("/datasets/{name}/derivation")
def get_derivation(name: Name, use_cases: UseCases, caller: Caller) -> derivations.Derivation:
    """How a dataset is derived, which versions of its inputs were used, and which are current."""
    (status,) = use_cases.derivations.inspect(name, actor=caller)
    return _derivation(status)


@router.delete("/datasets/{name}/derivation", status_code=204)
def remove_derivation(name: Name, use_cases: UseCases, caller: Caller) -> None:
    """Remove the derivation: the dataset stays as it is, and is no longer recomputed."""
    use_cases.derivations.remove(name, actor=caller)


@router.post("/datasets/{name}/derivation/refresh", status_code=202, responses=LOCATION)
async def refresh_derivation(name: Name, use_cases: UseCases, caller: Caller, queued: Queued) -> Ingestion:
    """Recompute a derived dataset from the current versions of its inputs. If a run is under way already, the
    response is that run."""
    return await queued.ingestion(partial(use_cases.derivations.refresh, name, actor=caller))


@router.post("/datasets/{name}/derivation/resume")
def resume_derivation(name: Name, use_cases: UseCases, caller: Caller) -> derivations.Derivation:
    """Resume automatic runs that were paused because the owner had lost the necessary permissions. The caller
    becomes the owner."""
    use_cases.derivations.resume(name, actor=caller)
    return get_derivation(name, use_cases, caller)


@router.get("/datasets/{name}/lineage")
def trace_lineage(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    version: Version,
    depth: Annotated[int, Query(ge=0, le=1000, description="The maximum distance in the graph.")] = 10,
    direction: Annotated[
        Direction, Query(description="`up`: its inputs. `down`: what was made from it.")
    ] = Direction.UP,
) -> derivations.Lineage:
    """The lineage of a version: a graph of the versions it was made from, or that were made from it."""
    found = use_cases.derivations.lineage(name, version, actor=caller, depth=depth, direction=direction)
    return _lineage(found)


def _derivation(status: DerivationStatus) -> derivations.Derivation:
    derivation = status.derivation
    used = {each.name.key: each.ref.version for each in status.used}
    waits = derivation.by_itself and status.stale
    return derivations.Derivation(
        dataset=derivation.target.value,
        href=f"{API}/datasets/{derivation.target}/derivation",
        sql=derivation.sql,
        step=derivation.step,
        incremental="append" if derivation.incremental else None,
        params=dict(derivation.params) if isinstance(derivation.params, dict) else list(derivation.params),
        refresh=derivation.policy.value,
        state=_state(status),
        pause_reason=derivation.pause_reason or None,
        version=None if status.target is None else status.target.version,
        inputs=[
            derivations.DerivationInput(
                name=name.value,
                used=used.get(name.key),
                current=None if name.key not in status.current else status.current[name.key].version,
            )
            for name in sorted(derivation.inputs)
        ],
        missing=[name.value for name in status.missing],
        will_refresh=waits,
        run=None if status.run is None else answers.ingestion(status.run),
        actor=derivation.actor,
        created_at=derivation.created_at,
    )


def _state(status: DerivationStatus) -> derivations.DerivationState:
    run = None if status.run is None else status.run.state
    if run is not None and not run.final:
        return "running"
    if status.derivation.pause_reason:
        return "paused"
    if status.missing:
        return "broken"
    if status.derivation.attempted is None:
        return "new"
    if run in (JobState.FAILED, JobState.CANCELLED) and not status.stale:
        return "failed"
    return "stale" if status.stale else "fresh"


def _lineage(lineage: Lineage) -> derivations.Lineage:
    return derivations.Lineage(
        nodes=[
            derivations.LineageNode(
                id=_id(node.ref),
                dataset=node.name.value,
                version=node.ref.version,
                operation=None if node.version is None else node.version.operation,
                source=None if node.version is None else node.version.commit_info.get("source") or None,
                job=None if node.version is None else node.version.job_id,
                rows=None if node.version is None else node.version.row_count,
                committed_at=None if node.version is None else node.version.committed_at,
            )
            for node in lineage.nodes
        ],
        edges=[
            derivations.LineageEdge.model_validate(
                {"from": _id(edge.source), "to": _id(edge.target), "kind": edge.kind}
            )
            for edge in lineage.edges
        ],
        truncated=lineage.truncated,
    )


def _id(ref: VersionRef) -> str:
    return f"{ref.dataset_id}@{ref.version}"
