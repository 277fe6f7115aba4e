"""Managing users, who log in with a password."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from flight_core.application.access.rights import require
from flight_core.application.access.tokens import refuse_reserved, require_administrator
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.passwords import PasswordHasher
from flight_core.domain.access import EVERYTHING, Actor, Scope
from flight_core.domain.errors import IdempotencyKeyReused, InvalidOption, PermissionDenied, UserNotFound
from flight_core.domain.limits import NO_LIMITS, Limits
from flight_core.domain.repositories.users import UserRepository
from flight_core.domain.users import User

logger = logging.getLogger(__name__)

MIN_PASSWORD = 8
MAX_PASSWORD = 1024


@dataclass(frozen=True, slots=True)
class AddUser:
    """
    Raises:
        PermissionDenied: the actor is not an administrator of all datasets, or lacks one of the scopes.
        InvalidOption: name, password, scopes or datasets are not valid.
        UserExists, ReservedName
    """

    users: UserRepository
    hasher: PasswordHasher
    clock: Clock

    def __call__(
        self,
        name: str,
        *,
        password: str,
        actor: Actor,
        scopes: frozenset[Scope],
        datasets: tuple[str, ...] = EVERYTHING,
        limits: Limits = NO_LIMITS,
    ) -> User:
        require_administrator(actor)
        for scope in scopes:
            require(actor, scope)
        refuse_reserved(name)
        now = self.clock()
        hash = _hashed(self.hasher, password)
        user = User(name, scopes, datasets, now, actor.name, now, hash, limits)
        self.users.add(user)
        logger.info("user added", extra={"user": name, "actor": actor.name})
        return user

    def again(self, name: str, *, password: str, actor: Actor) -> User:
        """The user whom an earlier, equal call has added.

        Raises:
            UserNotFound: the user was removed since.
            IdempotencyKeyReused: the user has another password than this one.
            PermissionDenied
        """
        require_administrator(actor)
        user = self.users.by_name().get(name)
        if user is None:
            raise UserNotFound(f"user '{name}' was added, and removed since; use a new key to add them again")
        if len(password) > MAX_PASSWORD or not self.hasher.verify(user.password_hash, password):
            raise IdempotencyKeyReused(
                f"the idempotency key came with another password before, or '{name}' has another one by now;"
                " use a new key for a new request",
                resource=name,
            )
        return user


@dataclass(frozen=True, slots=True)
class ListUsers:
    """All users, ordered by name. Raises PermissionDenied."""

    users: UserRepository

    def __call__(self, *, actor: Actor) -> Sequence[User]:
        require_administrator(actor)
        return sorted(self.users.by_name().values(), key=lambda user: user.name)


@dataclass(frozen=True, slots=True)
class RemoveUser:
    """Remove a user. The password and all logins become invalid at once. Raises UserNotFound,
    PermissionDenied."""

    users: UserRepository
    clock: Clock

    def __call__(self, name: str, *, actor: Actor) -> None:
        require_administrator(actor)
        self.users.remove(name, self.clock())
        logger.info("user removed", extra={"user": name, "actor": actor.name})


@dataclass(frozen=True, slots=True)
class ChangePassword:
    """Set a new password, which ends all logins of the user. Users may change their own, for which they need
    the `current` one.

    Raises:
        PermissionDenied: `current` is wrong, or the actor is neither the user nor an administrator with all
            scopes of the user.
        InvalidOption: the new password is too short or too long.
        UserNotFound
    """

    users: UserRepository
    hasher: PasswordHasher
    clock: Clock

    def __call__(self, name: str, *, password: str, actor: Actor, current: str | None = None) -> None:
        own = actor.name == name
        if own and current is not None:
            self._require_current(name, current)
        elif own and not actor.may(Scope.ADMIN):
            raise PermissionDenied("your own password is changed with the one that you have as 'current'")
        else:
            require_administrator(actor)
            self._require_scopes(name, actor)
        self.users.set_password(name, _hashed(self.hasher, password), self.clock())
        logger.info("password changed", extra={"user": name, "actor": actor.name})

    def _require_scopes(self, name: str, actor: Actor) -> None:
        """Who knows the password can do what the user may."""
        user = self.users.by_name().get(name)
        for scope in sorted(user.scopes) if user is not None else ():
            require(actor, scope)

    def _require_current(self, name: str, current: str) -> None:
        user = self.users.by_name().get(name)
        if user is None:
            raise UserNotFound(f"there is no user '{name}' in the catalog; it may be one of the settings")
        if len(current) > MAX_PASSWORD or not self.hasher.verify(user.password_hash, current):
            raise PermissionDenied(f"that is not the current password of '{name}'")


def _hashed(hasher: PasswordHasher, password: str) -> str:
    """
    Raises:
        InvalidOption
    """
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise InvalidOption(
            f"the password has {len(password)} characters; {MIN_PASSWORD} to {MAX_PASSWORD} are allowed",
            option="password",
        )
    return hasher.hash(password)
