"""Jobs that turn sources into datasets."""

from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends

from control_api import answers, requests
from control_api.dependencies import Caller, UseCases, json_body
from control_api.formats import json_objects
from control_api.once import KeyHeader
from control_api.paging import Paged
from control_api.queued import LOCATION, Queued, Waited
from control_api.routes.jobs import ListQuery, list_page
from flight_core.application.ports.parsing import Preview, Trial
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.job import Task
from schemas import ingestions as wire
from schemas.http import API, Column

router = APIRouter(prefix=API, tags=["ingestions"])


@router.post(
    "/ingestions",
    status_code=202,
    dependencies=[Depends(json_body)],
    responses=LOCATION,
)
async def start_ingestion(
    request: wire.IngestionRequest,
    use_cases: UseCases,
    caller: Caller,
    waiting: Waited,
    idempotency_key: KeyHeader = None,
) -> wire.Ingestion:
    """Queue a job that ingests a source into a dataset. Poll `Location` or follow the events to see its
    outcome; `Prefer: wait=10` waits up to that many seconds for the job to end. Repeating a request with the
    same `Idempotency-Key` within 24 hours returns the job that was started before."""
    wanted = requests.ingestion(request)
    start = partial(use_cases.ingestions.start, wanted, actor=caller, idempotency_key=idempotency_key)
    return await waiting.ingestion(await to_thread.run_sync(start))


@router.post("/ingestions/preview", dependencies=[Depends(json_body)])
async def preview_ingestion(
    request: wire.PreviewRequest, use_cases: UseCases, caller: Caller
) -> wire.Preview:
    """Preview the ingestion of a source: its detected format, its columns and the first rows. Nothing is
    written, and no more data is fetched than needed.

    If `dataset` has a contract, or one is given, `check` reports which rows it would reject, and why."""
    preview = await use_cases.ingestions.preview(requests.preview(request), actor=caller)
    return await to_thread.run_sync(_preview, preview)


@router.get("/ingestions")
def list_ingestions(
    use_cases: UseCases,
    caller: Caller,
    paging: Paged,
    wanted: Annotated[ListQuery, Depends()],
) -> wire.IngestionPage:
    """All ingestions, newest first."""
    ingestions = frozenset({Task.INGEST})
    found, following = list_page(use_cases, caller, paging, wanted, tasks=ingestions)
    items = [answers.ingestion(job) for job in found if isinstance(job, Ingestion)]
    return wire.IngestionPage(items=items, next=following)


@router.get("/ingestions/{ingestion_id}")
async def get_ingestion(
    ingestion_id: str, use_cases: UseCases, caller: Caller, waiting: Waited
) -> wire.Ingestion:
    """The current state of a job; `Prefer: wait=10` waits up to that many seconds for it to end."""
    look = partial(use_cases.ingestions.get, ingestion_id, actor=caller)
    return await waiting.ingestion(await to_thread.run_sync(look))


@router.post("/ingestions/{ingestion_id}/retry", status_code=202, responses=LOCATION)
async def retry_ingestion(
    ingestion_id: str, use_cases: UseCases, caller: Caller, queued: Queued
) -> wire.Ingestion:
    """Retry a job that failed or was cancelled, as a new job with the same request."""
    return await queued.ingestion(partial(use_cases.ingestions.retry, ingestion_id, actor=caller))


@router.post(
    "/ingestions/{ingestion_id}/cancel", name="cancel_ingestion_by_post", status_code=202, responses=LOCATION
)
@router.delete("/ingestions/{ingestion_id}", status_code=202, responses=LOCATION)
async def cancel_ingestion(
    ingestion_id: str, use_cases: UseCases, caller: Caller, waiting: Waited
) -> wire.Ingestion:
    """Ask a job to stop. A job that is committing already may still succeed. Its record is kept."""

    def cancel() -> Ingestion:
        use_cases.ingestions.get(ingestion_id, actor=caller)  # not any other job
        use_cases.jobs.cancel(ingestion_id, actor=caller)
        return use_cases.ingestions.get(ingestion_id, actor=caller)

    return await waiting.ingestion(await to_thread.run_sync(cancel))


@router.get("/sources")
def list_sources(use_cases: UseCases, caller: Caller, paging: Paged) -> wire.SourcePage:
    """The supported kinds of source, ordered by name, with the JSON schema of their fields."""
    found = use_cases.ingestions.sources
    page, following = paging.page(found, place=lambda kind: (kind,))
    items = [wire.SourceKind(kind=kind, fields=dict(found[kind])) for kind in page]
    return wire.SourcePage(items=items, next=following)


def _preview(preview: Preview) -> wire.Preview:
    return wire.Preview(
        format=preview.reading.format,
        options=dict(preview.reading.options),
        columns=[
            Column(name=field.name, type=str(field.type).replace("large_", ""), nullable=field.nullable)
            for field in preview.rows.schema
        ],
        rows=json_objects(preview.rows),
        sampled=preview.sampled,
        warnings=list(preview.warnings),
        check=None if preview.trial is None else _trial(preview.trial),
    )


def _trial(trial: Trial) -> wire.PreviewCheck:
    return wire.PreviewCheck(
        contract_version=trial.report.contract_version,
        rows=trial.report.rows,
        rejected_rows=trial.report.rejected_rows,
        rules=[answers.rule_count(count) for count in trial.report.rules],
        violation=trial.violation,
        rejected=[
            wire.RejectedRow(source=row["source"], row=row["row"], rules=row["rules"], raw=dict(row["raw"]))
            for row in trial.rejected.to_pylist()
        ],
    )
