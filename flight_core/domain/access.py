"""Who is asking, and what they may touch."""

from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from flight_core.domain.contract import quarantined
from flight_core.domain.dataset import DatasetName, LakeState
from flight_core.domain.limits import NO_LIMITS, Limits


class Scope(StrEnum):
    READ = "read"
    INGEST = "ingest"  # upload, ingest and schedule; WRITE includes it
    WRITE = "write"  # create, append to, replace and drop datasets; DDL and DML
    ADMIN = "admin"  # see and cancel other people's work


ALL_SCOPES = frozenset(Scope)
EVERYTHING = ("*",)


@dataclass(frozen=True, slots=True)
class Origin:
    """By which door and from which address somebody came, and by what they were recognised: `token/ID`,
    `user/NAME`. Empty where it is not known."""

    door: str = ""
    address: str = ""
    credential: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """An identity that was checked at a door. `name` is safe to log.

    `datasets` are patterns (`*`, `?`, `[...]`) of the names this actor may touch, compared without case.
    """

    name: str
    scopes: frozenset[Scope] = ALL_SCOPES
    datasets: tuple[str, ...] = EVERYTHING
    origin: Origin = field(default=Origin(), compare=False)
    limits: Limits = field(default=NO_LIMITS, compare=False)

    def coming(self, door: str, address: str) -> "Actor":
        """The same somebody, by that door and from that address."""
        origin = Origin(door, address, self.origin.credential)
        return Actor(self.name, self.scopes, self.datasets, origin, self.limits)

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or (scope is Scope.INGEST and Scope.WRITE in self.scopes)

    @property
    def guarded(self) -> bool:
        """Whether reads have to run apart from everybody else's: for those who may not write, or may
        not see everything."""
        return Scope.WRITE not in self.scopes or self.datasets != EVERYTHING

    def sees(self, name: DatasetName) -> bool:
        """Rejected rows belong to the dataset that they were meant for."""
        if self.datasets == EVERYTHING:
            return True
        keys = {name.key, (quarantined(name) or name).key}
        return any(fnmatchcase(key, pattern.lower()) for key in keys for pattern in self.datasets)

    def looks_after(self, owner: str) -> bool:
        """Whether work on a dataset in sight, asked for by `owner`, is this actor's to stop."""
        return owner == self.name or self.may(Scope.ADMIN)

    def oversees(self, owner: str) -> bool:
        """Likewise of work that may have to do with any dataset: statements, uploads."""
        return owner == self.name or (self.may(Scope.ADMIN) and self.datasets == EVERYTHING)

    def view_of(self, lake: LakeState) -> LakeState:
        """The lake without the datasets that are out of sight."""
        if self.datasets == EVERYTHING:
            return lake
        seen = {key: entry for key, entry in lake.datasets.items() if self.sees(entry.name)}
        return LakeState(lake.revision, seen)


LOCAL = Actor("local")  # everybody, where no credentials are needed
ITSELF = Actor("skein")  # who asks for what is due

RESERVED_NAMES = frozenset({LOCAL.name, ITSELF.name})  # whoever logged in as one would have its rights
OIDC_PREFIX = "oidc:"  # so that nobody of an issuer can be taken for a user or a token of Skein
