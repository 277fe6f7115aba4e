"""Creating and revoking API tokens."""

import hashlib
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flight_core.application.access.rights import require
from flight_core.application.ports.authentication import API_TOKEN_PREFIX
from flight_core.application.ports.clock import Clock, NewId
from flight_core.domain.access import ALL_SCOPES, EVERYTHING, RESERVED_NAMES, Actor, Scope
from flight_core.domain.errors import InvalidOption, PermissionDenied, ReservedName
from flight_core.domain.limits import NO_LIMITS, Limits
from flight_core.domain.repositories.tokens import TokenRepository
from flight_core.domain.tokens import ApiToken

logger = logging.getLogger(__name__)

_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class CreateToken:
    """Create a token; returns it with its secret, which cannot be retrieved later.

    Raises:
        PermissionDenied: the actor is not an administrator of all datasets, or lacks one of the scopes.
        InvalidOption: name, scopes, datasets or expiry are not valid.
        ReservedName
    """

    tokens: TokenRepository
    clock: Clock
    new_id: NewId

    def __call__(
        self,
        name: str,
        *,
        actor: Actor,
        scopes: frozenset[Scope] = ALL_SCOPES,
        datasets: tuple[str, ...] = EVERYTHING,
        expires_at: datetime | None = None,
        limits: Limits = NO_LIMITS,
    ) -> tuple[ApiToken, str]:
        require_administrator(actor)
        for scope in scopes:
            require(actor, scope)
        refuse_reserved(name)
        now = self.clock()
        if expires_at is not None and expires_at <= now:
            raise InvalidOption(f"{expires_at.isoformat()} is over already; give a later moment")
        token = ApiToken(self.new_id(), name, scopes, datasets, now, actor.name, expires_at, limits=limits)
        secret = API_TOKEN_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        self.tokens.add(token, hashlib.sha256(secret.encode()).digest())
        logger.info("token created", extra={"token_id": token.id, "holder": name, "actor": actor.name})
        return token, secret


@dataclass(frozen=True, slots=True)
class ListTokens:
    """All tokens, newest first. Raises PermissionDenied."""

    tokens: TokenRepository

    def __call__(self, *, actor: Actor) -> Sequence[ApiToken]:
        require_administrator(actor)
        return self.tokens.list()


@dataclass(frozen=True, slots=True)
class RevokeToken:
    """Revoke a token, for all processes at once. Raises TokenNotFound, PermissionDenied."""

    tokens: TokenRepository
    clock: Clock

    def __call__(self, token_id: str, *, actor: Actor) -> ApiToken:
        require_administrator(actor)
        token = self.tokens.revoke(token_id, self.clock())
        logger.info("token revoked", extra={"token_id": token_id, "holder": token.name, "actor": actor.name})
        return token


def refuse_reserved(name: str) -> None:
    """
    Raises:
        ReservedName: Skein uses the name internally.
    """
    if name in RESERVED_NAMES:
        raise ReservedName(f"'{name}' is the name of somebody inside Skein; choose another one", name=name)


def require_administrator(actor: Actor) -> None:
    """
    Raises:
        PermissionDenied: the actor is not an administrator of all datasets.
    """
    require(actor, Scope.ADMIN)
    if actor.datasets != EVERYTHING:
        raise PermissionDenied(f"'{actor.name}' administers some datasets only; ask for a token for all")
