"""Datasets: list, describe, read a window of rows, drop."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from control_api import answers
from control_api.dependencies import Answer, Caller, Matching, Name, UseCases, Version, json_body
from control_api.etags import etag_of, etag_of_dataset, is_fresh, weak
from control_api.once import OnceOnly
from control_api.openapi import NOT_MODIFIED, RESULT
from control_api.paging import Paged
from control_api.queued import Queued
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

ColumnName = Annotated[str, Query(min_length=1)]
Columns = Annotated[
    list[ColumnName] | None, Query(description="The columns to return; all if left out. Repeatable.")
]


@router.get("")
def list_datasets(
    use_cases: UseCases,
    caller: Caller,
    paging: Paged,
    q: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Search words, found in names, tags, columns, owners and descriptions.",
        ),
    ] = None,
    tag: Annotated[list[str] | None, Query(description="Only datasets with all of these tags.")] = None,
    owner: Annotated[
        list[str] | None, Query(description="Only datasets that have all of these owners.")
    ] = None,
) -> wire.DatasetPage:
    """All datasets, ordered by name; with `q` those that match all of its words, the best match first."""
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
    version: Version,
) -> wire.DatasetDescription | Response:
    """Describe a dataset at one of its versions: columns with statistics, size, and history.

    `If-Match` of PATCH and DELETE compares with the ETag of the current version.
    """
    dataset = use_cases.datasets.get(name, actor=caller)
    if version is None and is_fresh(request, etag_of_dataset(dataset)):
        known = {"ETag": etag_of_dataset(dataset), "Cache-Control": _REVALIDATE}
        return Response(status_code=304, headers=known)
    described = use_cases.datasets.describe(name, actor=caller, at=version)
    response.headers["Cache-Control"] = _REVALIDATE
    response.headers["ETag"] = (
        etag_of_dataset(described.dataset)
        if version is None
        else etag_of(described.dataset.id, described.dataset.version, described.version.ref.version)
    )
    return answers.description(described)


@router.delete("/{name}", status_code=204)
def drop_dataset(name: Name, use_cases: UseCases, caller: Caller, matching: Matching) -> None:
    """Drop a dataset. Queries that are reading it can finish. `If-Match` guards against newer versions."""
    with matching() as seen:
        use_cases.datasets.drop(name, actor=caller, seen=seen)


@router.post("/{name}/delete", dependencies=[Depends(json_body)])
async def delete_rows(
    name: Name,
    body: wire.DeleteRequest,
    use_cases: UseCases,
    caller: Caller,
    matching: Matching,
    once: OnceOnly,
) -> wire.Deleted:
    """Delete the rows that match a condition, which commits a new version without them. `If-Match` guards
    against newer versions."""
    parameters = as_parameters(body.params)

    def delete() -> wire.Deleted:
        with matching() as seen:
            expected = None if seen is None else seen.version
            rows = use_cases.datasets.delete_rows(
                name, body.where, parameters, actor=caller, expected=expected
            )
        dataset = use_cases.datasets.get(name, actor=caller)
        return wire.Deleted(dataset=dataset.name.value, deleted_rows=rows, version=dataset.version)

    return await once.in_thread(
        delete, id_of=wire.Deleted.model_dump_json, again=wire.Deleted.model_validate_json
    )


@router.post("/{name}/refresh", status_code=202)
async def refresh_dataset(name: Name, use_cases: UseCases, caller: Caller, queued: Queued) -> IngestionPage:
    """Recompute a derived dataset; for any other dataset, ingest its sources again, one job for each, in
    their original order. Sources that have nothing new change nothing."""
    items = await queued.ingestions(partial(use_cases.ingestions.refresh, name, actor=caller))
    return IngestionPage(items=items, next=None)


@router.get("/{name}/rows", responses=RESULT | NOT_MODIFIED, response_class=Response)
def read_rows(
    name: Name,
    request: Request,
    use_cases: UseCases,
    caller: Caller,
    answer: Answer,
    version: Version,
    offset: Annotated[int, Query(ge=0, lt=2**63, description="How many rows to skip.")] = 0,
    limit: Annotated[
        int, Query(ge=0, lt=2**63, description="The maximum number of rows; there is no upper bound.")
    ] = 1000,
    columns: Columns = None,
    where: Annotated[
        str | None,
        Query(min_length=1, max_length=8192, description="An SQL condition that the rows have to match."),
    ] = None,
    order_by: Annotated[
        list[ColumnName] | None,
        Query(description="A column to sort by, descending with `-` before it. Repeatable."),
    ] = None,
) -> Response:
    """Read a window of rows, in storage order unless `order_by` is given. A URL that names a version always
    returns the same rows."""
    dataset = use_cases.datasets.get(name, actor=caller)
    number = dataset.version if version is None else version
    headers = {"Cache-Control": _REVALIDATE, "Vary": "Accept"}
    if isinstance(number, int) and where is None:  # a condition may look at other datasets, or at the clock
        headers["ETag"] = weak(etag_of(dataset.id, number, answer.format.name))
        if is_fresh(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
    statement = _view(_at(dataset.name, number), columns, where, order_by or [], Window(offset, limit))
    return answer.of(statement, headers=headers)


@router.get("/{name}/sample", responses=RESULT, response_class=Response)
def sample_rows(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    answer: Answer,
    version: Version,
    rows: Annotated[int, Query(ge=1, le=1000, description="The maximum number of rows.")] = 10,
    columns: Columns = None,
) -> Response:
    """A random sample of rows, different each time."""
    dataset = use_cases.datasets.get(name, actor=caller)
    sql = _select(_at(dataset.name, dataset.version if version is None else version), columns)
    statement = Statement(f"{sql} USING SAMPLE reservoir({rows} ROWS)")
    return answer.of(statement, reads_only=True, headers={"Cache-Control": "no-store"})


@router.get("/{name}/usage")
def get_usage(name: Name, use_cases: UseCases, caller: Caller) -> wire.Usage:
    """How many queries by how many users have read the dataset, and when it was last read."""
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
