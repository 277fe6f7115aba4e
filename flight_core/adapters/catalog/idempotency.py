"""Idempotency keys, and the resources that their requests created."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flight_core.adapters.catalog.tables import idempotency_keys as keys
from flight_core.domain.errors import CommitConflict, IdempotencyKeyPending, IdempotencyKeyReused
from flight_core.domain.idempotency import IdempotencyKey
from flight_core.infrastructure.database import Database

_PENDING = ""


@dataclass(frozen=True, slots=True)
class SqlIdempotencyRepository:
    """See `IdempotencyRepository`."""

    database: Database

    def claim(self, key: IdempotencyKey, at: datetime) -> str | None:
        with self.database.write() as connection:
            return claim(connection, key, _PENDING, now=at)

    def settle(self, key: IdempotencyKey, resource: str) -> None:
        with self.database.write() as connection:
            connection.execute(keys.update().where(_is(key)).values(resource=resource))

    def release(self, key: IdempotencyKey) -> None:
        with self.database.write() as connection:
            connection.execute(keys.delete().where(_is(key), keys.c.resource == _PENDING))


def holder(connection: sa.Connection, key: IdempotencyKey, *, now: datetime) -> str | None:
    """The resource that the key's request created; None if the key is new or has expired.

    Raises:
        IdempotencyKeyReused: it was used for another request, or with other rights.
        IdempotencyKeyPending: its request has created nothing yet.
    """
    row = connection.execute(
        sa.select(keys.c.resource, keys.c.fingerprint).where(_is(key), keys.c.created_at > now - key.KEPT)
    ).one_or_none()
    if row is None:
        return None
    if row.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused(
            f"the idempotency key '{key.value}' came with another request before, or with other rights; use a"
            " new key for a new request"
        )
    if row.resource == _PENDING:
        raise IdempotencyKeyPending(
            f"the request with the idempotency key '{key.value}' has not ended; ask again in a moment, and if"
            " that does not help, look whether it has done its work, and use a new key"
        )
    return str(row.resource)


def claim(connection: sa.Connection, key: IdempotencyKey, resource: str, *, now: datetime) -> str | None:
    """Store the key for `resource`; returns the resource that its request has created before, if there is
    one.

    Of concurrent requests the first one gets the key, and the others wait until that is certain. Also deletes
    expired keys. Raises as `holder`.
    """
    connection.execute(keys.delete().where(keys.c.created_at <= now - key.KEPT))
    values = {
        "actor": key.actor,
        "value": key.value,
        "fingerprint": key.fingerprint,
        "resource": resource,
        "created_at": now,
    }
    try:
        with connection.begin_nested():
            connection.execute(keys.insert().values(values))
    except IntegrityError:
        earlier = holder(connection, key, now=now)
        if earlier is None:  # it was stored and has expired in between
            raise CommitConflict("the idempotency key is in use; try again") from None
        return earlier
    return None


def _is(key: IdempotencyKey) -> sa.ColumnElement[Any]:
    return sa.and_(keys.c.actor == key.actor, keys.c.value == key.value)
