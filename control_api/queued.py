"""Answers of routes that queue jobs: 202, `Location`, `Retry-After`; with `Prefer: wait` at the job's end."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, TypeVar

import anyio
from anyio import to_thread
from fastapi import Depends
from starlette.responses import Response

from control_api import answers
from control_api.dependencies import Caller, UseCases, WaitSeconds
from control_api.events import Filter, Subscription
from control_api.once import Once, OnceOnly
from control_api.options import ControlUseCases
from flight_core.domain.access import Actor
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.job import Job, Maintenance
from schemas import ingestions, jobs

AnyJob = TypeVar("AnyJob", bound=Job)
Found = TypeVar("Found")

LOCATION: dict[int | str, dict[str, Any]] = {
    202: {
        "headers": {
            "Location": {"description": "The URL of the job.", "schema": {"type": "string"}},
            "Retry-After": {
                "description": "Seconds to wait before polling; absent once the job has ended.",
                "schema": {"type": "integer"},
            },
        }
    }
}

_POLL_AFTER_S = 1


class Waiting:
    """Tells how jobs are when they have ended, or after the time that the caller prefers to wait."""

    def __init__(
        self, response: Response, use_cases: ControlUseCases, caller: Actor, *, wait_s: float
    ) -> None:
        self._response = response
        self._use_cases = use_cases
        self._caller = caller
        self._wait_s = wait_s

    async def ingestion(self, found: Ingestion) -> ingestions.Ingestion:
        (reply,) = await self.ingestions([found])
        self._response.headers["Location"] = reply.href
        return reply

    async def ingestions(self, found: Sequence[Ingestion]) -> list[ingestions.Ingestion]:
        settled = await self._settled(found, self._use_cases.ingestions.get)
        return [answers.ingestion(each) for each in settled]

    async def job(self, found: Job) -> jobs.Job:
        (settled,) = await self._settled([found], self._use_cases.jobs.get)
        reply = answers.job(settled)
        self._response.headers["Location"] = reply.href
        return reply

    async def found(self, look: Callable[[], Found | Maintenance]) -> Found | jobs.Job:
        """What `look` finds, or, with 202, the job whose result it will be. `look` blocks."""
        found = await to_thread.run_sync(look)
        if not isinstance(found, Maintenance):
            return found
        self._response.status_code = 202
        return await self.job(found)

    async def computed(self, look: Callable[[], Found | Maintenance]) -> Found | jobs.Job:
        """What `look` finds, or, with 202, the job that has to end before it does. `look` blocks."""
        found = await to_thread.run_sync(look)
        if isinstance(found, Maintenance):
            job = await self.job(found)
            if job.state == "succeeded":
                found = await to_thread.run_sync(look)
        if isinstance(found, Maintenance):
            self._response.status_code = 202
            return job
        return found

    async def _settled(self, found: Sequence[AnyJob], get: Callable[..., AnyJob]) -> list[AnyJob]:
        jobs = {job.id: job for job in found}
        if self._wait_s:
            self._response.headers["Preference-Applied"] = f"wait={self._wait_s:g}"
            with anyio.move_on_after(self._wait_s):
                for job in found:
                    await self._follow(job, get, jobs)
        if not all(job.state.final for job in jobs.values()):
            self._response.headers["Retry-After"] = str(_POLL_AFTER_S)
        return list(jobs.values())

    async def _follow(self, job: AnyJob, get: Callable[..., AnyJob], jobs: dict[str, AnyJob]) -> None:
        """Keep `jobs` up to date, until the job has ended."""
        if job.state.final:
            return
        use_cases = self._use_cases
        wanted = Filter(jobs=frozenset({job.id}))
        news = Subscription(
            use_cases.events.log,
            use_cases.events.feed,
            use_cases.clock,
            heartbeat_s=self._wait_s,
            wanted=wanted,
        )
        async with aclosing(news.batches()) as batches:
            async for _ in batches:  # the first one comes at once
                jobs[job.id] = await to_thread.run_sync(partial(get, job.id, actor=self._caller))
                if jobs[job.id].state.final:
                    return


async def _waiting(response: Response, use_cases: UseCases, caller: Caller, wait_s: WaitSeconds) -> Waiting:
    return Waiting(response, use_cases, caller, wait_s=wait_s)


Waited = Annotated[Waiting, Depends(_waiting)]


class Queue:
    """Queues jobs, once for each `Idempotency-Key`, and answers as `Waiting` does. What `start` does
    blocks."""

    def __init__(self, use_cases: ControlUseCases, caller: Actor, waiting: Waiting, once: Once) -> None:
        self._waiting = waiting
        self._once = once
        self._get_ingestion = partial(use_cases.ingestions.get, actor=caller)
        self._get_job = partial(use_cases.jobs.get, actor=caller)

    async def ingestion(self, start: Callable[[], Ingestion]) -> ingestions.Ingestion:
        started = await self._once.in_thread(start, id_of=_id, again=self._get_ingestion)
        return await self._waiting.ingestion(started)

    async def ingestions(self, start: Callable[[], Sequence[Ingestion]]) -> list[ingestions.Ingestion]:
        started = await self._once.in_thread(
            start,
            id_of=lambda made: " ".join(map(_id, made)),
            again=lambda ids: [self._get_ingestion(each) for each in ids.split()],
        )
        return await self._waiting.ingestions(started)

    async def job(self, start: Callable[[], Job]) -> jobs.Job:
        return await self._waiting.job(await self._once.in_thread(start, id_of=_id, again=self._get_job))


def _id(job: Job) -> str:
    return job.id


async def _queue(use_cases: UseCases, caller: Caller, waiting: Waited, once: OnceOnly) -> Queue:
    return Queue(use_cases, caller, waiting, once)


Queued = Annotated[Queue, Depends(_queue)]
