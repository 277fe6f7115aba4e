"""Users, tokens and logins, of the settings and of a real catalog, at moments of our choice."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from flight_core.adapters.authentication.argon2id import Argon2Hasher
from flight_core.adapters.authentication.logins import Logins
from flight_core.adapters.authentication.sessions import SessionTokens
from flight_core.adapters.authentication.static import ConfiguredCredentials, Credential
from flight_core.adapters.authentication.stored import StoredAuthenticator
from flight_core.adapters.catalog.tokens import SqlTokenRepository
from flight_core.adapters.catalog.users import SqlUserRepository
from flight_core.application.access.login_throttle import LoginThrottle
from flight_core.application.access.tokens import CreateToken
from flight_core.application.access.users import AddUser, ChangePassword, ListUsers, RemoveUser
from flight_core.application.ports.authentication import SESSION_TOKEN_PREFIX
from flight_core.domain.access import ALL_SCOPES, LOCAL, Actor, Scope
from flight_core.domain.errors import (
    InvalidOption,
    PermissionDenied,
    TooManyRequests,
    Unauthenticated,
    UserExists,
    UserNotFound,
)
from flight_core.infrastructure.database import Database
from tests.catalogs import open_catalog

NOON = datetime(2031, 1, 31, 12, tzinfo=UTC)
READER = frozenset({Scope.READ})
PASSWORD = "pässword:1"


class CountingHasher:
    """Quick, and tells how often it was asked."""

    verified = 0

    def hash(self, password: str) -> str:
        return f"hash of {password}"

    def verify(self, hash: str, password: str) -> bool:
        self.verified += 1
        return hash == f"hash of {password}"


class House:
    """One catalog, its clock, and authenticators of processes that share the catalog and the key."""

    def __init__(self, database: Database) -> None:
        self.now = NOON
        self.tokens = SqlTokenRepository(database)
        self.users = SqlUserRepository(database)
        self.hasher = CountingHasher()

    def clock(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def authenticator(self, *, users=("ada",), tokens=True, key=b"key") -> StoredAuthenticator:
        configured = ConfiguredCredentials(
            [Credential(name, PASSWORD, READER) for name in users],
            [Credential("loader", "t0ken"), Credential("mine", "skein_mine")] if tokens else [],
            key=key,
        )
        throttle = LoginThrottle(self.seconds)
        logins = Logins(configured, self.users, self.hasher, throttle, self.seconds)
        sessions = SessionTokens(key, 3600, self.seconds)
        return StoredAuthenticator(configured, self.tokens, logins, sessions, self.clock)

    def add(self, name="ann", password="correct horse", *, actor=LOCAL, scopes=READER, datasets=("*",)):
        add = AddUser(self.users, self.hasher, self.clock)
        return add(name, password=password, actor=actor, scopes=scopes, datasets=datasets)

    def change(self, name="ann", password="battery staple", *, actor=LOCAL, current=None):
        change = ChangePassword(self.users, self.hasher, self.clock)
        change(name, password=password, actor=actor, current=current)

    def remove(self, name="ann"):
        RemoveUser(self.users, self.clock)(name, actor=LOCAL)


@pytest.fixture
def house(tmp_path):
    with closing(open_catalog(tmp_path)) as database:
        yield House(database)


def test_without_credentials_everybody_is_local_until_there_was_a_token_or_a_user(house):
    checker = house.authenticator(users=(), tokens=False)
    assert checker.anonymous == LOCAL
    house.add()
    house.remove()
    assert checker.anonymous is None
    assert house.authenticator(users=(), tokens=False).anonymous is None


def test_with_credentials_in_the_settings_nobody_is_anonymous(house):
    assert house.authenticator().anonymous is None


def test_a_token_of_the_settings_proves_its_holder(house):
    assert house.authenticator().authenticate_token("t0ken") == Actor("loader", ALL_SCOPES)
    assert house.authenticator().authenticate_token("skein_mine").name == "mine"
    with pytest.raises(Unauthenticated):
        house.authenticator().authenticate_token("skein_other")


def test_a_token_is_good_until_the_moment_it_expires(house):
    create = CreateToken(house.tokens, house.clock, lambda: "1")
    _, secret = create("ann", actor=LOCAL, scopes=READER, expires_at=NOON + timedelta(hours=1))
    authenticator = house.authenticator()
    house.now = NOON + timedelta(minutes=59)
    assert authenticator.authenticate_token(secret) == Actor("ann", READER)
    house.now = NOON + timedelta(hours=1)
    with pytest.raises(Unauthenticated, match="expired"):
        authenticator.authenticate_token(secret)


def test_the_last_use_is_noted_once_a_minute(house):
    _, secret = CreateToken(house.tokens, house.clock, lambda: "1")("ann", actor=LOCAL)
    authenticator = house.authenticator()
    for second, noted in ((0, 0), (59, 0), (61, 61)):
        house.now = NOON + timedelta(seconds=second)
        authenticator.authenticate_token(secret)
        assert house.tokens.list()[0].last_used_at == NOON + timedelta(seconds=noted)


def test_a_password_proves_a_user_of_the_settings_and_one_of_the_catalog(house):
    house.add(datasets=("sales_*",))
    checker = house.authenticator()
    assert checker.authenticate_password("ada", PASSWORD) == Actor("ada", READER)
    assert checker.authenticate_password("ann", "correct horse") == Actor("ann", READER, ("sales_*",))


@pytest.mark.parametrize(
    ("user", "password"),
    [("ada", "wrong"), ("eve", PASSWORD), ("", ""), ("ada", ""), ("ann", "wrong"), ("ann", "")],
)
def test_wrong_users_and_wrong_passwords_look_the_same_and_cost_the_same(house, user, password):
    house.add()
    checker = house.authenticator()
    with pytest.raises(Unauthenticated, match=r"^\[unauthenticated\] the user or the password is wrong$"):
        checker.authenticate_password(user, password)
    assert house.hasher.verified == 1


def test_a_right_password_is_hashed_once_a_minute_and_again_once_it_was_changed(house):
    house.add()
    checker = house.authenticator()
    for second, hashed in ((0, 1), (59, 1), (61, 2), (62, 2)):
        house.now = NOON + timedelta(seconds=second)
        checker.authenticate_password("ann", "correct horse")
        assert house.hasher.verified == hashed
    house.change()
    with pytest.raises(Unauthenticated):
        checker.authenticate_password("ann", "correct horse")
    assert checker.authenticate_password("ann", "battery staple").name == "ann"


def test_who_guesses_waits_longer_and_longer_and_nobody_else_does(house):
    house.add()
    checker = house.authenticator()

    def attempt(password="guess", user="ann", address="10.0.0.1"):
        try:
            return checker.authenticate_password(user, password, address=address).name
        except TooManyRequests as refusal:
            return refusal.details["retry_after_s"]
        except Unauthenticated:
            return "wrong"

    assert [attempt() for _ in range(6)] == ["wrong"] * 5 + [1.0]
    assert attempt("correct horse") == 1.0  # a right guess tells nothing
    assert attempt("correct horse", address="10.0.0.2") == "ann"
    assert attempt(user="bob") == "wrong"
    waits = []
    for _ in range(7):
        house.now += timedelta(seconds=attempt())
        assert attempt() == "wrong"
        waits.append(attempt())
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    house.now += timedelta(seconds=60)
    assert attempt("correct horse") == "ann"
    assert attempt() == "wrong"  # forgiven


def test_an_address_that_guesses_at_many_names_waits_too(house):
    house.add()
    checker = house.authenticator()
    for number in range(50):
        with pytest.raises(Unauthenticated):
            checker.authenticate_password(f"name{number}", "guess", address="10.0.0.1")
    with pytest.raises(TooManyRequests):
        checker.authenticate_password("ann", "correct horse", address="10.0.0.1")
    assert checker.authenticate_password("ann", "correct horse", address="10.0.0.2").name == "ann"


def test_the_memory_of_wrong_passwords_is_bounded():
    throttle = LoginThrottle(lambda: 0.0)
    for number in range(30_000):
        throttle.failed(f"name{number}", "10.0.0.1")
    assert len(throttle._failures) <= 10_000
    with pytest.raises(TooManyRequests):
        throttle.check("anybody", "10.0.0.1")


def test_a_session_token_stands_for_its_user_until_it_expires(house):
    checker = house.authenticator()
    token = checker.issue_token(Actor("ada", READER))
    assert token != checker.issue_token(Actor("ada", READER))
    assert checker.authenticate_token(token) == Actor("ada", READER)
    house.now += timedelta(seconds=3601)
    with pytest.raises(Unauthenticated, match="expired"):
        checker.authenticate_token(token)


def test_a_session_token_is_good_wherever_the_key_is_shared(house):
    token = house.authenticator().issue_token(Actor("ada"))
    assert house.authenticator().authenticate_token(token).name == "ada"
    with pytest.raises(Unauthenticated, match="another server"):
        house.authenticator(key=b"other").authenticate_token(token)


def test_a_session_ends_with_its_user_and_with_the_password(house):
    token = house.authenticator().issue_token(Actor("ada"))
    with pytest.raises(Unauthenticated, match="log in again"):
        house.authenticator(users=("bob",)).authenticate_token(token)
    for ending in (house.change, house.remove):
        house.add() if "ann" not in house.users.by_name() else None
        checker = house.authenticator()
        token = checker.issue_token(Actor("ann"))
        assert checker.authenticate_token(token) == Actor("ann", READER)
        ending()
        with pytest.raises(Unauthenticated, match="log in again"):
            checker.authenticate_token(token)


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
def test_forged_tokens_are_refused(house, forge):
    checker = house.authenticator()
    with pytest.raises(Unauthenticated):
        checker.authenticate_token(forge(checker.issue_token(Actor("ada"))))


def test_users_are_added_listed_and_removed_by_administrators_of_everything(house):
    house.add("bob")
    house.add("ann", datasets=("sales_*",))
    users = ListUsers(house.users)
    assert [user.name for user in users(actor=LOCAL)] == ["ann", "bob"]
    with pytest.raises(UserExists):
        house.add("ann")
    house.remove("ann")
    house.add("ann", "another one")
    with pytest.raises(UserNotFound):
        house.remove("eve")
    for actor in (Actor("bob", READER), Actor("bob", ALL_SCOPES, ("sales_*",))):
        with pytest.raises(PermissionDenied):
            users(actor=actor)
        with pytest.raises(PermissionDenied):
            house.add("eve", actor=actor)
    with pytest.raises(PermissionDenied, match="may not write"):
        house.add("eve", actor=Actor("root", READER | {Scope.ADMIN}), scopes=frozenset({Scope.WRITE}))


def test_people_change_their_own_password_if_they_know_it_and_administrators_any(house):
    house.add()
    ann = Actor("ann", READER)
    with pytest.raises(PermissionDenied, match="not the current"):
        house.change(actor=ann, current="guess")
    with pytest.raises(PermissionDenied):
        house.change(actor=ann)
    with pytest.raises(PermissionDenied):
        house.change(actor=Actor("bob", READER), current="correct horse")
    house.change(actor=ann, current="correct horse")
    house.change(actor=LOCAL, password="third one")
    assert house.authenticator().authenticate_password("ann", "third one") == ann


def test_nobody_takes_over_a_user_who_may_do_more(house):
    house.add(scopes=frozenset({Scope.READ, Scope.WRITE}))
    chief = Actor("chief", frozenset({Scope.READ, Scope.ADMIN}))
    with pytest.raises(PermissionDenied, match="'write'"):
        house.change(actor=chief, password="third one")
    with pytest.raises(UserNotFound):
        house.change("nobody", actor=chief, password="third one")
    assert house.authenticator().authenticate_password("ann", "correct horse").may(Scope.WRITE)


@pytest.mark.parametrize("password", ["short", "x" * 1025])
def test_passwords_are_neither_short_nor_endless(house, password):
    with pytest.raises(InvalidOption, match="characters"):
        house.add(password=password)


def test_argon2_proves_a_password_and_keeps_none():
    hasher = Argon2Hasher()
    hash = hasher.hash(PASSWORD)
    assert hash.startswith("$argon2id$")
    assert PASSWORD not in hash
    assert hasher.verify(hash, PASSWORD)
    assert not hasher.verify(hash, PASSWORD + "!")
    assert not hasher.verify("", PASSWORD)


def test_no_secret_shows_in_a_repr(house):
    user = house.add()
    assert "correct horse" not in repr(user)
    assert "pässword" not in repr(Credential("ada", PASSWORD))
