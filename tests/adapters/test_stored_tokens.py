"""API tokens in a real catalog, at moments of our choice."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from flight_core.adapters.authentication.static import Credential, StaticAuthenticator
from flight_core.adapters.authentication.stored import StoredAuthenticator
from flight_core.adapters.catalog.tokens import SqlTokenRepository
from flight_core.application.tokens import CreateToken
from flight_core.domain.access import LOCAL, Actor, Scope
from flight_core.domain.errors import Unauthenticated
from flight_core.infrastructure.database import Database

NOON = datetime(2031, 1, 31, 12, tzinfo=UTC)
READER = frozenset({Scope.READ})


class Clock:
    now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def tokens(tmp_path):
    with closing(Database(f"sqlite:///{tmp_path / 'catalog.sqlite'}")) as database:
        database.migrate()
        yield SqlTokenRepository(database)


def test_a_token_is_good_until_the_moment_it_expires(tokens):
    clock = Clock()
    create = CreateToken(tokens, clock, lambda: "1")
    _, secret = create("ann", actor=LOCAL, scopes=READER, expires_at=NOON + timedelta(hours=1))
    authenticator = StoredAuthenticator(StaticAuthenticator(key=b"key"), tokens, clock)
    clock.now = NOON + timedelta(minutes=59)
    assert authenticator.authenticate_token(secret) == Actor("ann", READER)
    clock.now = NOON + timedelta(hours=1)
    with pytest.raises(Unauthenticated, match="expired"):
        authenticator.authenticate_token(secret)


def test_the_last_use_is_noted_once_a_minute(tokens):
    clock = Clock()
    _, secret = CreateToken(tokens, clock, lambda: "1")("ann", actor=LOCAL)
    authenticator = StoredAuthenticator(StaticAuthenticator(key=b"key"), tokens, clock)
    for second, noted in ((0, 0), (59, 0), (61, 61)):
        clock.now = NOON + timedelta(seconds=second)
        authenticator.authenticate_token(secret)
        assert tokens.list()[0].last_used_at == NOON + timedelta(seconds=noted)


def test_a_token_of_the_settings_may_look_like_one_of_the_catalog(tokens):
    configured = StaticAuthenticator(tokens=[Credential("ann", "skein_mine")], key=b"key")
    authenticator = StoredAuthenticator(configured, tokens, Clock())
    assert authenticator.authenticate_token("skein_mine").name == "ann"
    with pytest.raises(Unauthenticated):
        authenticator.authenticate_token("skein_other")
