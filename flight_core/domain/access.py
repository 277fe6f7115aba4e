"""Actors: who is calling, and what they may do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from flight_core.domain.contract import quarantined
from flight_core.domain.dataset import DatasetName, LakeState
from flight_core.domain.limits import NO_LIMITS, Limits


class Scope(StrEnum):
    READ = "read"
    INGEST = "ingest"  # upload, ingest and schedule; included in WRITE
    WRITE = "write"  # create, append to, replace and drop datasets; with READ: DDL and DML
    ADMIN = "admin"  # see and cancel the work of others


ALL_SCOPES = frozenset(Scope)
EVERYTHING = ("*",)

_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Rights:
    """The scopes and the datasets of an `Actor`, kept with work that is done later."""

    scopes: frozenset[Scope]
    datasets: tuple[str, ...]

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or (scope is Scope.INGEST and Scope.WRITE in self.scopes)

    def include(self, other: "Rights") -> bool:
        """Whether they allow all that the others do, as far as that is easy to tell of patterns."""
        covered = all(_covers(self.datasets, each) for each in other.datasets)
        return covered and all(map(self.may, other.scopes))

    def shared(self, other: "Rights") -> "Rights":
        """What both allow; less, where patterns overlap of which neither is plainly part of the other."""
        mine = [each for each in self.datasets if _covers(other.datasets, each)]
        theirs = [each for each in other.datasets if _covers(self.datasets, each)]
        scopes = frozenset(scope for scope in Scope if self.may(scope) and other.may(scope))
        return Rights(scopes, tuple(dict.fromkeys([*mine, *theirs])))


ALL_RIGHTS = Rights(ALL_SCOPES, EVERYTHING)
NO_RIGHTS = Rights(frozenset(), ())


def rights_document(rights: Rights) -> dict[str, object]:
    """As JSON values; `rights_of` is the inverse."""
    return {"scopes": sorted(rights.scopes), "datasets": list(rights.datasets)}


def rights_of(document: Mapping[str, Any]) -> Rights:
    return Rights(frozenset(map(Scope, document["scopes"])), tuple(document["datasets"]))


def _covers(patterns: tuple[str, ...], pattern: str) -> bool:
    """Whether one of `patterns` matches every name that `pattern` matches, as far as it is easy to tell."""
    return any(_includes(each.lower(), pattern.lower()) for each in patterns)


def _includes(pattern: str, other: str) -> bool:
    if pattern == other:
        return True
    if not _WILDCARDS & set(other):
        return fnmatchcase(other, pattern)
    start, star = pattern[:-1], pattern[-1:]
    return star == "*" and not _WILDCARDS & set(start) and other.startswith(start)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call came from: the door (the protocol), the client's address, and the credential it was
    authenticated by, such as `token/ID` or `user/NAME`. Each is empty if unknown."""

    door: str = ""
    address: str = ""
    credential: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """An authenticated identity. `name` is safe to log.

    `datasets` are patterns (`*`, `?`, `[...]`) of the dataset names that the actor may access, ignoring case.
    """

    name: str
    scopes: frozenset[Scope] = ALL_SCOPES
    datasets: tuple[str, ...] = EVERYTHING
    origin: Origin = field(default=Origin(), compare=False)
    limits: Limits = field(default=NO_LIMITS, compare=False)

    @property
    def rights(self) -> Rights:
        return Rights(self.scopes, self.datasets)

    def coming(self, door: str, address: str) -> "Actor":
        """The same actor, with that door and address as the origin."""
        origin = Origin(door, address, self.origin.credential)
        return Actor(self.name, self.scopes, self.datasets, origin, self.limits)

    def may(self, scope: Scope) -> bool:
        return self.rights.may(scope)

    @property
    def guarded(self) -> bool:
        """Whether reads must run in an isolated engine: that of actors who may not write, or may not see all
        datasets."""
        return Scope.WRITE not in self.scopes or self.datasets != EVERYTHING

    def sees(self, name: DatasetName) -> bool:
        """Whether the actor may access the dataset. Access to a dataset includes its quarantine."""
        if self.datasets == EVERYTHING:
            return True
        keys = {name.key, (quarantined(name) or name).key}
        return any(fnmatchcase(key, pattern.lower()) for key in keys for pattern in self.datasets)

    def looks_after(self, owner: str) -> bool:
        """Whether the actor may cancel or change the owner's work on a dataset that the actor sees."""
        return owner == self.name or self.may(Scope.ADMIN)

    def oversees(self, owner: str, rights: Rights) -> bool:
        """Whether the actor may see and cancel what the owner, with these rights, does with any dataset:
        statements, uploads."""
        return self.oversees_all or (owner == self.name and self.rights.include(rights))

    @property
    def oversees_all(self) -> bool:
        return self.may(Scope.ADMIN) and self.datasets == EVERYTHING

    def view_of(self, lake: LakeState) -> LakeState:
        """The lake with only the datasets that the actor sees."""
        if self.datasets == EVERYTHING:
            return lake
        seen = {key: entry for key, entry in lake.datasets.items() if self.sees(entry.name)}
        return LakeState(lake.revision, seen)


LOCAL = Actor("local")  # every caller, if no credentials are configured
ITSELF = Actor("skein")  # the server itself, for automatic maintenance

RESERVED_NAMES = frozenset({LOCAL.name, ITSELF.name})  # a user or token of that name would get all rights
OIDC_PREFIX = "oidc:"  # keeps the names of an issuer apart from those of Skein's users and tokens
