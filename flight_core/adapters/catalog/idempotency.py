"""Which job was started by the request that an actor gave a name."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flight_core.adapters.catalog.tables import idempotency_keys as keys
from flight_core.domain.errors import CommitConflict, IdempotencyKeyReused
from flight_core.domain.ingestion import IdempotencyKey, Ingestion


def holder(connection: sa.Connection, key: IdempotencyKey, *, now: datetime) -> str | None:
    """The id of the key's job; None if the key is new, or has been forgotten.

    Raises:
        IdempotencyKeyReused: another request has it.
    """
    row = connection.execute(
        sa.select(keys.c.ingestion_id, keys.c.fingerprint).where(
            keys.c.actor == key.actor, keys.c.value == key.value, keys.c.created_at > now - key.KEPT
        )
    ).one_or_none()
    if row is None:
        return None
    if row.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused(
            f"the idempotency key '{key.value}' came with another request before; use a new key for a new"
            " request",
            ingestion=row.ingestion_id,
        )
    return str(row.ingestion_id)


def claim(connection: sa.Connection, key: IdempotencyKey, ingestion: Ingestion) -> str | None:
    """Give the key to a new job; the id of the job that has it already, if one does.

    Of requests that come at the same time the first one gets it, and the others wait for that to be
    certain. Keys that are old enough are forgotten on the way. Raises as `holder`.
    """
    now = ingestion.created_at
    connection.execute(keys.delete().where(keys.c.created_at <= now - key.KEPT))
    values = {
        "actor": key.actor,
        "value": key.value,
        "fingerprint": key.fingerprint,
        "ingestion_id": ingestion.id,
        "created_at": now,
    }
    try:
        with connection.begin_nested():
            connection.execute(keys.insert().values(values))
    except IntegrityError:
        earlier = holder(connection, key, now=now)
        if earlier is None:  # it was given away and forgotten in between
            raise CommitConflict("the idempotency key is in use; try again") from None
        return earlier
    return None
