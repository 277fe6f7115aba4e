"""Credentials and TLS through the ADBC driver, each given the way its users give them."""

import adbc_driver_flightsql.dbapi as dbapi
import pytest

from tests.protocol import certificates
from tests.stack import Stack, skein_stack

AUTHORIZATION = "adbc.flight.sql.authorization_header"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    users = "alice=wonderland,bob/read=builder,zoë=päßword"
    with skein_stack(tmp_path_factory.mktemp("skein"), users=users, tokens="robot=beep") as made:
        yield made


def answer(stack: Stack, sql: str = "SELECT 42", **options: str) -> list[tuple]:
    with stack.adbc(**options) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


@pytest.mark.parametrize(("user", "password"), [("alice", "wonderland"), ("zoë", "päßword")])
def test_a_login(stack, user, password):
    assert answer(stack, username=user, password=password) == [(42,)]


def test_a_token(stack):
    assert answer(stack, **{AUTHORIZATION: "Bearer beep"}) == [(42,)]


@pytest.mark.parametrize(
    "options",
    [{}, {"username": "alice", "password": "looking-glass"}, {AUTHORIZATION: "Bearer boop"}],
    ids=["nothing", "wrong password", "wrong token"],
)
def test_without_valid_credentials_nothing_is_answered(stack, options):
    with pytest.raises(dbapi.Error, match=r"\[unauthenticated\]"):
        answer(stack, **options)


def test_two_logins_of_one_user_are_two_sessions(stack):
    login = {"username": "alice", "password": "wonderland"}
    with stack.adbc(**login) as first, stack.adbc(**login) as second:
        with first.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE mine AS SELECT 1 AS i")
            cursor.execute("FROM mine")
            assert cursor.fetchall() == [(1,)]
        with second.cursor() as cursor, pytest.raises(dbapi.ProgrammingError, match="mine"):
            cursor.execute("FROM mine")


def test_who_may_only_read_reads_in_transactions_and_changes_nothing(stack):
    with (
        stack.adbc(username="bob", password="builder", autocommit=False) as reader,
        reader.cursor() as cursor,
    ):
        cursor.execute("SELECT sum(i) FROM range(5) t(i) WHERE i < ?", (4,))
        assert cursor.fetchall() == [(6,)]
        reader.commit()
        for sql in (
            "CREATE TABLE bobs (i INTEGER)",
            "CREATE TABLE datasets.bobs AS SELECT 1 AS i",
            "UPDATE bobs SET i = 2",
            "MERGE INTO bobs USING range(2) r(i) USING (i) WHEN MATCHED THEN DELETE",
            "SET TimeZone = 'Asia/Tokyo'",
        ):
            with pytest.raises(dbapi.ProgrammingError, match=r"\[permission_denied\]"):
                cursor.execute(sql)
        reader.rollback()


def test_tls(tmp_path):
    for name, content in {"cert": certificates.SERVER, "key": certificates.SERVER_KEY}.items():
        (tmp_path / name).write_bytes(content)
    roots = {"adbc.flight.sql.client_option.tls_root_certs": certificates.CA.decode()}
    data = tmp_path / "data"
    with skein_stack(data, tls_cert=tmp_path / "cert", tls_key=tmp_path / "key") as stack:
        assert stack.flight_uri.startswith("grpc+tls://")
        assert answer(stack, **roots) == [(42,)]
        with pytest.raises(dbapi.Error, match="certificate"):
            answer(stack)
