"""Asking for ingestions, watching them, and stopping them. `ingestion_worker` claims and runs them."""

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import anyio

from flight_core.application.ports.clock import Clock, NewId
from flight_core.application.ports.parsing import Parser
from flight_core.application.ports.sources import OwnedSource, Source
from flight_core.application.queries import require
from flight_core.domain.access import Actor, Scope
from flight_core.domain.contract import refuse_rejects
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.domain.errors import DatasetExists, InvalidOption, InvalidSource, PermissionDenied
from flight_core.domain.events import Event, EventKind
from flight_core.domain.ingestion import IdempotencyKey, Ingestion, IngestionRequest, IngestionState
from flight_core.domain.repositories import DatasetRepository, EventRepository, IngestionRepository

_KEY = re.compile(r"[ -~]{1,255}")

# The registered source kinds.
Sources = Mapping[str, Source]


class Wakeup:
    """Tells this process's worker that there may be something to do. `notify` works from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()

    def listen(self) -> None:
        """Called by the worker, once, in its event loop, before it looks for work."""
        self._loop = asyncio.get_running_loop()

    def notify(self) -> None:
        """Harmless when nobody listens."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_s: float) -> None:
        """Until the next notice (or the last one that nobody waited for), or `timeout_s` seconds."""
        with anyio.move_on_after(timeout_s):
            await self._event.wait()
        self._event.clear()


@dataclass(frozen=True, slots=True)
class StartIngestion:
    """Queue a job. What can be refused without touching the source is refused here.

    With an `idempotency_key` that came with the same request before, within a day and from the same
    actor, the answer is the job of that time.

    Raises:
        IdempotencyKeyReused: the key came with another request before.
        InvalidSource, SourceNotAllowed, UnknownFormat, InvalidOption: the request cannot work.
        DatasetExists: mode CREATE and the name is taken.
        PermissionDenied
    """

    ingestions: IngestionRepository
    datasets: DatasetRepository
    sources: Sources
    parser: Parser
    clock: Clock
    new_id: NewId
    wakeup: Wakeup

    def __call__(
        self, request: IngestionRequest, *, actor: Actor, idempotency_key: str | None = None
    ) -> Ingestion:
        require(actor, Scope.WRITE)
        key = None if idempotency_key is None else _key(idempotency_key, request, actor)
        if key is not None and (earlier := self.ingestions.started_with(key)) is not None:
            return earlier
        self.check(request, actor=actor)
        source = source_of(self.sources, request)
        source.check(request.source)
        if isinstance(source, OwnedSource):
            source.check_owner(request.source, actor=actor)
        ingestion = Ingestion(
            id=self.new_id(),
            request=request,
            state=IngestionState.QUEUED,
            created_at=self.clock(),
            actor=actor.name,
        )
        queued = event_of(EventKind.INGESTION_QUEUED, ingestion, self.clock)
        ingestion = self.ingestions.add(ingestion, queued, key=key)
        self.wakeup.notify()
        return ingestion

    def check(self, request: IngestionRequest, *, actor: Actor) -> None:
        """What can be refused without a look at the source, which may not be complete yet."""
        require(actor, Scope.WRITE)
        _ = request.rule
        refuse_rejects(request.dataset)
        self.parser.check(format=request.format, options=request.options)
        refuse_existing(self.datasets, request)


@dataclass(frozen=True, slots=True)
class GetIngestion:
    """The job as it is now; raises IngestionNotFound."""

    ingestions: IngestionRepository

    def __call__(self, ingestion_id: str, *, actor: Actor) -> Ingestion:
        require(actor, Scope.READ)
        return self.ingestions.get(ingestion_id)


@dataclass(frozen=True, slots=True)
class ListIngestions:
    """Newest first."""

    ingestions: IngestionRepository

    def __call__(
        self, *, actor: Actor, limit: int = 100, dataset: DatasetName | None = None
    ) -> Sequence[Ingestion]:
        require(actor, Scope.READ)
        return self.ingestions.list(limit=limit, dataset=dataset)


@dataclass(frozen=True, slots=True)
class CancelIngestion:
    """Ask a job to stop: a queued one is cancelled at once, a running one within two seconds.

    A job that is already committing may still succeed.

    Raises:
        IngestionNotFound, IngestionFinished.
        PermissionDenied: it is somebody else's.
    """

    ingestions: IngestionRepository
    events: EventRepository
    clock: Clock
    wakeup: Wakeup

    def __call__(self, ingestion_id: str, *, actor: Actor) -> Ingestion:
        require(actor, Scope.WRITE)
        if self.ingestions.get(ingestion_id).actor != actor.name and not actor.may(Scope.ADMIN):
            raise PermissionDenied(f"ingestion '{ingestion_id}' belongs to another user")
        ingestion = self.ingestions.request_cancel(ingestion_id)
        if ingestion.state is IngestionState.CANCELLED:
            self.events.append(event_of(EventKind.INGESTION_CANCELLED, ingestion, self.clock))
        self.wakeup.notify()
        return ingestion


def _key(value: str, request: IngestionRequest, actor: Actor) -> IdempotencyKey:
    if not _KEY.fullmatch(value):
        raise InvalidOption(
            f"{value[:40]!r} is not an idempotency key: use 1 to 255 printable ASCII characters, a UUID say"
        )
    asked = json.dumps(asdict(request), sort_keys=True, default=str)
    fingerprint = hashlib.sha256(asked.encode(errors="surrogatepass")).hexdigest()
    return IdempotencyKey(actor.name, value, fingerprint)


def source_of(sources: Sources, request: IngestionRequest) -> Source:
    """
    Raises:
        InvalidSource: no source of that kind is registered.
    """
    kind = request.source.kind
    if kind not in sources:
        raise InvalidSource(f"'{kind[:40]}' is not a source kind; use one of: {', '.join(sorted(sources))}")
    return sources[kind]


def refuse_existing(datasets: DatasetRepository, request: IngestionRequest) -> None:
    """
    Raises:
        DatasetExists: the mode is CREATE and the name is taken.
    """
    if request.mode is WriteMode.CREATE and datasets.find(request.dataset) is not None:
        raise DatasetExists(
            f"dataset '{request.dataset}' exists; drop it, choose another name, or use the mode"
            " 'append' or 'replace'",
            name=request.dataset.value,
        )


def event_of(kind: EventKind, ingestion: Ingestion, clock: Clock) -> Event:
    """What subscribers learn about a job: the same fields in every event, None where unknown."""
    progress = ingestion.progress
    return Event(
        kind=kind,
        subject=ingestion.request.dataset.value,
        data={
            "ingestion": ingestion.id,
            "dataset": ingestion.request.dataset.value,
            "state": str(ingestion.state),
            "phase": None if progress.phase is None else str(progress.phase),
            "done_bytes": progress.done_bytes,
            "total_bytes": progress.total_bytes,
            "rows": progress.rows,
            "rejected_rows": 0 if ingestion.check is None else ingestion.check.rejected_rows,
            "version": ingestion.version,
            "unchanged": ingestion.unchanged,
            "error_code": ingestion.error_code,
            "error_message": ingestion.error_message,
        },
        occurred_at=clock(),
    )
