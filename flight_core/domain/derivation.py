"""Derived datasets: what each is made from, which are out of date, and which may be made anew now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flight_core.domain.dataset import DatasetName, VersionRef
from flight_core.domain.errors import DerivationCycle
from flight_core.domain.query import Pins, datasets_of


class RefreshPolicy(StrEnum):
    AUTO = "auto"  # whenever an input has another version
    MANUAL = "manual"  # when somebody asks


@dataclass(frozen=True, slots=True)
class Derivation:
    """What makes the dataset `target`: a statement over its inputs, or an installed step. Replaced, never
    changed in place.

    `fixed` are the inputs that are named with a version; they never change. `attempted` are
    the versions of the inputs that the latest run was given, whatever became of it; None: there was no
    run of this definition. `revision` grows with every change of the record. While there is a
    `pause_reason`, it is not made anew by itself: its owner may not do that any more.
    """

    target: DatasetName
    sql: str | None
    params: Sequence[object] | Mapping[str, object]
    policy: RefreshPolicy
    inputs: frozenset[DatasetName]
    actor: str
    created_at: datetime
    fixed: Pins = field(default_factory=dict)
    attempted: Pins | None = None
    run: str | None = None  # the job of the latest run
    revision: int = 0
    step: str | None = None
    incremental: bool = False  # where the input has only got more rows, those are all that a run makes
    pause_reason: str = ""

    @property
    def key(self) -> str:
        return self.target.key

    @property
    def input_keys(self) -> frozenset[str]:
        return frozenset(name.key for name in self.inputs)

    @property
    def reads(self) -> frozenset[DatasetName]:
        """All that a run reads, also what never changes."""
        return self.inputs | datasets_of(self.fixed)

    @property
    def by_itself(self) -> bool:
        """Whether runs follow without anybody asking."""
        return self.policy is RefreshPolicy.AUTO and not self.pause_reason


Versions = Mapping[str, VersionRef]


def current_inputs(derivation: Derivation, current: Versions) -> Versions | None:
    """The versions that a run would read now; None if an input does not exist."""
    if not derivation.input_keys <= current.keys():
        return None
    return {key: current[key] for key in sorted(derivation.input_keys)}


def is_stale(derivation: Derivation, current: Versions) -> bool:
    """Whether the inputs are there, and others than the latest run was given."""
    now = current_inputs(derivation, current)
    return now is not None and now != derivation.attempted


def due(derivations: Iterable[Derivation], current: Versions, active: frozenset[str]) -> list[Derivation]:
    """Those to be made anew now; `active` are the keys of those with a run that has not ended.

    A derivation waits until nothing above it is out of date or running, so that a change goes through
    the graph in order and reaches each one once. What has failed is not tried again before its inputs
    change; like what is paused, it holds nobody up.
    """
    known = {each.key: each for each in derivations}
    pending = {key for key, each in known.items() if each.by_itself and is_stale(each, current)}
    busy = pending | active
    return [known[key] for key in sorted(pending - active) if not _above(known[key], known) & busy]


def refuse_cycle(derivation: Derivation, others: Iterable[Derivation]) -> None:
    """
    Raises:
        DerivationCycle: the target is among what it is made from; the message names the way round.
    """
    known = {each.key: each for each in others} | {derivation.key: derivation}
    way = _way_back(derivation.key, known)
    if way is not None:
        names = [str(known[key].target) for key in way]
        raise DerivationCycle(
            f"'{derivation.target}' would be made from itself: {' <- '.join(names)}; derive it from"
            " something else, or name a version such as"
            f' "{names[-1]}@v1"',
            cycle=names,
        )


def _above(derivation: Derivation, known: Mapping[str, Derivation]) -> set[str]:
    """The keys of all that it is made from, directly or not."""
    found: set[str] = set()
    waiting = list(derivation.input_keys)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting += known[key].input_keys if key in known else ()
    return found


def _way_back(start: str, known: Mapping[str, Derivation]) -> list[str] | None:
    """The keys from `start` along the inputs to `start` again, shortest first."""
    ways = [[start]]
    seen: set[str] = set()
    for way in ways:
        for key in sorted(known[way[-1]].input_keys):
            if key == start:
                return [*way, key]
            if key in known and key not in seen:
                seen.add(key)
                ways.append([*way, key])
    return None
