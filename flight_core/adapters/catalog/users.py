"""Users, with the hashes of their passwords."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from flight_core.adapters.catalog import counters
from flight_core.adapters.catalog.cached_read import CachedRead
from flight_core.adapters.catalog.tables import users
from flight_core.domain.access import Scope
from flight_core.domain.errors import UserExists, UserNotFound
from flight_core.domain.limits import Limits
from flight_core.domain.users import User
from flight_core.infrastructure.database import Database


class SqlUserRepository:
    """See `UserRepository`. Removed users leave a row without a password."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = CachedRead(database, counters.USERS, _by_name)

    def add(self, user: User) -> None:
        with self._database.write() as connection:
            counters.count(connection, counters.USERS)
            known = connection.execute(users.select().where(users.c.name == user.name)).one_or_none()
            if known is not None and known.removed_at is None:
                raise UserExists(f"there is a user '{user.name}' already", name=user.name)
            connection.execute(users.delete().where(users.c.name == user.name))
            connection.execute(
                users.insert().values(
                    name=user.name,
                    scopes=sorted(user.scopes),
                    datasets=list(user.datasets),
                    created_at=user.created_at,
                    created_by=user.created_by,
                    password_changed_at=user.password_changed_at,
                    password_hash=user.password_hash,
                    limits=user.limits.given(),
                )
            )

    def remove(self, name: str, at: datetime) -> None:
        self._update(name, removed_at=at, password_hash="")

    def set_password(self, name: str, password_hash: str, at: datetime) -> None:
        self._update(name, password_hash=password_hash, password_changed_at=at)

    def by_name(self) -> Mapping[str, User]:
        return self._known()[1]

    def ever(self) -> bool:
        return self._known()[0] > 0

    def _update(self, name: str, **values: object) -> None:
        one = sa.and_(users.c.name == name, users.c.removed_at.is_(None))
        with self._database.write() as connection:
            counters.count(connection, counters.USERS)
            if connection.execute(users.update().where(one).values(**values)).rowcount == 0:
                raise UserNotFound(
                    f"there is no user '{name[:64]}'; list them to see who there is. Users of the settings"
                    " are changed there",
                    name=name[:64],
                )


def _by_name(connection: sa.Connection, number: int) -> tuple[int, Mapping[str, User]]:
    """The number of changes so far, and the current users."""
    rows = connection.execute(users.select().where(users.c.removed_at.is_(None)))
    return number, {row.name: _user(row) for row in rows}


def _user(row: sa.Row[Any]) -> User:
    return User(
        name=row.name,
        scopes=frozenset(map(Scope, row.scopes)),
        datasets=tuple(row.datasets),
        created_at=row.created_at,
        created_by=row.created_by,
        password_changed_at=row.password_changed_at,
        password_hash=row.password_hash,
        limits=Limits(**row.limits or {}),
    )
