"""Datasets: list, describe, read a window of rows, drop."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from control_api import answers, requests
from control_api.dependencies import Caller, Name, Responses, UseCases, Wanted, json_body
from control_api.etags import etag_of, etag_of_dataset, is_fresh, matching, weak
from control_api.once import OnceOnly
from control_api.openapi import NOT_MODIFIED, RESULT
from control_api.paging import Paged
from control_api.queued import Queued
from control_api.streaming import QueryResponse, Run
from flight_core.domain.dataset import DatasetName
from flight_core.domain.query import PLACE_COLUMNS, Statement, Window, as_parameters, quoted
from flight_core.domain.usage import Usage
from flight_core.domain.versions import VersionName
from schemas import datasets as wire
from schemas.http import API
from schemas.ingestions import IngestionPage

router = APIRouter(prefix=f"{API}/datasets", tags=["datasets"])

_NEVER_USED = Usage()

# A representation may be kept, and is to be checked each time.
_REVALIDATE = "private, no-cache"

VersionText = Annotated[
    str | None,
    Query(description="A number, `v3`, a moment in ISO 8601, or a tag; the current one if left out."),
]

Columns = Annotated[list[str] | None, Query(description="Repeat it for each column; all if left out.")]


@router.get("")
def list_datasets(
    use_cases: UseCases,
    caller: Caller,
    paging: Paged,
    q: Annotated[
        str | None,
        Query(max_length=200, description="Words in names, tags, columns, owners and descriptions."),
    ] = None,
    tag: Annotated[list[str] | None, Query(description="Only with all of these tags.")] = None,
    owner: Annotated[list[str] | None, Query(description="Only those that all of these own.")] = None,
) -> wire.DatasetPage:
    """All datasets, ordered by name; with `q` those that have all its words, the best ones first."""
    words = (q or "").split()
    datasets = use_cases.datasets.list(actor=caller)
    ranks = {
        dataset.name.key: rank
        for dataset in datasets
        if (rank := dataset.search_rank(words)) is not None
        and _has_all(dataset.tags, tag)
        and _has_all(dataset.owners, owner)
    }
    found = [each for each in datasets if each.name.key in ranks]
    page, following = paging.page(
        found,
        place=lambda each: (ranks[each.name.key], each.name.key),
        like=(0, ""),
    )
    usage = use_cases.datasets.get_usage.of_all()
    items = [answers.dataset_entry(each, usage.get(each.id, _NEVER_USED)) for each in page]
    return wire.DatasetPage(items=items, next=following)


def _has_all(there: Sequence[str], wanted: Sequence[str] | None) -> bool:
    return {each.lower() for each in wanted or ()} <= {each.lower() for each in there}


@router.get("/{name}", responses=NOT_MODIFIED, response_model=wire.DatasetDescription)
def describe_dataset(
    name: Name,
    request: Request,
    response: Response,
    use_cases: UseCases,
    caller: Caller,
    version: VersionText = None,
) -> wire.DatasetDescription | Response:
    """Columns with statistics, size and history of a dataset, as of one of its versions.

    The ETag of the current version is what `If-Match` of DELETE compares with.
    """
    at = requests.version(version)
    dataset = use_cases.datasets.get(name, actor=caller)
    if at is None and is_fresh(request, etag_of_dataset(dataset)):
        known = {"ETag": etag_of_dataset(dataset), "Cache-Control": _REVALIDATE}
        return Response(status_code=304, headers=known)
    described = use_cases.datasets.describe(name, actor=caller, at=at)
    response.headers["Cache-Control"] = _REVALIDATE
    response.headers["ETag"] = (
        etag_of_dataset(described.dataset)
        if at is None
        else etag_of(described.dataset.id, described.dataset.version, described.version.ref.version)
    )
    return answers.description(described)


@router.delete("/{name}", status_code=204)
def drop_dataset(name: Name, request: Request, use_cases: UseCases, caller: Caller) -> None:
    """Forget a dataset. Those who are reading it read on. `If-Match` guards against newer versions."""
    with matching(request, lambda: use_cases.datasets.get(name, actor=caller)) as seen:
        use_cases.datasets.drop(name, actor=caller, seen=seen)


@router.post("/{name}/delete", dependencies=[Depends(json_body)])
async def delete_rows(
    name: Name,
    body: wire.DeleteRequest,
    request: Request,
    use_cases: UseCases,
    caller: Caller,
    once: OnceOnly,
) -> wire.Deleted:
    """Delete the rows for which a condition holds: a new version without them. `If-Match` guards
    against newer versions."""
    parameters = as_parameters(body.params)

    def delete() -> wire.Deleted:
        with matching(request, lambda: use_cases.datasets.get(name, actor=caller)) as seen:
            expected = None if seen is None else seen.version
            rows = use_cases.datasets.delete_rows(
                name, body.where, parameters, actor=caller, door="http", expected=expected
            )
        dataset = use_cases.datasets.get(name, actor=caller)
        return wire.Deleted(dataset=dataset.name.value, deleted_rows=rows, version=dataset.version)

    return await once.in_thread(
        delete, id_of=wire.Deleted.model_dump_json, again=wire.Deleted.model_validate_json
    )


@router.post("/{name}/refresh", status_code=202)
async def refresh_dataset(name: Name, use_cases: UseCases, caller: Caller, queued: Queued) -> IngestionPage:
    """Make a derived dataset anew; of any other one, ingest its sources again, one job for each, in
    their order. Sources with nothing new change nothing."""
    items = await queued.ingestions(partial(use_cases.ingestions.refresh, name, actor=caller))
    return IngestionPage(items=items, next=None)


@router.get("/{name}/rows", responses=RESULT | NOT_MODIFIED, response_class=Response)
def read_rows(
    name: Name,
    request: Request,
    use_cases: UseCases,
    caller: Caller,
    streaming: Responses,
    format: Wanted,
    version: VersionText = None,
    offset: Annotated[int, Query(ge=0, lt=2**63, description="How many rows to pass over.")] = 0,
    limit: Annotated[int, Query(ge=0, lt=2**63, description="How many at most, as many as you like.")] = 1000,
    columns: Columns = None,
    where: Annotated[
        str | None, Query(max_length=8192, description="A condition in SQL: the rows for which it holds.")
    ] = None,
    order_by: Annotated[
        list[str] | None, Query(description="A column, `-` before it: descending. Repeat it for more.")
    ] = None,
) -> Response:
    """A window of rows, in the order they are stored unless `order_by` names another. The same URL with
    a version never changes."""
    at = requests.version(version)
    dataset = use_cases.datasets.get(name, actor=caller)
    number = dataset.version if at is None else at
    headers = {"Cache-Control": _REVALIDATE, "Vary": "Accept"}
    if isinstance(number, int) and where is None:  # a condition may look at other datasets, or at the clock
        headers["ETag"] = weak(etag_of(dataset.id, number, format.name))
        if is_fresh(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
    statement = _view(_at(dataset.name, number), columns, where, order_by or [], Window(offset, limit))
    run = Run(use_cases, statement, actor=caller, format=format)
    return QueryResponse(run, streaming, headers=headers)


@router.get("/{name}/sample", responses=RESULT, response_class=Response)
def sample_rows(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    streaming: Responses,
    format: Wanted,
    rows: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 10,
    version: VersionText = None,
    columns: Columns = None,
) -> Response:
    """A few rows from anywhere in the dataset, others each time."""
    at = requests.version(version)
    dataset = use_cases.datasets.get(name, actor=caller)
    sql = _select(_at(dataset.name, dataset.version if at is None else at), columns)
    statement = Statement(f"{sql} USING SAMPLE reservoir({rows} ROWS)")
    run = Run(use_cases, statement, actor=caller, format=format, reads_only=True)
    return QueryResponse(run, streaming, headers={"Cache-Control": "no-store"})


@router.get("/{name}/usage")
def get_usage(name: Name, use_cases: UseCases, caller: Caller) -> wire.Usage:
    """How many queries of how many identities have read the dataset, and when the last one did."""
    usage, uses = use_cases.datasets.get_usage(name, actor=caller)
    return answers.usage(use_cases.datasets.get(name, actor=caller).name, usage, uses)


def _at(name: DatasetName, version: VersionName) -> str:
    return f"{name}@{answers.version_text(version)}"


def _select(table: str, columns: list[str] | None, *, everything: str = "*") -> str:
    wanted = ", ".join(map(quoted, columns)) if columns else everything
    return f"SELECT {wanted} FROM datasets.{quoted(table)}"


def _view(
    table: str, columns: list[str] | None, where: str | None, order_by: list[str], window: Window
) -> Statement:
    """Rows with the same keys stay in the order they are stored: no row is in two windows, or in none."""
    if where is None and not order_by:
        return Statement(_select(table, columns), window=window)
    sql = _select(table, columns, everything=f"* EXCLUDE ({', '.join(PLACE_COLUMNS)})")
    if where is not None:
        sql += f" WHERE (\n{where}\n)"
    if order_by:
        keys = [f"{quoted(key.removeprefix('-'))} {'DESC' if key[:1] == '-' else 'ASC'}" for key in order_by]
        sql += f" ORDER BY {', '.join([*keys, *PLACE_COLUMNS])}"
    return Statement(sql, row_limit=window.limit, row_offset=window.offset, placed=table.lower())
