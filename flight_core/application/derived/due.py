"""Refreshing derived datasets automatically when their inputs have changed."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from flight_core.application.access.owners import ActAsOwner
from flight_core.application.derived.definitions import changed
from flight_core.application.derived.runs import Refresh
from flight_core.application.derived.status import current_versions, run_of
from flight_core.domain.access import Scope
from flight_core.domain.derivation import Derivation, current_inputs, due
from flight_core.domain.errors import Conflict, DatasetNotFound, PermissionDenied
from flight_core.domain.query import Pins

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    inputs: Pins | None
    since: float
    changed_at: float


@dataclass(frozen=True, slots=True)
class RefreshDue:
    """Start the runs that are due: when the inputs have not changed for `delay_s` seconds, or at the latest
    after ten times that. Called periodically, in any number of processes. A derivation whose owner has lost
    the rights it needs is paused instead."""

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
                derivation.actor,
                derivation.rights,
                Scope.INGEST,
                derivation.target,
                inputs=derivation.reads,
            )
            start = self.refresh.start
            return start(derivation, actor=derivation.actor, rights=derivation.rights) is not None
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

    def _is_quiet(self, derivation: Derivation, current: Pins) -> bool:
        now, inputs = self.monotonic(), current_inputs(derivation, current)
        seen = self._waiting.setdefault(derivation.key, _Waiting(inputs, now, now))
        if seen.inputs != inputs:
            seen.inputs, seen.changed_at = inputs, now
        return now - seen.changed_at >= self.delay_s or now - seen.since >= 10 * self.delay_s

    def _forget(self, ready: frozenset[str]) -> None:
        for key in self._waiting.keys() - ready:
            del self._waiting[key]
