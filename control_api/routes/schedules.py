"""Ingestions that repeat."""

from functools import partial

from anyio import to_thread
from fastapi import APIRouter, Depends
from starlette.responses import Response

from control_api import answers, requests
from control_api.dependencies import Caller, UseCases, json_body
from control_api.once import OnceOnly
from control_api.options import ControlUseCases
from control_api.paging import Paged
from control_api.queued import LOCATION, Queued
from flight_core.domain.access import Actor
from flight_core.domain.errors import IngestionNotFound
from flight_core.domain.job import Job
from flight_core.domain.schedule import Schedule
from schemas import schedules as wire
from schemas.http import API
from schemas.ingestions import Ingestion

router = APIRouter(prefix=f"{API}/schedules", tags=["schedules"])


@router.post("", status_code=201, dependencies=[Depends(json_body)])
async def add_schedule(
    request: wire.ScheduleRequest, response: Response, use_cases: UseCases, caller: Caller, once: OnceOnly
) -> wire.Schedule:
    """Schedule an ingestion. With `every_s` the first run starts at once."""
    timing = requests.timing(request)
    assert timing is not None
    wanted = requests.ingestion(request.ingestion)
    schedules = use_cases.schedules
    schedule = await once.in_thread(
        partial(schedules.add, request.name, wanted, timing, actor=caller, paused=request.paused),
        id_of=lambda made: made.name,
        again=partial(schedules.get, actor=caller),
    )
    reply = await to_thread.run_sync(_reply, schedule, use_cases, caller)
    response.headers["Location"] = reply.href
    return reply


@router.get("")
def list_schedules(
    use_cases: UseCases,
    caller: Caller,
    paging: Paged,
) -> wire.SchedulePage:
    """All schedules, ordered by name, with their next run and the outcome of the last one."""
    found = use_cases.schedules.list(actor=caller)
    page, following = paging.page(found, place=lambda each: (each.name.lower(),))
    return wire.SchedulePage(items=[_reply(each, use_cases, caller) for each in page], next=following)


@router.get("/{name}")
def get_schedule(name: str, use_cases: UseCases, caller: Caller) -> wire.Schedule:
    """One schedule. Its source is shown without credentials."""
    return _reply(use_cases.schedules.get(name, actor=caller), use_cases, caller)


@router.patch("/{name}", dependencies=[Depends(json_body)])
def change_schedule(
    name: str, request: wire.ScheduleChange, use_cases: UseCases, caller: Caller
) -> wire.Schedule:
    """Pause or resume a schedule, or change its timing or ingestion; fields that are left out stay as they
    are. Whoever changes the ingestion, or resumes a schedule that has a `pause_reason`, becomes its owner."""
    changed = use_cases.schedules.change(
        name,
        actor=caller,
        request=None if request.ingestion is None else requests.ingestion(request.ingestion),
        timing=requests.timing(request),
        paused=request.paused,
    )
    return _reply(changed, use_cases, caller)


@router.delete("/{name}", status_code=204)
def remove_schedule(name: str, use_cases: UseCases, caller: Caller) -> None:
    """Remove a schedule. Its jobs are kept, and a running one goes on."""
    use_cases.schedules.remove(name, actor=caller)


@router.post("/{name}/run", status_code=202, responses=LOCATION)
async def run_schedule(name: str, use_cases: UseCases, caller: Caller, queued: Queued) -> Ingestion:
    """Run a schedule now, even if it is paused. `Prefer: wait=10` waits for the job to end."""
    return await queued.ingestion(partial(use_cases.schedules.run, name, actor=caller))


def _reply(schedule: Schedule, use_cases: ControlUseCases, caller: Actor) -> wire.Schedule:
    request = schedule.request
    return wire.Schedule(
        name=schedule.name,
        href=f"{router.prefix}/{schedule.name}",
        dataset=request.dataset.value,
        source=answers.source(request.source),
        mode=request.mode.value,
        format=request.format,
        options=dict(request.options),
        paused=schedule.paused,
        pause_reason=schedule.pause_reason or None,
        next_at=schedule.next_at,
        last_run=_last_run(schedule, use_cases, caller),
        actor=schedule.actor,
        created_at=schedule.created_at,
        **answers.timing(schedule.timing),
    )


def _last_run(schedule: Schedule, use_cases: ControlUseCases, caller: Actor) -> wire.LastRun | None:
    if schedule.last_job is None or schedule.last_at is None:
        return None
    try:
        job: Job | None = use_cases.jobs.get(schedule.last_job, actor=caller)
    except IngestionNotFound:  # forgotten by now
        job = None
    return wire.LastRun(
        ingestion=schedule.last_job,
        href=f"{API}/ingestions/{schedule.last_job}",
        at=schedule.last_at,
        state=None if job is None else job.state.value,
        version=None if job is None else job.version,
        unchanged=job is not None and job.unchanged,
        error=None if job is None else answers.failure(job),
    )
