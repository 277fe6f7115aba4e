"""Jobs of every kind: list, look, wait, cancel, read the log."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from control_api import answers
from control_api.dependencies import Caller, Name, UseCases
from control_api.options import ControlUseCases
from control_api.paging import Cursor, Limit, Paged, Paging
from control_api.queued import LOCATION, Queued, Waited
from flight_core.domain.access import Actor
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import IngestionNotFound, InvalidRequest
from flight_core.domain.job import Job, JobFilter, JobState, LogLine, Task
from schemas import jobs as wire
from schemas.http import API

router = APIRouter(prefix=API, tags=["jobs"])


class ListQuery:
    """What lists of jobs take."""

    def __init__(
        self,
        dataset: Annotated[str | None, Query(description="Only jobs for this dataset.")] = None,
        state: Annotated[list[JobState] | None, Query(description="Only these. Repeatable.")] = None,
    ) -> None:
        self.dataset = dataset
        self.states = state


def list_page(
    use_cases: ControlUseCases,
    caller: Actor,
    paging: Paging,
    wanted: ListQuery,
    *,
    tasks: frozenset[Task] | None,
) -> tuple[Sequence[Job], str | None]:
    """The jobs of a page, and where the next one is."""
    chosen = JobFilter(
        dataset=DatasetName(wanted.dataset) if wanted.dataset else None,
        states=frozenset(wanted.states) if wanted.states else None,
        tasks=tasks,
    )
    (before,) = paging.after(like=("",)) or (None,)
    try:
        found = use_cases.jobs.list(chosen, actor=caller, limit=paging.limit + 1, before=before)
    except IngestionNotFound:
        raise InvalidRequest("the job that the cursor stands for is gone; start without a cursor") from None
    return paging.cut(found, place=lambda job: (job.id,))


@router.get("/jobs")
def list_jobs(
    use_cases: UseCases,
    caller: Caller,
    paging: Paged,
    wanted: Annotated[ListQuery, Depends()],
    task: Annotated[list[Task] | None, Query(description="Only these. Repeatable.")] = None,
) -> wire.JobPage:
    """All jobs, ingestions and maintenance, newest first."""
    tasks = frozenset(task) if task else None
    found, following = list_page(use_cases, caller, paging, wanted, tasks=tasks)
    return wire.JobPage(items=[answers.job(job) for job in found], next=following)


@router.get("/jobs/{job_id}")
async def get_job(job_id: str, use_cases: UseCases, caller: Caller, waiting: Waited) -> wire.Job:
    """The current state of a job; `Prefer: wait=10` waits up to that many seconds for it to end. For an
    ingestion, `href` leads to more details."""
    return await waiting.job(await to_thread.run_sync(partial(use_cases.jobs.get, job_id, actor=caller)))


@router.post("/jobs/{job_id}/cancel", name="cancel_job_by_post", status_code=202, responses=LOCATION)
@router.delete("/jobs/{job_id}", status_code=202, responses=LOCATION)
async def cancel_job(job_id: str, use_cases: UseCases, caller: Caller, waiting: Waited) -> wire.Job:
    """Ask a job to stop. A job that is committing already may still succeed. Its record is kept."""
    return await waiting.job(await to_thread.run_sync(partial(use_cases.jobs.cancel, job_id, actor=caller)))


@router.get("/ingestions/{job_id}/log", name="read_ingestion_log", tags=["ingestions"])
@router.get("/jobs/{job_id}/log")
def read_log(
    job_id: str,
    request: Request,
    response: Response,
    use_cases: UseCases,
    caller: Caller,
    after: Annotated[int, Query(ge=0, lt=2**63, description="Only lines after this line number.")] = 0,
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> wire.JobLog:
    """The log lines of all attempts of a job, oldest first."""
    paging = Paging(request, response, limit, cursor)
    (seen,) = paging.after(like=(0,)) or (after,)
    lines = use_cases.jobs.read_log(job_id, actor=caller, after=seen, limit=limit + 1)
    page, following = paging.cut(lines, place=lambda line: (line[0],))
    return wire.JobLog(items=[_line(*line) for line in page], next=following)


@router.post("/datasets/{name}/compact", status_code=202, responses=LOCATION)
async def compact_dataset(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    queued: Queued,
    request: wire.CompactionRequest | None = None,
) -> wire.Job:
    """Queue a job that merges small files into few large ones, as a new version with the same rows. If one is
    queued or running already, the response is that job."""
    options = {} if request is None else request.model_dump(exclude_unset=True)
    start = use_cases.jobs.start_maintenance
    return await queued.job(partial(start, name, Task.COMPACT, actor=caller, options=options))


@router.post("/datasets/{name}/vacuum", status_code=202, responses=LOCATION)
async def vacuum_dataset(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    queued: Queued,
    request: wire.VacuumRequest | None = None,
) -> wire.Job:
    """Queue a job that expires old versions according to the retention policy and deletes files that are no
    longer needed; with `dry_run` it only reports what would be deleted. If one is queued or running already,
    the response is that job."""
    options = {"dry_run": True} if request is not None and request.dry_run else {}
    start = use_cases.jobs.start_maintenance
    return await queued.job(partial(start, name, Task.VACUUM, actor=caller, options=options))


def _line(number: int, line: LogLine) -> wire.JobLogLine:
    return wire.JobLogLine(
        number=number,
        time=line.at,
        level=line.level.value,
        phase=None if line.phase is None else line.phase.value,
        attempt=line.attempt,
        message=line.message,
    )
