"""SQL over HTTP, and the statements that run or ran."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from control_api import mapping
from control_api.dependencies import Caller, Responses, UseCases, Wanted, json_body
from control_api.openapi import RESULT
from control_api.streaming import QueryResponse, Run
from flight_core.domain.access import Actor
from flight_core.domain.errors import PermissionDenied
from flight_core.domain.query import QueryRecord, Statement
from schemas import http

router = APIRouter(prefix=mapping.API, tags=["queries"])


@router.post("/query", responses=RESULT, response_class=Response, dependencies=[Depends(json_body)])
def run_query(
    request: http.QueryRequest, use_cases: UseCases, caller: Caller, streaming: Responses, format: Wanted
) -> Response:
    """Run a statement and stream its result as JSON, NDJSON, CSV or an Arrow IPC stream, by `Accept`.

    It runs no faster than the client reads, and stops when the client hangs up. A failure after the
    first rows breaks the connection. Statements that change something run once, in a session of
    their own.
    """
    parameters = request.params if isinstance(request.params, dict) else tuple(request.params)
    statement = Statement(request.sql, parameters, request.limit)
    run = Run(use_cases, statement, actor=caller, format=format)
    return QueryResponse(run, format, streaming, headers={"Vary": "Accept"})


@router.get("/queries")
def list_queries(
    use_cases: UseCases, caller: Caller, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> http.QueryPage:
    """What runs or ran lately in this process, whichever door it came through; one's own without
    the scope `admin`."""
    visible = [record for record in use_cases.queries.list() if _may_see(caller, record)]
    return http.QueryPage(items=[mapping.query(record) for record in visible[:limit]])


@router.get("/queries/{query_id}")
def get_query(query_id: str, use_cases: UseCases, caller: Caller) -> http.Query:
    """One of them, as it is now."""
    record = use_cases.queries.get(query_id)
    if not _may_see(caller, record):
        raise PermissionDenied(f"query '{query_id[:64]}' belongs to another user")
    return mapping.query(record)


@router.delete("/queries/{query_id}", status_code=202)
def cancel_query(query_id: str, use_cases: UseCases, caller: Caller) -> http.Query:
    """Stop a query. One that has ended stays as it is."""
    use_cases.queries.cancel(query_id, actor=caller)
    return mapping.query(use_cases.queries.get(query_id))


def _may_see(caller: Actor, record: QueryRecord) -> bool:
    return caller.oversees(record.actor)
