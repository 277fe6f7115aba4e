"""Jobs that turn sources into datasets."""

from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Annotated

import anyio
from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import Response

from control_api import mapping
from control_api.dependencies import Caller, UseCases, WaitSeconds, json_body
from control_api.events import Filter, Subscription
from control_api.options import ControlUseCases
from flight_core.domain.access import Actor
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.domain.ingestion import Ingestion, IngestionRequest
from schemas import http

router = APIRouter(prefix=mapping.API, tags=["ingestions"])

_POLL_AFTER_S = 1

IdempotencyKey = Annotated[
    str | None, Header(description="A name for this request, of your choice: 1 to 255 printable characters.")
]


@router.post(
    "/ingestions",
    status_code=202,
    dependencies=[Depends(json_body)],
    responses={202: {"headers": {"Location": {"schema": {"type": "string"}}}}},
)
async def start_ingestion(
    request: http.IngestionRequest,
    response: Response,
    use_cases: UseCases,
    caller: Caller,
    wait_s: WaitSeconds,
    idempotency_key: IdempotencyKey = None,
) -> http.Ingestion:
    """Queue a job. Follow `Location`, or the events, to see what becomes of it; `Prefer: wait=10`
    waits for the end, up to that many seconds. The same request with the same `Idempotency-Key`
    starts nothing again: it is answered with the job that it started, for 24 hours."""
    wanted = IngestionRequest(
        dataset=DatasetName(request.dataset),
        source=mapping.source_spec(request.source),
        mode=WriteMode(request.mode),
        format=request.format,
        options=request.options,
        force=request.force,
    )
    start = partial(use_cases.start_ingestion, wanted, actor=caller, idempotency_key=idempotency_key)
    return await started(start, response, use_cases, caller, wait_s)


async def started(
    start: Callable[[], Ingestion],
    response: Response,
    use_cases: ControlUseCases,
    caller: Actor,
    wait_s: float,
) -> http.Ingestion:
    """Queue the job, and wait for its end for as long as the caller prefers."""
    ingestion = await to_thread.run_sync(start)
    ingestion = await _settled(ingestion, use_cases, caller, wait_s)
    reply = mapping.ingestion(ingestion)
    response.headers["Location"] = reply.href
    _explain(response, ingestion, wait_s)
    return reply


@router.get("/ingestions")
def list_ingestions(
    use_cases: UseCases,
    caller: Caller,
    dataset: Annotated[str | None, Query(description="Only jobs for this dataset.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> http.IngestionPage:
    """Newest first."""
    name = DatasetName(dataset) if dataset else None
    found = use_cases.list_ingestions(actor=caller, limit=limit, dataset=name)
    return http.IngestionPage(items=[mapping.ingestion(ingestion) for ingestion in found])


@router.get("/ingestions/{ingestion_id}")
async def get_ingestion(
    ingestion_id: str, response: Response, use_cases: UseCases, caller: Caller, wait_s: WaitSeconds
) -> http.Ingestion:
    """A job as it is now, or, with `Prefer: wait=10`, at its end or after that many seconds."""
    ingestion = await to_thread.run_sync(partial(use_cases.get_ingestion, ingestion_id, actor=caller))
    ingestion = await _settled(ingestion, use_cases, caller, wait_s)
    _explain(response, ingestion, wait_s)
    return mapping.ingestion(ingestion)


@router.post("/ingestions/{ingestion_id}/cancel", status_code=202)
@router.delete("/ingestions/{ingestion_id}", status_code=202)
def cancel_ingestion(ingestion_id: str, use_cases: UseCases, caller: Caller) -> http.Ingestion:
    """Ask a job to stop. One that is committing already may still succeed; the record stays."""
    return mapping.ingestion(use_cases.cancel_ingestion(ingestion_id, actor=caller))


@router.get("/sources")
def list_sources(use_cases: UseCases, caller: Caller) -> http.SourcePage:
    """The kinds of source there are, with the JSON schema of their fields."""
    return http.SourcePage(
        items=[http.SourceKind(kind=kind, fields=dict(fields)) for kind, fields in use_cases.sources.items()]
    )


async def _settled(
    ingestion: Ingestion, use_cases: ControlUseCases, caller: Actor, wait_s: float
) -> Ingestion:
    """The job at its end, or as it is after `wait_s` seconds."""
    if wait_s == 0 or ingestion.state.final:
        return ingestion
    news = Subscription(
        use_cases.events,
        use_cases.feed,
        use_cases.clock,
        heartbeat_s=wait_s,
        wanted=Filter(ingestions=frozenset({ingestion.id})),
    )
    look_again = partial(use_cases.get_ingestion, ingestion.id, actor=caller)
    with anyio.move_on_after(wait_s):
        async with aclosing(news.messages()) as messages:
            async for _ in messages:  # the first one comes at once
                ingestion = await to_thread.run_sync(look_again)
                if ingestion.state.final:
                    break
    return ingestion


def _explain(response: Response, ingestion: Ingestion, wait_s: float) -> None:
    if wait_s:
        response.headers["Preference-Applied"] = f"wait={wait_s:g}"
    if not ingestion.state.final:
        response.headers["Retry-After"] = str(_POLL_AFTER_S)
