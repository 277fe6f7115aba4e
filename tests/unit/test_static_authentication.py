"""Users, API tokens and session tokens."""

import pytest

from flight_core.adapters.authentication.static import Credential, StaticAuthenticator
from flight_core.application.ports.authentication import SESSION_TOKEN_PREFIX
from flight_core.domain.access import ALL_SCOPES, LOCAL, Actor, Scope
from flight_core.domain.errors import Unauthenticated

READER = frozenset({Scope.READ})


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def authenticator(*, key=b"key", clock=None, users=("ada",)):
    return StaticAuthenticator(
        [Credential(name, "pässword:1", READER) for name in users],
        [Credential("loader", "t0ken")],
        key=key,
        session_ttl_s=60,
        now=clock or Clock(),
    )


def test_without_credentials_everybody_is_local():
    assert StaticAuthenticator(key=b"key").anonymous == LOCAL


def test_with_credentials_nobody_is_anonymous():
    assert authenticator().anonymous is None


def test_a_password_proves_a_user_with_the_scopes_configured():
    assert authenticator().authenticate_password("ada", "pässword:1") == Actor("ada", READER)


def test_an_api_token_proves_its_holder():
    assert authenticator().authenticate_token("t0ken") == Actor("loader", ALL_SCOPES)


@pytest.mark.parametrize(
    ("user", "password"), [("ada", "wrong"), ("eve", "pässword:1"), ("", ""), ("ada", "")]
)
def test_wrong_users_and_wrong_passwords_look_the_same(user, password):
    with pytest.raises(Unauthenticated, match=r"^\[unauthenticated\] the user or the password is wrong$"):
        authenticator().authenticate_password(user, password)


def test_a_session_token_stands_for_its_user_until_it_expires():
    clock = Clock()
    checker = authenticator(clock=clock)
    token = checker.issue_token(Actor("ada", READER))
    assert checker.authenticate_token(token) == Actor("ada", READER)
    clock.now += 61
    with pytest.raises(Unauthenticated, match="expired"):
        checker.authenticate_token(token)


def test_every_session_token_is_another():
    checker = authenticator()
    assert checker.issue_token(Actor("ada")) != checker.issue_token(Actor("ada"))


def test_a_session_token_is_good_wherever_the_key_is_shared():
    token = authenticator().issue_token(Actor("ada"))
    assert authenticator().authenticate_token(token).name == "ada"
    with pytest.raises(Unauthenticated, match="another server"):
        authenticator(key=b"other").authenticate_token(token)


def test_a_session_ends_with_its_user():
    token = authenticator().issue_token(Actor("ada"))
    with pytest.raises(Unauthenticated, match="log in again"):
        authenticator(users=("bob",)).authenticate_token(token)


@pytest.mark.parametrize(
    "forge",
    [
        lambda token: token[:-2],
        lambda token: token + "AA",
        lambda token: token.replace(".", "x"),
        lambda token: SESSION_TOKEN_PREFIX,
        lambda token: SESSION_TOKEN_PREFIX + "bnVsbA." + token.partition(".")[2].partition(".")[2],
        lambda token: SESSION_TOKEN_PREFIX + "ü.ü",
        lambda token: "",
    ],
)
def test_forged_tokens_are_refused(forge):
    checker = authenticator()
    with pytest.raises(Unauthenticated):
        checker.authenticate_token(forge(checker.issue_token(Actor("ada"))))


def test_no_secret_shows_in_a_repr():
    assert "t0ken" not in repr(Credential("loader", "t0ken"))
