"""Running derivations, as ingestions."""

from dataclasses import dataclass, replace

from flight_core.application.access.rights import require, require_granted
from flight_core.application.derived.status import current_versions, derivation_not_found, run_of
from flight_core.application.jobs.jobs import Wakeup, event_of
from flight_core.application.ports.clock import Clock, NewId
from flight_core.application.ports.storage import TableStore
from flight_core.application.queries.added_rows import added_rows
from flight_core.domain.access import Actor, Rights, Scope
from flight_core.domain.dataset import AddedRows, DatasetName, DatasetVersion, VersionRef, WriteMode
from flight_core.domain.derivation import Derivation, current_inputs
from flight_core.domain.errors import Conflict, DatasetNotFound, IngestionNotFound, PermissionDenied
from flight_core.domain.ingestion import Ingestion, IngestionRequest, SourceSpec
from flight_core.domain.job import JobState
from flight_core.domain.lineage import from_info
from flight_core.domain.query import Pins
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.derivations import DerivationRepository
from flight_core.domain.repositories.ingestions import IngestionRepository

KIND, STEP_KIND = "derived", "step"  # of the source of a run


@dataclass(frozen=True, slots=True)
class Refresh:
    """Queue a run of a derivation, with the current versions of its inputs.

    Raises:
        DerivationNotFound
        PermissionDenied: the actor does not see what it is made from.
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
        """The new run, or the current one if it has not ended."""
        require(actor, Scope.INGEST)
        require_granted(target, actor)
        for _ in range(5):
            derivation = self.derivations.find(target)
            if derivation is None:
                raise derivation_not_found(target)
            if not all(map(actor.sees, derivation.reads)):
                raise PermissionDenied(
                    f"'{actor.name}' may not make '{target}' anew: what it is made from is out of their"
                    " sight; ask somebody who sees it",
                    name=target.value,
                )
            running = run_of(derivation, self.ingestions)
            if running is not None and not running.state.final:
                return running
            started = self.start(derivation, actor=actor.name, rights=actor.rights)
            if started is not None:
                return started
        raise Conflict(f"the derivation of '{target}' is being changed; try again")

    def start(self, derivation: Derivation, *, actor: str, rights: Rights) -> Ingestion | None:
        """None if somebody else started a run at the same time."""
        pins = current_inputs(derivation, current_versions(self.datasets))
        if pins is None:
            raise self._input_missing(derivation)
        added = self._added(derivation, pins)
        source = _source(derivation, added or {**pins, **derivation.fixed})
        mode = WriteMode.REPLACE if added is None else WriteMode.APPEND
        request = IngestionRequest(derivation.target, source, mode)
        run = Ingestion(
            id=self.new_id(),
            request=request,
            state=JobState.QUEUED,
            created_at=self.clock(),
            actor=actor,
            rights=rights,
        )
        begun = replace(derivation, attempted=pins, run=run.id)
        if not self.derivations.start(begun, run, event_of(JobState.QUEUED, run, self.clock)):
            return None
        self.wakeup.notify()
        return run

    def _added(self, derivation: Derivation, pins: Pins) -> Pins | None:
        """What to read if the run only has to process new rows of the input; None if it has to read all
        rows."""
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
        """Whether the version was committed by a run of the current definition."""
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


def _source(derivation: Derivation, pins: Pins) -> SourceSpec:
    what = {"sql": derivation.sql} if derivation.step is None else {"step": derivation.step}
    versions = {key: _document(ref) for key, ref in pins.items()}
    kind = KIND if derivation.step is None else STEP_KIND
    return SourceSpec(kind, {**what, "params": derivation.params, "pins": versions})


def _document(ref: VersionRef) -> list[object]:
    """Read by the sources of runs; a third part says since which version rows are wanted."""
    return [ref.dataset_id, ref.version, *([ref.since] if isinstance(ref, AddedRows) else [])]
