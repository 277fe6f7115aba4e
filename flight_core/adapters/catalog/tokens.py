"""API tokens, by the digests of their secrets."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from flight_core.adapters.catalog import counters
from flight_core.adapters.catalog.cached_read import CachedRead
from flight_core.adapters.catalog.tables import api_tokens
from flight_core.domain.access import Scope
from flight_core.domain.errors import TokenNotFound
from flight_core.domain.limits import Limits
from flight_core.domain.tokens import ApiToken
from flight_core.infrastructure.database import Database


class SqlTokenRepository:
    """See `TokenRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_digest = CachedRead(database, counters.TOKENS, _by_digest)

    def add(self, token: ApiToken, digest: bytes) -> None:
        with self._database.write() as connection:
            counters.count(connection, counters.TOKENS)
            connection.execute(
                api_tokens.insert().values(
                    id=token.id,
                    digest=digest,
                    name=token.name,
                    scopes=sorted(token.scopes),
                    datasets=list(token.datasets),
                    created_at=token.created_at,
                    created_by=token.created_by,
                    expires_at=token.expires_at,
                    limits=token.limits.given(),
                )
            )

    def list(self) -> Sequence[ApiToken]:
        statement = api_tokens.select().order_by(api_tokens.c.created_at.desc(), api_tokens.c.id)
        with self._database.read() as connection:
            return [_token(row) for row in connection.execute(statement)]

    def revoke(self, token_id: str, at: datetime) -> ApiToken:
        one = api_tokens.c.id == token_id
        with self._database.write() as connection:
            counters.count(connection, counters.TOKENS)
            connection.execute(
                api_tokens.update().where(one, api_tokens.c.revoked_at.is_(None)).values(revoked_at=at)
            )
            row = connection.execute(api_tokens.select().where(one)).one_or_none()
            if row is None:
                raise TokenNotFound(
                    f"there is no token '{token_id[:64]}'; list them to see which there are", id=token_id[:64]
                )
        return _token(row)

    def by_digest(self) -> Mapping[bytes, ApiToken]:
        return self._by_digest()

    def touch(self, token_id: str, at: datetime) -> None:
        with self._database.write() as connection:
            connection.execute(api_tokens.update().where(api_tokens.c.id == token_id).values(last_used_at=at))


def _by_digest(connection: sa.Connection, _: int) -> Mapping[bytes, ApiToken]:
    return {row.digest: _token(row) for row in connection.execute(api_tokens.select())}


def _token(row: sa.Row[Any]) -> ApiToken:
    return ApiToken(
        id=row.id,
        name=row.name,
        scopes=frozenset(map(Scope, row.scopes)),
        datasets=tuple(row.datasets),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        limits=Limits(**row.limits or {}),
    )
