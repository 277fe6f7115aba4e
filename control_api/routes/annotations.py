"""Descriptions, tags and owners of datasets, changed one at a time or many at once."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response
from starlette.types import Scope

from control_api import answers
from control_api.dependencies import Caller, Matching, Name, UseCases, json_body
from control_api.errors import HttpProblem, problem_of
from control_api.etags import etag_of_dataset, require_condition, require_match
from control_api.openapi import MERGE_PATCH
from control_api.options import ControlUseCases
from flight_core.domain.access import Actor
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import FlightCoreError
from schemas.datasets import BulkChange, BulkItem, BulkOutcome, BulkOutcomes, Dataset, DatasetChange
from schemas.http import API

router = APIRouter(prefix=f"{API}/datasets", tags=["datasets"])


@router.patch("/{name}", dependencies=[Depends(json_body)], openapi_extra=MERGE_PATCH)
def change_dataset(
    name: Name,
    change: DatasetChange,
    request: Request,
    response: Response,
    use_cases: UseCases,
    caller: Caller,
    matching: Matching,
) -> Dataset:
    """Change the description, tags, owners and column descriptions of a dataset with a JSON merge patch:
    fields that are left out stay as they are, null clears a field, lists are replaced as a whole. Requires
    `If-Match`. Rows and versions are not touched."""
    require_condition(request)
    with matching() as seen:
        changed = use_cases.datasets.annotate(name, _fields(change), actor=caller, seen=seen)
    response.headers["ETag"] = etag_of_dataset(changed)
    return answers.dataset(changed)


@router.patch("", dependencies=[Depends(json_body)])
def change_datasets(
    changes: BulkChange, request: Request, use_cases: UseCases, caller: Caller
) -> BulkOutcomes:
    """Change the descriptions, tags and owners of many datasets, each with a merge patch of its own. Each
    change succeeds or fails independently of the others; the response lists every outcome."""
    outcomes = [_outcome(item, request.scope, use_cases, caller) for item in changes.items]
    return BulkOutcomes(items=outcomes)


def _outcome(item: BulkItem, scope: Scope, use_cases: ControlUseCases, caller: Actor) -> BulkOutcome:
    try:
        name = DatasetName(item.name)
        dataset = use_cases.datasets.get(name, actor=caller)
        require_match(item.if_match, etag_of_dataset(dataset))
        changed = use_cases.datasets.annotate(name, _fields(item.change), actor=caller, seen=dataset)
    except (FlightCoreError, HttpProblem) as error:
        problem = problem_of(scope, error)
        return BulkOutcome(name=item.name, status=problem.status, problem=problem)
    return BulkOutcome(name=changed.name.value, status=200, dataset=answers.dataset(changed))


def _fields(change: DatasetChange) -> dict[str, Any]:
    return change.model_dump(exclude_unset=True)
