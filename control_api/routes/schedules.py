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
from control_api.redaction import redacted
from flight_core.domain.access import Actor
from flight_core.domain.errors import IngestionNotFound
from flight_core.domain.job import Job
from flight_core.domain.schedule import Cron, Interval, Schedule
from schemas import schedules as wire
from schemas.http import API
from schemas.ingestions import Ingestion

router = APIRouter(prefix=f"{API}/schedules", tags=["schedules"])


@router.post("", status_code=201, dependencies=[Depends(json_body)])
async def add_schedule(
    request: wire.ScheduleRequest, response: Response, use_cases: UseCases, caller: Caller, once: OnceOnly
) -> wire.Schedule:
    """Let an ingestion repeat. One with `every_s` runs for the first time at once."""
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
    """By name, each with when it is due and how its last run went."""
    found = use_cases.schedules.list(actor=caller)
    page, following = paging.page(found, place=lambda each: (each.name.lower(),))
    return wire.SchedulePage(items=[_reply(each, use_cases, caller) for each in page], next=following)


@router.get("/{name}")
def get_schedule(name: str, use_cases: UseCases, caller: Caller) -> wire.Schedule:
    """One schedule; its source is told without credentials."""
    return _reply(use_cases.schedules.get(name, actor=caller), use_cases, caller)


@router.patch("/{name}", dependencies=[Depends(json_body)])
def change_schedule(
    name: str, request: wire.ScheduleChange, use_cases: UseCases, caller: Caller
) -> wire.Schedule:
    """Pause it, resume it, or give it another timing or ingestion. What is left out stays. It belongs to
    whoever gives it another ingestion, and one that has a `pause_reason` to whoever resumes it."""
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
    """Its jobs stay, also one that runs."""
    use_cases.schedules.remove(name, actor=caller)


@router.post("/{name}/run", status_code=202, responses=LOCATION)
async def run_schedule(name: str, use_cases: UseCases, caller: Caller, queued: Queued) -> Ingestion:
    """Run it now, paused or not. Takes `Prefer: wait=10`, as `POST /api/v1/ingestions` does."""
    return await queued.ingestion(partial(use_cases.schedules.run, name, actor=caller))


def _reply(schedule: Schedule, use_cases: ControlUseCases, caller: Actor) -> wire.Schedule:
    request, timing = schedule.request, schedule.timing
    return wire.Schedule(
        name=schedule.name,
        href=f"{router.prefix}/{schedule.name}",
        dataset=request.dataset.value,
        source={"kind": request.source.kind, **redacted(request.source.fields)},
        mode=request.mode.value,
        format=request.format,
        options=dict(request.options),
        every_s=timing.every_s if isinstance(timing, Interval) else None,
        cron=timing.expression if isinstance(timing, Cron) else None,
        timezone=timing.timezone if isinstance(timing, Cron) else None,
        paused=schedule.paused,
        pause_reason=schedule.pause_reason or None,
        next_at=schedule.next_at,
        last_run=_last_run(schedule, use_cases, caller),
        actor=schedule.actor,
        created_at=schedule.created_at,
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
