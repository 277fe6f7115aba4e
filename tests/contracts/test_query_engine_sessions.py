"""What every query engine promises of sessions: tables of their own, transactions, options."""

import threading
from contextlib import closing

import pyarrow as pa
import pytest

from flight_core.domain.errors import (
    DatasetExists,
    DatasetNotFound,
    InvalidOption,
    InvalidSql,
    QueryFailed,
    StatementNotAllowed,
    TransactionFailed,
)
from flight_core.domain.query import Statement, StatementKind
from tests.contracts.query_engines import BIRDS, NUMBERS, read, require_conflict, rows


def test_sessions_share_tables_and_keep_temporary_ones_to_themselves(engine, lake):
    one, other = engine.open_session(), engine.open_session()
    one.execute(Statement("CREATE TABLE nests AS SELECT name, 1 AS eggs FROM birds"), lake.state)
    one.execute(Statement("CREATE TEMP TABLE mine AS SELECT 1 AS x"), lake.state)
    outcome = other.execute(Statement("SELECT count(*) AS n FROM nests JOIN birds USING (name)"), lake.state)
    assert outcome.table.to_pylist() == [{"n": 3}]
    with pytest.raises(DatasetNotFound):
        other.execute(Statement("SELECT * FROM mine"), lake.state)
    one.close()
    other.close()


def test_the_names_of_the_users_tables_are_told_from_their_commit_to_their_end(engine, lake):
    """Of those that everybody finds who names no schema."""
    session = engine.open_session()
    session.begin()
    session.execute(Statement("CREATE TABLE Nests (eggs INTEGER)"), lake.state)
    assert engine.own_tables() == frozenset()
    session.commit()
    assert engine.own_tables() == {"nests"}
    for sql in (
        "CREATE VIEW seen AS SELECT * FROM nests",
        "CREATE TEMP TABLE mine (x INTEGER)",
        "CREATE SCHEMA far",
    ):
        session.execute(Statement(sql), lake.state)
    session.execute(Statement("CREATE TABLE far.away (x INTEGER)"), lake.state)
    assert engine.own_tables() == {"nests", "seen"}
    session.execute(Statement("DROP VIEW seen"), lake.state)
    assert engine.own_tables() == {"nests"}
    session.close()


def test_an_at_sign_in_a_text_or_a_comment_names_no_version(engine, lake):
    session = engine.open_session()
    session.execute(Statement("CREATE TABLE people (mail VARCHAR) /* ask ann@example.org */"), lake.state)
    for sql in (
        "INSERT INTO people VALUES ('ann@example.org') -- not bob@example.org",
        "UPDATE people SET mail = 'bob@example.org' WHERE mail = $$ann@example.org$$",
        "DELETE FROM people WHERE mail = 'bob@example.org'",
    ):
        assert session.execute(Statement(sql), lake.state).affected_rows == 1
    session.close()


def test_a_transaction_is_seen_by_others_after_its_commit_only(engine, lake):
    one, other = engine.open_session(), engine.open_session()
    one.execute(Statement("CREATE TABLE t (i INTEGER)"), lake.state)
    one.begin()
    assert one.in_transaction
    assert one.execute(Statement("INSERT INTO t VALUES (1), (2)"), lake.state).affected_rows == 2
    assert other.execute(Statement("SELECT count(*) AS n FROM t"), lake.state).table.to_pylist() == [{"n": 0}]
    one.commit()
    assert other.execute(Statement("SELECT count(*) AS n FROM t"), lake.state).table.to_pylist() == [{"n": 2}]
    one.begin()
    one.execute(Statement("DELETE FROM t"), lake.state)
    one.rollback()
    assert not one.in_transaction
    assert other.execute(Statement("SELECT count(*) AS n FROM t"), lake.state).table.to_pylist() == [{"n": 2}]
    one.close()
    other.close()


def test_a_transaction_that_has_begun_to_read_finds_older_versions_too(engine, lake):
    lake.commit("birds", BIRDS.slice(0, 1))
    session = engine.open_session()
    for end in (session.commit, session.rollback):
        session.begin()
        assert session.execute(
            Statement("SELECT count(*) AS n FROM birds"), lake.state
        ).table.to_pylist() == [{"n": 1}]
        first = lake.state.datasets["birds"].ref.version - 1
        sql = f'SELECT count(*) AS n FROM "birds@v{first}"'
        assert session.execute(Statement(sql), lake.state).table.to_pylist() == [{"n": 3}]
        end()
    session.close()


def test_a_transaction_in_which_a_query_failed_can_be_rolled_back_whatever_its_parameters(engine, lake):
    session = engine.open_session()
    session.begin()
    sql = "SELECT CAST('x' || i AS INTEGER) FROM range(3) r(i) WHERE ? IS NOT NULL"
    moment = pa.scalar(0, pa.timestamp("us", "UTC"))
    with pytest.raises(QueryFailed), closing(session.plan(Statement(sql, (moment,)), lake.state)) as query:
        list(query)
    session.rollback()
    assert session.execute(Statement("SELECT count(*) AS n FROM birds"), lake.state).table.num_rows == 1
    session.close()


def test_a_transaction_keeps_the_datasets_it_began_with(engine, lake):
    session = engine.open_session()
    session.begin()
    session.execute(Statement("SELECT count(*) FROM birds"), lake.state)
    lake.commit("birds", BIRDS.slice(0, 1))
    lake.commit("owls", BIRDS)
    assert session.execute(Statement("SELECT count(*) AS n FROM birds"), lake.state).table.to_pylist() == [
        {"n": 3}
    ]
    with pytest.raises(DatasetNotFound, match="after this transaction began"):
        session.execute(Statement("SELECT * FROM owls"), lake.state)
    session.rollback()
    assert session.execute(Statement("SELECT count(*) AS n FROM owls"), lake.state).table.to_pylist() == [
        {"n": 3}
    ]
    session.close()


def test_inspecting_tells_what_changes_something(engine, lake):
    session = engine.open_session()
    session.execute(Statement("CREATE TABLE t (i INTEGER)"), lake.state)
    session.close()
    assert engine.inspect(Statement("INSERT INTO t VALUES (1)"), lake.state).kind is StatementKind.WRITE
    assert engine.inspect(Statement("CREATE TABLE u (i INTEGER)"), lake.state).kind is StatementKind.COMMAND
    assert rows(engine, lake, "SELECT count(*) AS n FROM t") == [{"n": 0}]


def test_fifty_sessions_leave_no_threads(engine, lake):
    before = threading.active_count()
    for _ in range(50):
        session = engine.open_session()
        session.execute(Statement("SELECT 1 AS x"), lake.state)
        session.close()
    assert threading.active_count() == before


def test_ending_a_transaction_that_was_not_begun_is_a_clear_failure(engine):
    session = engine.open_session()
    with pytest.raises(TransactionFailed):
        session.commit()
    session.close()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("UPDATE shared SET i = 2", "UPDATE shared SET i = 3"),
        ("DELETE FROM shared", "DELETE FROM shared"),
        ("DROP TABLE shared", "INSERT INTO shared VALUES (4)"),
    ],
)
def test_of_two_transactions_that_change_the_same_one_is_told_to_start_again(engine, lake, first, second):
    require_conflict(engine, lake, first, second)


def test_a_result_half_read_survives_the_next_statement_of_its_session(engine, lake):
    lake.commit("numbers", NUMBERS)
    session = engine.open_session()
    query = session.plan(Statement("SELECT n FROM numbers"), lake.state)
    batches = iter(query)
    count = next(batches).num_rows
    assert session.execute(Statement("SELECT 42 AS x"), lake.state).table.to_pylist() == [{"x": 42}]
    assert count + sum(batch.num_rows for batch in batches) == NUMBERS.num_rows
    query.close()
    session.close()


def test_session_options_are_read_set_and_refused(engine, lake):
    session, other = engine.open_session(), engine.open_session()
    session.set_option("TimeZone", "Asia/Tokyo")
    assert session.options()["TimeZone"] == "Asia/Tokyo"
    assert other.options()["TimeZone"] != "Asia/Tokyo"
    with pytest.raises(InvalidOption) as unknown:
        session.set_option("colour", "red")
    assert unknown.value.details["reason"] == "name"
    with pytest.raises(InvalidOption) as wrong:
        session.set_option("TimeZone", "Nowhere/Land")
    assert wrong.value.details["reason"] == "value"
    session.close()
    other.close()


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW birds",
        "CREATE TABLE datasets.owls AS SELECT 1 AS x",
        "CREATE OR REPLACE VIEW datasets.birds AS SELECT 1 AS x",
        "DROP SCHEMA datasets CASCADE",
        "ALTER VIEW birds RENAME TO owls",
        "DELETE FROM birds",
    ],
)
def test_sql_cannot_change_datasets_behind_our_back(engine, lake, sql):
    session = engine.open_session()
    with pytest.raises((StatementNotAllowed, InvalidSql)):
        session.execute(Statement(sql), lake.state)
    session.close()
    assert rows(engine, lake, "SELECT count(*) AS n FROM birds") == [{"n": 3}]


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE birds (i INTEGER)", "CREATE OR REPLACE VIEW BIRDS AS SELECT 1 AS x"]
)
def test_no_table_can_hide_a_dataset(engine, lake, sql):
    session = engine.open_session()
    session.execute(Statement("CREATE TEMP TABLE birds (i INTEGER)"), lake.state)
    with pytest.raises(DatasetExists, match="choose another name"):
        session.execute(Statement(sql), lake.state)
    session.close()
    assert rows(engine, lake, "SELECT count(*) AS n FROM birds") == [{"n": 3}]


def test_a_session_follows_a_tag_and_its_transaction_does_not(lake, engine):
    lake.commit("birds", BIRDS.slice(0, 1))
    lake.tag("birds", "golden", 0)
    session = engine.open_session()
    statement = Statement('SELECT count(*) AS n FROM "birds@golden"')
    assert read(session.plan(statement, lake.state))["n"].to_pylist() == [3]
    session.begin()
    assert session.in_transaction_since is not None
    assert read(session.plan(statement, lake.state))["n"].to_pylist() == [3]
    lake.tag("birds", "golden", 1)
    assert read(session.plan(statement, lake.state))["n"].to_pylist() == [3]
    session.commit()
    assert session.in_transaction_since is None
    assert read(session.plan(statement, lake.state))["n"].to_pylist() == [1]
    session.close()
