"""Transactions: isolation, both endings, and what is left of them."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from flight_core.domain.dataset import WriteMode
from schemas.flight_sql.sql_pb2 import ActionBeginSavepointRequest, ActionEndSavepointRequest
from tests.stack import Stack, skein_stack, until


@pytest.fixture
def client(stack: Stack):
    with stack.raw() as made:
        made.execute("CREATE OR REPLACE TABLE accounts (name VARCHAR PRIMARY KEY, amount INTEGER)")
        made.execute("INSERT INTO accounts VALUES ('a', 10), ('b', 20)")
        yield made


@pytest.fixture
def other(stack: Stack):
    with stack.raw() as made:
        yield made


TOTAL = "SELECT sum(amount)::INTEGER FROM accounts"


def test_others_see_a_transaction_when_it_is_committed(client, other):
    transaction = client.begin()
    assert client.update("UPDATE accounts SET amount = amount + 1", transaction) == 2
    assert client.rows(TOTAL, transaction) == [(32,)]
    assert other.rows(TOTAL) == [(30,)]
    client.commit(transaction)
    assert other.rows(TOTAL) == [(32,)]


def test_a_rolled_back_transaction_leaves_nothing(client, other):
    transaction = client.begin()
    client.update("DELETE FROM accounts", transaction)
    client.execute("CREATE TABLE in_vain (i INTEGER)", transaction)
    client.rollback(transaction)
    assert other.rows(TOTAL) == [(30,)]
    with pytest.raises(KeyError):
        client.rows("SELECT * FROM in_vain")


def test_statements_without_the_transaction_run_outside_of_it(client):
    transaction = client.begin()
    client.update("UPDATE accounts SET amount = 0", transaction)
    assert client.rows(TOTAL) == [(30,)]
    client.update("CREATE OR REPLACE TABLE beside AS SELECT 1 AS i")
    client.rollback(transaction)
    assert client.rows("SELECT * FROM beside") == [(1,)]


def test_two_transactions_of_one_client_do_not_see_each_other(client):
    first, second = client.begin(), client.begin()
    client.update("UPDATE accounts SET amount = 11 WHERE name = 'a'", first)
    client.update("UPDATE accounts SET amount = 22 WHERE name = 'b'", second)
    assert client.rows(TOTAL, first) == [(31,)]
    assert client.rows(TOTAL, second) == [(32,)]
    client.commit(second)
    assert client.rows(TOTAL, first) == [(31,)]
    client.commit(first)
    assert client.rows(TOTAL) == [(33,)]


def test_reads_of_a_transaction_are_repeatable(client, other):
    transaction = client.begin()
    assert client.rows(TOTAL, transaction) == [(30,)]
    other.update("UPDATE accounts SET amount = 99")
    assert client.rows(TOTAL, transaction) == [(30,)]
    client.rollback(transaction)
    assert client.rows(TOTAL) == [(198,)]


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_the_handle_is_dead_after_the_end(client, ending):
    transaction = client.begin()
    getattr(client, ending)(transaction)
    for use in (client.commit, client.rollback, lambda handle: client.rows("SELECT 1", handle)):
        with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
            use(transaction)


def test_a_transaction_must_end_one_way_or_the_other(client):
    transaction = client.begin()
    with pytest.raises(pa.ArrowInvalid, match="committed"):
        client.end(transaction, 0)
    client.rollback(transaction)


def test_an_unknown_transaction_is_not_found(client):
    for handle in (b"nonsense", b"\xff\xfe", client.begin()[:-1]):
        with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
            client.execute("SELECT 1", handle)


def test_a_transaction_that_failed_cannot_be_committed(client, other):
    transaction = client.begin()
    client.update("UPDATE accounts SET amount = 0", transaction)
    with pytest.raises(pa.ArrowInvalid):
        client.update("INSERT INTO accounts VALUES ('a', 1)", transaction)
    with pytest.raises(pa.ArrowInvalid, match=r"\[transaction_failed\]"):
        client.commit(transaction)
    assert other.rows(TOTAL) == [(30,)]


def test_of_two_writers_of_one_row_the_second_is_told(client, other):
    first, second = client.begin(), other.begin()
    client.update("UPDATE accounts SET amount = 1", first)
    with pytest.raises(pa.ArrowInvalid, match=r"\[transaction_failed\]"):
        other.update("UPDATE accounts SET amount = 2", second)
    client.commit(first)
    other.rollback(second)
    assert client.rows("SELECT DISTINCT amount FROM accounts") == [(1,)]


def test_a_conflict_that_shows_at_the_end_is_reported_at_the_end(client, other):
    first, second = client.begin(), other.begin()
    client.update("INSERT INTO accounts VALUES ('c', 1)", first)
    other.update("INSERT INTO accounts VALUES ('c', 2)", second)
    client.commit(first)
    with pytest.raises(pa.ArrowInvalid, match=r"\[transaction_failed\]"):
        other.commit(second)
    assert client.rows("SELECT amount FROM accounts WHERE name = 'c'") == [(1,)]


def test_temporary_tables_outlive_the_transaction_that_made_them(client):
    first = client.begin()
    client.execute("CREATE TEMP TABLE kept AS SELECT 1 AS i", first)
    client.commit(first)
    assert client.rows("SELECT * FROM kept") == [(1,)]
    second = client.begin()
    assert client.rows("SELECT * FROM kept", second) == [(1,)]
    client.rollback(second)


def test_a_prepared_statement_belongs_to_its_transaction(client, other):
    transaction = client.begin()
    handle = client.prepare("UPDATE accounts SET amount = ?", transaction).prepared_statement_handle
    client.update_prepared(handle, pa.table({"0": [7]}))
    assert other.rows(TOTAL) == [(30,)]
    client.rollback(transaction)
    assert other.rows(TOTAL) == [(30,)]


def test_a_prepared_statement_goes_on_in_the_next_transaction(client, other):
    """As clients use it that leave autocommit off."""
    first = client.begin()
    handle = client.prepare("UPDATE accounts SET amount = ?", first).prepared_statement_handle
    client.commit(first)
    second = client.begin()
    client.update_prepared(handle, pa.table({"0": [7]}))
    assert other.rows(TOTAL) == [(30,)]
    client.commit(second)
    assert other.rows(TOTAL) == [(14,)]


def test_transactions_can_be_written_as_sql_too(client, other):
    client.execute("BEGIN TRANSACTION")
    client.update("UPDATE accounts SET amount = 0")
    assert client.rows(TOTAL) == [(0,)]
    assert other.rows(TOTAL) == [(30,)]
    client.execute("ROLLBACK")
    assert client.rows(TOTAL) == [(30,)]
    client.execute("BEGIN; UPDATE accounts SET amount = 1; COMMIT")
    assert other.rows(TOTAL) == [(2,)]


def test_sql_may_begin_what_was_begun_already_and_end_it(client, other):
    """Scripts with BEGIN and COMMIT run through clients that leave autocommit off."""
    transaction = client.begin()
    client.execute("BEGIN", transaction)
    client.update("UPDATE accounts SET amount = 5", transaction)
    with pytest.raises(pa.ArrowInvalid):
        client.execute("BEGIN", transaction)
    client.execute("ROLLBACK", transaction)
    client.update("UPDATE accounts SET amount = 6", transaction)
    client.execute("COMMIT", transaction)
    assert other.rows(TOTAL) == [(12,)]
    client.commit(transaction)


def test_a_stream_that_is_being_read_survives_the_next_statement(client):
    transaction = client.begin()
    client.execute("CREATE TEMP TABLE numbers AS SELECT i FROM range(500000) t(i)", transaction)
    info = client.execute("SELECT i FROM numbers ORDER BY i", transaction)
    reader = client.client.do_get(info.endpoints[0].ticket)
    first = reader.read_chunk().data
    client.update("DELETE FROM numbers", transaction)
    rest = reader.read_all()
    client.rollback(transaction)
    assert first.num_rows + rest.num_rows == 500_000


def test_savepoints_are_refused_in_clear_words(client):
    transaction = client.begin()
    for name, request in (
        ("BeginSavepoint", ActionBeginSavepointRequest(transaction_id=transaction, name="s")),
        ("EndSavepoint", ActionEndSavepointRequest(savepoint_id=b"s")),
    ):
        with pytest.raises(NotImplementedError, match="savepoints"):
            list(client.action(name, request))
    client.rollback(transaction)


def test_too_many_transactions_of_one_session_are_refused(client):
    transactions = [client.begin() for _ in range(16)]
    with pytest.raises(pa.ArrowException, match=r"\[limit_exceeded\]"):
        client.begin()
    for transaction in transactions:
        client.rollback(transaction)


def test_an_idle_transaction_is_rolled_back(tmp_path):
    with skein_stack(tmp_path, transaction_idle_s=0.2) as stack, stack.raw() as client, stack.raw() as other:
        client.execute("CREATE TABLE locked AS SELECT 1 AS i")
        transaction = client.begin()
        client.update("UPDATE locked SET i = 2", transaction)

        def free() -> bool:
            try:
                return other.update("UPDATE locked SET i = i + 10") == 1
            except pa.ArrowInvalid:
                return False

        until(free)
        assert other.rows("SELECT * FROM locked") == [(11,)]
        with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
            client.commit(transaction)


# --- datasets ---


def test_a_dataset_that_the_transaction_makes_is_told_from_one_that_is_missing(client, stack):
    for sql in ("FROM unborn", 'SELECT * FROM datasets."unborn"'):
        transaction = client.begin()
        client.update("CREATE TABLE datasets.unborn AS SELECT 1 AS i", transaction)
        with pytest.raises(KeyError, match=r"unborn' is written by this transaction, .* commit first"):
            client.query(sql, transaction)
        client.rollback(transaction)
    with stack.adbc(autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE datasets.unborn AS SELECT 1 AS i")
        with pytest.raises(Exception, match="is written by this transaction"):
            cursor.execute("FROM unborn")
        connection.rollback()
        with pytest.raises(Exception, match="does not exist"):
            cursor.execute("FROM unborn")


def test_a_dataset_is_published_when_the_transaction_is_committed(client, other, stack):
    stack.write("ledger", pa.table({"i": [1]}))
    transaction = client.begin()
    assert client.update("INSERT INTO ledger VALUES (2), (3)", transaction) == 2
    client.execute("CREATE TABLE datasets.fresh AS SELECT 7 AS x", transaction)
    assert other.rows("SELECT * FROM ledger") == [(1,)]
    client.commit(transaction)
    assert sorted(other.rows("SELECT * FROM ledger")) == [(1,), (2,), (3,)]
    assert other.rows("SELECT * FROM fresh") == [(7,)]
    client.execute("DROP TABLE fresh")


def test_a_dataset_is_as_it_was_after_a_rollback(client, stack):
    stack.write("safe", pa.table({"i": [1]}), WriteMode.REPLACE)
    transaction = client.begin()
    client.update("INSERT INTO safe VALUES (2)", transaction)
    client.execute("DROP TABLE datasets.safe", transaction)
    client.rollback(transaction)
    assert client.rows("SELECT * FROM safe") == [(1,)]


def test_dropping_and_creating_in_one_transaction_replaces(client, stack):
    stack.write("again", pa.table({"i": [1]}), WriteMode.REPLACE)
    transaction = client.begin()
    client.execute("DROP TABLE datasets.again", transaction)
    client.execute("CREATE TABLE datasets.again AS SELECT 'x' AS s", transaction)
    client.commit(transaction)
    assert client.rows("SELECT * FROM again") == [("x",)]


CHANGES = [
    "INSERT INTO kept VALUES (2)",
    "UPDATE kept SET i = 2",
    "DELETE FROM kept",
    "DROP TABLE datasets.kept",
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("begun", ["in SQL", "by a call"])
def test_what_sql_rolls_back_leaves_datasets_as_they_were(client, other, stack, begun, change):
    stack.write("kept", pa.table({"i": [1]}), WriteMode.REPLACE)
    transaction = client.begin() if begun == "by a call" else None
    client.execute("BEGIN", transaction)
    client.update(change, transaction)
    assert other.rows("FROM kept") == [(1,)]
    client.execute("ROLLBACK", transaction)
    if transaction:
        client.commit(transaction)
    assert other.rows("FROM kept") == [(1,)]


def test_what_sql_commits_is_published_then(client, other, stack):
    stack.write("kept", pa.table({"i": [1]}), WriteMode.REPLACE)
    client.execute("START TRANSACTION")
    client.update("DELETE FROM kept WHERE i = 1")
    client.update("INSERT INTO kept VALUES (2)")
    client.execute("CREATE TABLE datasets.made AS SELECT 3 AS i")
    assert other.rows("FROM kept") == [(1,)]
    client.execute("/* now */ COMMIT")
    assert other.rows("FROM kept") == [(2,)]
    assert other.rows("FROM made") == [(3,)]
    client.execute("DROP TABLE made")


def test_sql_cannot_commit_a_transaction_in_which_a_statement_failed(client, other, stack):
    stack.write("kept", pa.table({"i": [1]}), WriteMode.REPLACE)
    client.execute("BEGIN")
    client.update("INSERT INTO kept VALUES (2)")
    with pytest.raises(pa.ArrowInvalid, match="no number"):
        client.update("INSERT INTO accounts VALUES ('c', 'no number')")
    with pytest.raises(pa.ArrowInvalid, match=r"\[transaction_failed\]"):
        client.execute("COMMIT")
    assert other.rows("FROM kept") == [(1,)]
    client.update("INSERT INTO kept VALUES (3)")
    assert other.rows("FROM kept ORDER BY i") == [(1,), (3,)]


def test_a_delete_finds_the_rows_again_when_others_have_rewritten_them(other, stack):
    """Of a statement that belongs to no transaction nobody has to know that others were faster."""
    stack.write("kept", pa.table({"i": range(40)}), WriteMode.REPLACE)

    def delete(i: int) -> int:
        with stack.raw() as one:
            return one.update(f"DELETE FROM kept WHERE i = {i}")

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(delete, range(3))) == [1] * 3
    assert other.rows("SELECT min(i), count(*) FROM kept") == [(3, 37)]
