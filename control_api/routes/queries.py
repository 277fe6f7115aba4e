"""SQL over HTTP, and the statements that run or ran."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

import anyio
from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from control_api.dependencies import Caller, Responses, UseCases, WaitSeconds, Wanted, json_body
from control_api.once import OnceOnly
from control_api.openapi import RESULT
from control_api.paging import Cursor, Paging, Place
from control_api.streaming import QueryResponse, Run
from flight_core.domain.access import Actor
from flight_core.domain.errors import InvalidOption, InvalidParameters, PermissionDenied
from flight_core.domain.lineage import versions_read
from flight_core.domain.query import CacheUse, QueryRecord, QueryState, Statement, as_parameters
from schemas import queries as wire
from schemas.http import API

router = APIRouter(prefix=API, tags=["queries"])

Door = Literal["http", "websocket", "flight", "flight_sql", "ingestion", "skein"]

_POLL_S = 0.02
_OF_THE_LIST = ("state", "actor", "door", "cursor")

_OTHER_FORMS = {form: told for form, told in RESULT[200]["content"].items() if form != "application/json"}
_LIST_OR_RESULT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The list, or the result of `sql`.", "content": _OTHER_FORMS}
}


@router.post("/query", responses=RESULT, response_class=Response, dependencies=[Depends(json_body)])
@router.post("/queries", responses=RESULT, response_class=Response, dependencies=[Depends(json_body)])
async def run_query(
    request: wire.QueryRequest,
    use_cases: UseCases,
    caller: Caller,
    streaming: Responses,
    format: Wanted,
    once: OnceOnly,
) -> Response:
    """Run a statement and stream its result as JSON, NDJSON, CSV, Parquet or Arrow, by `Accept`.

    It runs no faster than the client reads, and stops when the client hangs up. A failure after the
    first rows breaks the connection. Statements that change something run once, in a session of
    their own, also where they come again with the same `Idempotency-Key`: the answer then tells what they
    changed, without rows. `/query` and `/queries` are the same.
    """
    statement = Statement(
        request.sql, as_parameters(request.params), request.limit, row_offset=request.offset
    )
    run = Run(use_cases, statement, actor=caller, format=format, once=once.blocking)
    return QueryResponse(run, streaming)


def _json(text: str | None) -> list[Any] | dict[str, Any]:
    try:
        given = json.loads(text or "[]")
    except ValueError:
        given = None
    if not isinstance(given, list | dict):
        raise InvalidParameters(f"params is {(text or '')[:60]!r}; send a JSON list or object")
    return given


@router.get("/queries", responses=_LIST_OR_RESULT, response_model=wire.QueryPage)
def list_queries(
    request: Request,
    response: Response,
    use_cases: UseCases,
    caller: Caller,
    streaming: Responses,
    format: Wanted,
    sql: Annotated[
        str | None, Query(max_length=8192, description="One statement that only reads, to be run.")
    ] = None,
    params: Annotated[
        str | None, Query(description="Of `sql`, in JSON: a list for `?` and `$1`, an object for `$name`.")
    ] = None,
    state: Annotated[list[QueryState] | None, Query(description="Repeat it for several.")] = None,
    actor: Annotated[str | None, Query(description="Who asked.")] = None,
    door: Annotated[Door | None, Query(description="What it came through.")] = None,
    limit: Annotated[
        int | None,
        Query(ge=0, lt=2**63, description="Rows of the result; in the list 1 to 1000, 100 if left out."),
    ] = None,
    offset: Annotated[int, Query(ge=0, lt=2**63, description="Rows of the result to pass over.")] = 0,
    cursor: Cursor = None,
) -> wire.QueryPage | Response:
    """What runs or ran lately in this process, whichever door it came through; one's own without
    the scope `admin`.

    With `sql` it runs that instead and streams the result, as the POST does: for links, `curl` and
    spreadsheets.
    """
    if sql is not None:
        _refuse_unread(request, _OF_THE_LIST, "with")
        statement = Statement(sql, as_parameters(_json(params)), limit, row_offset=offset)
        run = Run(use_cases, statement, actor=caller, format=format, reads_only=True)
        return QueryResponse(run, streaming, headers={"Cache-Control": "no-store"})
    _refuse_unread(request, ("params", "offset"), "without")
    limit = 100 if limit is None else limit
    if not 1 <= limit <= 1000:
        raise InvalidOption(f"limit is {limit}; a page holds 1 to 1000 queries")
    paging = Paging(request, response, limit, cursor)
    before = paging.after(like=("",))
    found = [
        record
        for record in sorted(use_cases.queries.log.list(), key=_position, reverse=True)
        if _may_see(caller, record)
        and (before is None or _position(record) < before)
        and (state is None or record.state in state)
        and (actor is None or record.actor == actor)
        and (door is None or record.door == door)
    ]
    page, following = paging.cut(found, place=_position)
    now = use_cases.clock()
    return wire.QueryPage(items=[_answer(record, now) for record in page], next=following)


def _refuse_unread(request: Request, names: Sequence[str], why: str) -> None:
    for name in names:
        if name in request.query_params:
            raise InvalidOption(f"'{name}' is of no use {why} 'sql'; leave it out")


def _position(record: QueryRecord) -> Place:
    """Sorts by age; the id tells those of the same moment apart."""
    return (f"{record.created_at:%Y%m%d%H%M%S%f}{record.query_id}",)


@router.get("/queries/{query_id}")
def get_query(query_id: str, use_cases: UseCases, caller: Caller) -> wire.Query:
    """One of them, as it is now."""
    record = use_cases.queries.log.get(query_id)
    if not _may_see(caller, record):
        raise PermissionDenied(f"query '{query_id[:64]}' belongs to another user")
    return _answer(record, use_cases.clock())


@router.delete("/queries/{query_id}", status_code=202)
async def cancel_query(
    query_id: str, response: Response, use_cases: UseCases, caller: Caller, wait_s: WaitSeconds
) -> wire.Query:
    """Stop a query. One that has ended stays as it is. `Prefer: wait=10` waits for its end."""
    await to_thread.run_sync(partial(use_cases.queries.cancel, query_id, actor=caller))
    response.headers["Location"] = f"{API}/queries/{query_id}"
    if wait_s:
        response.headers["Preference-Applied"] = f"wait={wait_s:g}"
    with anyio.move_on_after(wait_s):
        while use_cases.queries.log.get(query_id).finished_at is None:
            await anyio.sleep(_POLL_S)
    record = use_cases.queries.log.get(query_id)
    if record.finished_at is None:
        response.headers["Retry-After"] = "1"
    return _answer(record, use_cases.clock())


def _may_see(caller: Actor, record: QueryRecord) -> bool:
    return caller.oversees(record.actor)


def _answer(record: QueryRecord, now: datetime) -> wire.Query:
    lag = None if record.unread_since is None else (now - record.unread_since).total_seconds()
    return wire.Query(
        id=record.query_id,
        sql=record.sql,
        actor=record.actor,
        door=record.door,
        state=record.state.value,
        rows=record.rows,
        size_bytes=record.size_bytes,
        progress=record.progress,
        consumer_lag_s=lag,
        cached=record.cache is CacheUse.HIT,
        datasets=versions_read(record.pins),
        error=record.error,
        created_at=record.created_at,
        finished_at=record.finished_at,
    )
