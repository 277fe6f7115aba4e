"""Defining derivations: what derived datasets are made from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flight_core.application.access.rights import get_seen, require, require_granted
from flight_core.application.datasets.find_version import FindVersion
from flight_core.application.derived.runs import STEP_KIND
from flight_core.application.derived.status import derivation_not_found
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.engine import ScanningEngine
from flight_core.application.ports.sources import RowSource
from flight_core.application.ports.steps import Steps
from flight_core.application.queries.reads import PlanQuery
from flight_core.domain.access import Actor, Scope
from flight_core.domain.contract import refuse_rejects
from flight_core.domain.dataset import DatasetName, VersionRef
from flight_core.domain.derivation import Derivation, RefreshPolicy, refuse_cycle
from flight_core.domain.errors import DatasetNotFound, InvalidOption
from flight_core.domain.events import Event, EventKind, dataset_event
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.query import Pins, Statement, as_parameters
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.derivations import DerivationRepository
from flight_core.domain.versions import version_named


@dataclass(frozen=True, slots=True)
class DerivationRequest:
    """Either `sql`, or the name of a `step` and its `inputs`: dataset names, optionally with a version."""

    target: DatasetName
    sql: str | None = None
    step: str | None = None
    inputs: Sequence[str] = ()
    params: Sequence[object] | dict[str, object] = ()
    policy: RefreshPolicy = RefreshPolicy.AUTO
    incremental: bool = False


@dataclass(frozen=True, slots=True)
class DefineDerivation:
    """Define what a dataset is made from; replaces an earlier definition. With the policy AUTO the first run
    follows by itself.

    The inputs of a statement are the datasets that the engine binds it to.

    Raises:
        As `QueryEngine.plan`: the statement cannot be bound, or is not a read.
        As `RowSource.check`: there is no such step, or it has other parameters.
        DatasetNotFound, VersionNotFound, ...: an input of a step does not exist.
        InvalidOption: the derivation cannot be incremental.
        DerivationCycle, Conflict, PermissionDenied.
    """

    derivations: DerivationRepository
    plan_query: PlanQuery
    clock: Clock
    datasets: DatasetRepository
    find: FindVersion
    steps: RowSource
    installed: Steps
    engine: ScanningEngine

    def __call__(self, request: DerivationRequest, *, actor: Actor) -> Derivation:
        require(actor, Scope.WRITE)
        require_granted(request.target, actor)
        refuse_rejects(request.target)
        try:
            pins = self._pins(request, actor)
        except DatasetNotFound as error:
            raise self._explained(error, actor) from None
        if request.incremental and not self._can_append(request, pins):
            raise InvalidOption(
                "it cannot be refreshed by appending: each row has to come from one row of one dataset,"
                " without aggregates, joins, windows, DISTINCT, ORDER BY or LIMIT; leave out 'incremental'",
                option="incremental",
            )
        before = self.derivations.find(request.target)
        derivation = Derivation(
            target=request.target,
            sql=request.sql,
            step=request.step,
            params=request.params,
            policy=request.policy,
            inputs=frozenset(DatasetName(key) for key in pins if "@" not in key),
            fixed={key: ref for key, ref in pins.items() if "@" in key},
            actor=actor.name,
            rights=actor.rights,
            created_at=self.clock(),
            run=None if before is None else before.run,  # the next run waits until this one has ended
            revision=0 if before is None else before.revision,
            incremental=request.incremental,
        )
        refuse_cycle(derivation, self.derivations.list(), actor=actor)
        event = dataset_event(EventKind.DERIVATION_SET, request.target, self.clock(), actor=actor.name)
        return self.derivations.put(derivation, event)

    def _explained(self, error: DatasetNotFound, actor: Actor) -> DatasetNotFound:
        """What is more exact of an input that is to be derived, and has not been yet."""
        key = str(error.details.get("name", "")).lower()
        pending = next((each for each in self.derivations.list() if each.key == key), None)
        if pending is None or not all(map(actor.sees, {pending.target, *pending.reads})):
            return error
        return DatasetNotFound(
            f"dataset '{pending.target}' is defined, but has no version yet; wait for its first run, or"
            " refresh it, then define this one",
            name=pending.target.value,
        )

    def _can_append(self, request: DerivationRequest, pins: Pins) -> bool:
        if len(pins) != 1 or any("@" in key for key in pins):
            return False
        if request.sql is None:
            return any(step.name == request.step and step.row_wise for step in self.installed.list())
        return self.engine.is_scan(Statement(request.sql, as_parameters(request.params)), pins)

    def _pins(self, request: DerivationRequest, actor: Actor) -> Pins:
        """The versions that it would read now."""
        if request.sql is not None:
            statement = Statement(request.sql, as_parameters(request.params))
            return self.plan_query(statement, actor=actor).pins
        pins = {text.lower(): self._input(text, actor) for text in request.inputs}
        fields = {"step": request.step, "params": request.params, "pins": pins}
        self.steps.check(SourceSpec(STEP_KIND, fields), actor=actor)
        return pins

    def _input(self, text: str, actor: Actor) -> VersionRef:
        name, _, version = text.partition("@")
        dataset = get_seen(self.datasets, DatasetName(name), actor)
        return self.find(dataset, version_named(version) if version else None).ref


@dataclass(frozen=True, slots=True)
class ResumeDerivation:
    """Resume a derivation that was paused because its owner had lost the rights it needs. The actor, who
    needs these rights, becomes its owner.

    Raises:
        DerivationNotFound: there is none, or it reads a dataset that the actor does not see.
        PermissionDenied
        Conflict: somebody else changed it at the same time.
    """

    derivations: DerivationRepository
    clock: Clock

    def __call__(self, target: DatasetName, *, actor: Actor) -> Derivation:
        require(actor, Scope.WRITE)
        require_granted(target, actor)
        derivation = self.derivations.find(target)
        if derivation is None or not all(map(actor.sees, derivation.reads)):
            raise derivation_not_found(target)
        if not derivation.pause_reason:
            return derivation
        resumed = replace(derivation, actor=actor.name, rights=actor.rights, pause_reason="")
        return self.derivations.put(resumed, changed(resumed, self.clock))


@dataclass(frozen=True, slots=True)
class RemoveDerivation:
    """Remove the derivation. The dataset stays as it is. Raises DerivationNotFound."""

    derivations: DerivationRepository
    clock: Clock

    def __call__(self, target: DatasetName, *, actor: Actor) -> None:
        require(actor, Scope.WRITE)
        require_granted(target, actor)
        event = dataset_event(EventKind.DERIVATION_REMOVED, target, self.clock(), actor=actor.name)
        if not self.derivations.remove(target, event):
            raise derivation_not_found(target)


def changed(derivation: Derivation, clock: Clock) -> Event:
    """The event for a derivation that was paused or resumed."""
    reason = derivation.pause_reason or None
    return dataset_event(
        EventKind.DERIVATION_CHANGED,
        derivation.target,
        clock(),
        paused=reason is not None,
        pause_reason=reason,
    )
