"""SQL over HTTP, and the statements that run or ran."""

import json
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

import anyio
from anyio import to_thread
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from control_api.dependencies import Answer, Caller, UseCases, WaitSeconds, json_body
from control_api.once import OnceOnly
from control_api.openapi import RESULT
from control_api.paging import Paged, Place
from flight_core.domain.access import Actor
from flight_core.domain.errors import InvalidParameters, PermissionDenied
from flight_core.domain.lineage import versions_read
from flight_core.domain.query import CacheUse, QueryRecord, QueryState, Statement, as_parameters
from schemas import queries as wire
from schemas.http import API

router = APIRouter(prefix=API, tags=["queries"])

Door = Literal["http", "websocket", "flight", "flight_sql", "ingestion", "skein"]

_POLL_S = 0.02


@router.post("/query", responses=RESULT, response_class=Response, dependencies=[Depends(json_body)])
@router.post(
    "/queries",
    name="create_query",
    responses=RESULT,
    response_class=Response,
    dependencies=[Depends(json_body)],
)
async def run_query(request: wire.QueryRequest, answer: Answer, once: OnceOnly) -> Response:
    """Run a statement and stream its result as JSON, NDJSON, CSV, Parquet or Arrow, as `Accept` asks for.

    The statement runs no faster than the client reads, and stops when the client disconnects. A failure after
    the first rows breaks the connection. Statements that change data run exactly once, in a session of their
    own, even if repeated with the same `Idempotency-Key`; the response to the repetition has the number of
    changed rows, but no rows. `/query` and `/queries` do the same.
    """
    statement = Statement(
        request.sql, as_parameters(request.params), request.limit, row_offset=request.offset
    )
    return answer.of(statement, once=once.blocking)


@router.get("/query", responses=RESULT, response_class=Response)
def read_query(
    answer: Answer,
    sql: Annotated[str, Query(min_length=1, max_length=8192, description="One statement that only reads.")],
    params: Annotated[
        str, Query(description="In JSON: a list for `?` and `$1`, an object for `$name`.")
    ] = "[]",
    limit: Annotated[int | None, Query(ge=0, lt=2**63, description="The maximum number of rows.")] = None,
    offset: Annotated[int, Query(ge=0, lt=2**63, description="How many rows to skip.")] = 0,
) -> Response:
    """Run a statement that only reads, given in the URL: for links, `curl` and spreadsheets. The result is
    streamed as by POST."""
    statement = Statement(sql, as_parameters(_json(params)), limit, row_offset=offset)
    return answer.of(statement, reads_only=True, headers={"Cache-Control": "no-store"})


def _json(text: str) -> list[Any] | dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, list | dict):
        raise InvalidParameters(f"params is {text[:60]!r}; send a JSON list or object")
    return given


@router.get("/queries")
def list_queries(
    use_cases: UseCases,
    caller: Caller,
    paging: Paged,
    state: Annotated[
        list[QueryState] | None, Query(description="Only queries in these states. Repeatable.")
    ] = None,
    actor: Annotated[str | None, Query(description="Only queries of this actor.")] = None,
    door: Annotated[Door | None, Query(description="Only queries through this door.")] = None,
) -> wire.QueryPage:
    """Queries that are running or ended recently in this process, through any door, newest first. Without the
    scope `admin` only those of the caller."""
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


def _position(record: QueryRecord) -> Place:
    """Sorts by age; the id tells those of the same moment apart."""
    return (f"{record.created_at:%Y%m%d%H%M%S%f}{record.query_id}",)


@router.get("/queries/{query_id}")
def get_query(query_id: str, use_cases: UseCases, caller: Caller) -> wire.Query:
    """The current state of a query."""
    record = use_cases.queries.log.get(query_id)
    if not _may_see(caller, record):
        raise PermissionDenied(f"query '{query_id[:64]}' belongs to another user")
    return _answer(record, use_cases.clock())


@router.delete("/queries/{query_id}", status_code=202)
async def cancel_query(
    query_id: str, response: Response, use_cases: UseCases, caller: Caller, wait_s: WaitSeconds
) -> wire.Query:
    """Cancel a query; one that has ended already stays as it is. `Prefer: wait=10` waits for it to end."""
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
    return caller.oversees(record.actor, record.rights)


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
