"""Jobs of every kind: list, look, wait, cancel, read the log."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, TypeVar

import anyio
from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from control_api import mapping
from control_api.dependencies import Caller, Name, UseCases, WaitSeconds
from control_api.events import Filter, Subscription
from control_api.options import ControlUseCases
from flight_core.domain.access import Actor
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import IngestionNotFound, InvalidRequest
from flight_core.domain.job import Job, JobFilter, JobState, Task
from schemas import http

router = APIRouter(prefix=mapping.API, tags=["jobs"])

LOCATION: dict[int | str, dict[str, Any]] = {202: {"headers": {"Location": {"schema": {"type": "string"}}}}}

_POLL_AFTER_S = 1

AnyJob = TypeVar("AnyJob", bound=Job)


class ListQuery:
    """What lists of jobs take."""

    def __init__(
        self,
        dataset: Annotated[str | None, Query(description="Only jobs for this dataset.")] = None,
        state: Annotated[list[JobState] | None, Query(description="Only these; repeat it for more.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: Annotated[str | None, Query(description="From the `next` link of the page before.")] = None,
    ) -> None:
        self.dataset = dataset
        self.states = state
        self.limit = limit
        self.cursor = cursor


def list_page(
    use_cases: ControlUseCases,
    caller: Actor,
    request: Request,
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
    before = mapping.parse_cursor(wanted.cursor) if wanted.cursor else None
    try:
        found = use_cases.list_jobs(chosen, actor=caller, limit=wanted.limit + 1, before=before)
    except IngestionNotFound:
        raise InvalidRequest("the job that the cursor stands for is gone; start without a cursor") from None
    if len(found) <= wanted.limit:
        return found, None
    parameters = {
        "dataset": wanted.dataset,
        "state": wanted.states,
        "task": request.query_params.getlist("task") or None,
        "limit": wanted.limit,
        "cursor": mapping.cursor(found[wanted.limit - 1].id),
    }
    return found[: wanted.limit], mapping.next_page(request.url.path, parameters)


def link_next(response: Response, following: str | None) -> None:
    if following is not None:
        response.headers["Link"] = f'<{following}>; rel="next"'


@router.get("/jobs")
def list_jobs(
    use_cases: UseCases,
    caller: Caller,
    request: Request,
    response: Response,
    wanted: Annotated[ListQuery, Depends()],
    task: Annotated[list[Task] | None, Query(description="Only these; repeat it for more.")] = None,
) -> http.JobPage:
    """Ingestions and maintenance, newest first."""
    tasks = frozenset(task) if task else None
    found, following = list_page(use_cases, caller, request, wanted, tasks=tasks)
    link_next(response, following)
    return http.JobPage(items=[mapping.job(job) for job in found], next=following)


@router.get("/jobs/{job_id}")
async def get_job(
    job_id: str, response: Response, use_cases: UseCases, caller: Caller, wait_s: WaitSeconds
) -> http.Job:
    """A job as it is now, or, with `Prefer: wait=10`, at its end or after that many seconds. `href` of
    an ingestion tells more."""
    look = partial(use_cases.get_job, job_id, actor=caller)
    job = await settled(await to_thread.run_sync(look), look, use_cases, wait_s)
    explain(response, job, wait_s)
    return mapping.job(job)


@router.post("/jobs/{job_id}/cancel", status_code=202)
@router.delete("/jobs/{job_id}", status_code=202)
def cancel_job(job_id: str, use_cases: UseCases, caller: Caller) -> http.Job:
    """Ask a job to stop. One that is committing already may still succeed; the record stays."""
    return mapping.job(use_cases.cancel_job(job_id, actor=caller))


@router.get("/ingestions/{job_id}/log", tags=["ingestions"])
@router.get("/jobs/{job_id}/log")
def read_log(
    job_id: str,
    request: Request,
    use_cases: UseCases,
    caller: Caller,
    after: Annotated[int, Query(ge=0, description="Only lines with a larger number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> http.JobLog:
    """What a job had to say, oldest first, with all its attempts."""
    lines = use_cases.read_job_log(job_id, actor=caller, after=after, limit=limit + 1)
    following = None
    if len(lines) > limit:
        following = mapping.next_page(request.url.path, {"after": lines[limit - 1][0], "limit": limit})
    return http.JobLog(items=[mapping.log_line(*line) for line in lines[:limit]], next=following)


@router.post("/datasets/{name}/compact", status_code=202, responses=LOCATION)
async def compact_dataset(
    name: Name,
    response: Response,
    use_cases: UseCases,
    caller: Caller,
    wait_s: WaitSeconds,
    request: http.CompactionRequest | None = None,
) -> http.Job:
    """Queue a job that puts the rows of small files into few large ones, as a new version with the same
    rows. One that waits or runs already is the answer."""
    options = {} if request is None else request.model_dump(exclude_unset=True)
    return await _maintained(name, Task.COMPACT, options, response, use_cases, caller, wait_s)


@router.post("/datasets/{name}/vacuum", status_code=202, responses=LOCATION)
async def vacuum_dataset(
    name: Name,
    response: Response,
    use_cases: UseCases,
    caller: Caller,
    wait_s: WaitSeconds,
    request: http.VacuumRequest | None = None,
) -> http.Job:
    """Queue a job that lets old versions expire by the dataset's policy, and deletes the files that
    nobody needs any more; or, with `dry_run`, tells what would go. One that waits or runs already is the
    answer."""
    options = {"dry_run": True} if request is not None and request.dry_run else {}
    return await _maintained(name, Task.VACUUM, options, response, use_cases, caller, wait_s)


async def _maintained(
    name: DatasetName,
    task: Task,
    options: dict[str, Any],
    response: Response,
    use_cases: ControlUseCases,
    caller: Actor,
    wait_s: float,
) -> http.Job:
    start = partial(use_cases.start_maintenance, name, task, actor=caller, options=options)
    job: Job = await to_thread.run_sync(start)
    job = await settled(job, partial(use_cases.get_job, job.id, actor=caller), use_cases, wait_s)
    return accepted(job, response, wait_s)


def accepted(job: Job, response: Response, wait_s: float) -> http.Job:
    """The answer of those who queue a job: 202, and where it is."""
    reply = mapping.job(job)
    response.status_code = 202
    response.headers["Location"] = reply.href
    explain(response, job, wait_s)
    return reply


async def settled(
    job: AnyJob, look_again: Callable[[], AnyJob], use_cases: ControlUseCases, wait_s: float
) -> AnyJob:
    """The job at its end, or as it is after `wait_s` seconds."""
    if wait_s == 0 or job.state.final:
        return job
    news = Subscription(
        use_cases.events,
        use_cases.feed,
        use_cases.clock,
        heartbeat_s=wait_s,
        wanted=Filter(jobs=frozenset({job.id})),
    )
    with anyio.move_on_after(wait_s):
        async with aclosing(news.batches()) as batches:
            async for _ in batches:  # the first one comes at once
                job = await to_thread.run_sync(look_again)
                if job.state.final:
                    break
    return job


def explain(response: Response, job: Job, wait_s: float) -> None:
    """Tell what became of `Prefer: wait`, and when to ask again."""
    if wait_s:
        response.headers["Preference-Applied"] = f"wait={wait_s:g}"
    if not job.state.final:
        response.headers["Retry-After"] = str(_POLL_AFTER_S)
