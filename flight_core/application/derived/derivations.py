"""Looking at derived datasets, and making them anew."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import anyio
import anyio.to_thread

from flight_core.application.access.owners import ActAsOwner
from flight_core.application.access.rights import require, require_granted
from flight_core.application.jobs.jobs import Wakeup, event_of
from flight_core.application.ports.clock import Clock, NewId
from flight_core.application.ports.storage import TableStore
from flight_core.application.queries.added_rows import added_rows
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import (
    AddedRows,
    Dataset,
    DatasetName,
    DatasetVersion,
    VersionRef,
    WriteMode,
)
from flight_core.domain.derivation import (
    Derivation,
    DerivationRepository,
    Versions,
    current_inputs,
    due,
    is_stale,
)
from flight_core.domain.errors import (
    Conflict,
    DatasetNotFound,
    DerivationNotFound,
    IngestionNotFound,
    PermissionDenied,
)
from flight_core.domain.events import Event, EventKind
from flight_core.domain.ingestion import Ingestion, IngestionRequest, SourceSpec
from flight_core.domain.job import JobState
from flight_core.domain.lineage import Input, from_info
from flight_core.domain.query import Pins
from flight_core.domain.repositories import DatasetRepository, IngestionRepository

logger = logging.getLogger(__name__)

KIND, STEP_KIND = "derived", "step"  # of the source of a run


@dataclass(frozen=True, slots=True)
class DerivationStatus:
    """`used` are the versions that the target's current version was made from, `current` those there are.

    `missing` are inputs that do not exist (any more); `stale`: they changed since the latest run.
    """

    derivation: Derivation
    target: Dataset | None
    used: Sequence[Input]
    current: Versions
    missing: Sequence[DatasetName]
    stale: bool
    run: Ingestion | None


@dataclass(frozen=True, slots=True)
class InspectDerivations:
    """How fresh derived datasets are, ordered by name; of `target` alone if it is given.

    Raises:
        DerivationNotFound
    """

    derivations: DerivationRepository
    datasets: DatasetRepository
    ingestions: IngestionRepository

    def __call__(self, target: DatasetName | None = None, *, actor: Actor) -> Sequence[DerivationStatus]:
        require(actor, Scope.READ)
        if target is None:
            found = [each for each in self.derivations.list() if _seen(each, actor)]
        else:
            one = self.derivations.find(target)
            if one is None or not _seen(one, actor):
                raise derivation_not_found(target)
            found = [one]
        current = current_versions(self.datasets)
        return [self._status(each, current) for each in found]

    def _status(self, derivation: Derivation, current: Versions) -> DerivationStatus:
        target = self.datasets.find(derivation.target)
        return DerivationStatus(
            derivation=derivation,
            target=target,
            used=() if target is None else from_info(target.current.commit_info),
            current={key: ref for key, ref in current.items() if key in derivation.input_keys},
            missing=sorted(name for name in derivation.inputs if name.key not in current),
            stale=is_stale(derivation, current),
            run=run_of(derivation, self.ingestions),
        )


@dataclass(frozen=True, slots=True)
class Refresh:
    """Queue a run of a derivation, with the versions that its inputs have now.

    Raises:
        DerivationNotFound
        DatasetNotFound: an input does not exist.
        Conflict: somebody else changes it all the time.
    """

    derivations: DerivationRepository
    datasets: DatasetRepository
    ingestions: IngestionRepository
    clock: Clock
    new_id: NewId
    wakeup: Wakeup
    store: TableStore

    def __call__(self, target: DatasetName, *, actor: Actor) -> Ingestion:
        """The run that was queued, or the one that has not ended: it is not asked for twice."""
        require(actor, Scope.INGEST)
        require_granted(target, actor)
        for _ in range(5):
            derivation = self.derivations.find(target)
            if derivation is None:
                raise derivation_not_found(target)
            running = run_of(derivation, self.ingestions)
            if running is not None and not running.state.final:
                return running
            started = self.start(derivation, actor=actor.name)
            if started is not None:
                return started
        raise Conflict(f"the derivation of '{target}' is being changed; try again")

    def start(self, derivation: Derivation, *, actor: str) -> Ingestion | None:
        """None if somebody else was faster."""
        pins = current_inputs(derivation, current_versions(self.datasets))
        if pins is None:
            raise self._input_missing(derivation)
        added = self._added(derivation, pins)
        source = _source(derivation, added or {**pins, **derivation.fixed})
        mode = WriteMode.REPLACE if added is None else WriteMode.APPEND
        request = IngestionRequest(derivation.target, source, mode)
        run = Ingestion(
            id=self.new_id(), request=request, state=JobState.QUEUED, created_at=self.clock(), actor=actor
        )
        begun = replace(derivation, attempted=pins, run=run.id)
        if not self.derivations.start(begun, run, event_of(JobState.QUEUED, run, self.clock)):
            return None
        self.wakeup.notify()
        return run

    def _added(self, derivation: Derivation, pins: Versions) -> Pins | None:
        """What to read where the target lacks nothing but what comes from the new rows of its input."""
        target = self.datasets.find(derivation.target) if derivation.incremental else None
        if target is None:
            return None
        history = self.store.history(target.id)
        made = next((each for each in history if each.operation != "compact"), target.current)
        ((key, now),) = pins.items()
        used = from_info(made.commit_info)
        if len(used) != 1 or not self._made_by(made, derivation):
            return None
        added = added_rows(self.store, used[0].ref, now)
        return None if added is None else {key: added}

    def _made_by(self, version: DatasetVersion, derivation: Derivation) -> bool:
        """Whether a run of what the derivation says now committed the version."""
        try:
            run = self.ingestions.get(version.job_id or "")
        except IngestionNotFound:  # long ago
            return False
        spec = run.request.source
        return SourceSpec(spec.kind, {**spec.fields, "pins": {}}) == _source(derivation, {})

    def _input_missing(self, derivation: Derivation) -> DatasetNotFound:
        present = current_versions(self.datasets)
        name = min(str(name) for name in derivation.inputs if name.key not in present)
        return DatasetNotFound(
            f"dataset '{name}', an input of '{derivation.target}', does not exist any more; make it again,"
            " or define the derivation anew",
            name=name,
        )


@dataclass(slots=True)
class _Waiting:
    inputs: Versions | None
    since: float
    changed_at: float


@dataclass(frozen=True, slots=True)
class RefreshDue:
    """Start the runs that are due: once the inputs have been quiet for `delay_s` seconds, or after ten
    times that long. Any number of processes may do this on one catalog. Called again and again. What its
    owner may not do any more is paused instead."""

    refresh: Refresh
    act_as_owner: ActAsOwner
    delay_s: float = 1.0
    monotonic: Callable[[], float] = time.monotonic
    _waiting: dict[str, _Waiting] = field(default_factory=dict)

    def __call__(self) -> int:
        """The number of runs started."""
        refresh = self.refresh
        derivations = refresh.derivations.list()
        if not derivations:
            return 0
        current = current_versions(refresh.datasets)
        runs = {each.key: run_of(each, refresh.ingestions) for each in derivations}
        active = frozenset(key for key, run in runs.items() if run is not None and not run.state.final)
        ready = due(derivations, current, active)
        self._forget(frozenset(each.key for each in ready))
        return sum(self._start(each) for each in ready if self._is_quiet(each, current))

    def _start(self, derivation: Derivation) -> bool:
        try:
            self.act_as_owner.allowed(
                derivation.actor, Scope.INGEST, derivation.target, inputs=derivation.reads
            )
            return self.refresh.start(derivation, actor=derivation.actor) is not None
        except DatasetNotFound:  # dropped this moment
            return False
        except PermissionDenied as refusal:
            self._pause(derivation, refusal.message)
            return False

    def _pause(self, derivation: Derivation, reason: str) -> None:
        paused = replace(derivation, pause_reason=reason)
        with suppress(Conflict):  # somebody changed it
            self.refresh.derivations.put(paused, changed(paused, self.refresh.clock))
            logger.warning("a derivation is paused", extra={"dataset": str(paused.target), "reason": reason})

    def _is_quiet(self, derivation: Derivation, current: Versions) -> bool:
        now, inputs = self.monotonic(), current_inputs(derivation, current)
        seen = self._waiting.setdefault(derivation.key, _Waiting(inputs, now, now))
        if seen.inputs != inputs:
            seen.inputs, seen.changed_at = inputs, now
        return now - seen.changed_at >= self.delay_s or now - seen.since >= 10 * self.delay_s

    def _forget(self, ready: frozenset[str]) -> None:
        for key in self._waiting.keys() - ready:
            del self._waiting[key]


async def keep_fresh(refresh_due: RefreshDue, stop: anyio.Event, *, poll_s: float = 0.25) -> None:
    """Until `stop` is set."""
    while not stop.is_set():
        try:
            await anyio.to_thread.run_sync(refresh_due)
        except Exception:
            logger.exception("derived datasets could not be looked at")
        with anyio.move_on_after(poll_s):
            await stop.wait()


def _source(derivation: Derivation, pins: Pins) -> SourceSpec:
    what = {"sql": derivation.sql} if derivation.step is None else {"step": derivation.step}
    versions = {key: _document(ref) for key, ref in pins.items()}
    kind = KIND if derivation.step is None else STEP_KIND
    return SourceSpec(kind, {**what, "params": derivation.params, "pins": versions})


def _document(ref: VersionRef) -> list[object]:
    """Read by the sources of runs; a third part says since which version rows are wanted."""
    return [ref.dataset_id, ref.version, *([ref.since] if isinstance(ref, AddedRows) else [])]


def _seen(derivation: Derivation, actor: Actor) -> bool:
    """Whether all that it tells of is in sight: what its statement names, and what it makes."""
    return all(map(actor.sees, (derivation.target, *derivation.reads)))


def changed(derivation: Derivation, clock: Clock) -> Event:
    """It was paused or resumed."""
    reason = derivation.pause_reason or None
    data = {"dataset": derivation.target.value, "paused": reason is not None, "pause_reason": reason}
    return Event(EventKind.DERIVATION_CHANGED, derivation.target.value, data, clock())


def run_of(derivation: Derivation, ingestions: IngestionRepository) -> Ingestion | None:
    try:
        return None if derivation.run is None else ingestions.get(derivation.run)
    except IngestionNotFound:  # long ago
        return None


def current_versions(datasets: DatasetRepository) -> Versions:
    return {key: entry.ref for key, entry in datasets.lake_state().datasets.items()}


def derivation_not_found(target: DatasetName) -> DerivationNotFound:
    return DerivationNotFound(
        f"dataset '{target}' is not derived; say what makes it with `skein derive {target}`",
        name=target.value,
    )
