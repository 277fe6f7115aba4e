"""Derived datasets: what each is made from, which are out of date, and which are due for a refresh."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flight_core.domain.access import ALL_RIGHTS, Actor, Rights
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import DerivationCycle
from flight_core.domain.query import Pins, datasets_of


class RefreshPolicy(StrEnum):
    AUTO = "auto"  # whenever an input has a new version
    MANUAL = "manual"  # on request


@dataclass(frozen=True, slots=True)
class Derivation:
    """How the dataset `target` is made: by a SQL statement over its inputs, or by an installed step.

    `fixed` are the inputs that are named with a version; they never change. `attempted` are the versions of
    the inputs that the latest run of this definition was given, whether it succeeded or not; None: there was
    no run. `revision` grows with every change of the record. While there is a `pause_reason`, the derivation
    is not refreshed automatically, because its owner has lost the rights that it needs. `rights` are those
    that the owner had on becoming its owner; automatic runs have no others.
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
    incremental: bool = False  # if rows were only added to the input, a run processes only these
    pause_reason: str = ""
    rights: Rights = ALL_RIGHTS

    @property
    def key(self) -> str:
        return self.target.key

    @property
    def input_keys(self) -> frozenset[str]:
        return frozenset(name.key for name in self.inputs)

    @property
    def reads(self) -> frozenset[DatasetName]:
        """All datasets that a run reads, with those of `fixed`."""
        return self.inputs | datasets_of(self.fixed)

    @property
    def by_itself(self) -> bool:
        """Whether it is refreshed automatically."""
        return self.policy is RefreshPolicy.AUTO and not self.pause_reason


def current_inputs(derivation: Derivation, current: Pins) -> Pins | None:
    """The versions of the inputs that a run would read now; None if an input does not exist."""
    if not derivation.input_keys <= current.keys():
        return None
    return {key: current[key] for key in sorted(derivation.input_keys)}


def is_stale(derivation: Derivation, current: Pins) -> bool:
    """Whether all inputs exist, and one has another version than in the latest run."""
    now = current_inputs(derivation, current)
    return now is not None and now != derivation.attempted


def due(derivations: Iterable[Derivation], current: Pins, active: frozenset[str]) -> list[Derivation]:
    """The derivations to refresh now; `active` are the keys of those with a run that has not ended.

    A derivation waits until all that it is made from is up to date, so that a change goes through the graph
    in order and each derivation runs once. A failed run is not repeated before an input changes. Failed and
    paused derivations do not hold up others.
    """
    known = {each.key: each for each in derivations}
    pending = {key for key, each in known.items() if each.by_itself and is_stale(each, current)}
    busy = pending | active
    return [known[key] for key in sorted(pending - active) if not _above(known[key], known) & busy]


def refuse_cycle(derivation: Derivation, others: Iterable[Derivation], *, actor: Actor) -> None:
    """
    Raises:
        DerivationCycle: the target would be made from itself; the message names the datasets of the cycle
            that the actor sees.
    """
    known = {each.key: each for each in others} | {derivation.key: derivation}
    way = _way_back(derivation.key, known)
    if way is not None:
        names = [str(name) for name in (known[key].target for key in way) if actor.sees(name)]
        raise DerivationCycle(
            f"'{derivation.target}' would be made from itself: {' <- '.join(names)}; derive it from"
            " something else, or name a version such as"
            f' "{names[-1]}@v1"',
            cycle=names,
        )


def _above(derivation: Derivation, known: Mapping[str, Derivation]) -> set[str]:
    """The keys of all datasets that it is made from, directly or indirectly."""
    found: set[str] = set()
    waiting = list(derivation.input_keys)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting += known[key].input_keys if key in known else ()
    return found


def _way_back(start: str, known: Mapping[str, Derivation]) -> list[str] | None:
    """The keys along the shortest path from `start` back to itself; None if there is none."""
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
