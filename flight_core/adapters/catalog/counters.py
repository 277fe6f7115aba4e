"""Counters that grow in the order in which transactions commit."""

import sqlalchemy as sa

from flight_core.adapters.catalog.tables import counters

REVISION = "revision"
EVENT = "event"
TOKENS = "tokens"
USERS = "users"


def current(connection: sa.Connection, name: str) -> int:
    value: int = connection.execute(_current(name)).scalar_one()
    return value


def lock(connection: sa.Connection, name: str) -> None:
    """Lock the counter until the transaction ends, so that others who lock or increment it wait."""
    connection.execute(_current(name).with_for_update())


def count(connection: sa.Connection, name: str) -> int:
    """Increment the counter and return it. Locks it until the transaction ends."""
    statement = (
        counters.update()
        .where(counters.c.name == name)
        .values(value=counters.c.value + 1)
        .returning(counters.c.value)
    )
    value: int = connection.execute(statement).scalar_one()
    return value


def _current(name: str) -> sa.Select[int]:
    return sa.select(counters.c.value).where(counters.c.name == name)
