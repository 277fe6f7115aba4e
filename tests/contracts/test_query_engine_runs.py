"""What every query engine promises of queries that run: failures, cancelling, the end."""

import threading

import pyarrow as pa
import pytest

from flight_core.domain.errors import Cancelled, EngineUnavailable, QueryFailed
from flight_core.domain.query import Statement
from tests.contracts.query_engines import NUMBERS, read, rows


@pytest.fixture
def endless(lake):
    """What no engine comes to the end of, or gives a row of before."""
    lake.commit("numbers", NUMBERS)
    return "SELECT count(*) AS n FROM numbers a, numbers b, numbers c WHERE (a.n * b.n + c.n) % 7 = 3"


def test_a_failure_after_the_first_batch_is_still_ours(engine, lake):
    lake.commit("codes", pa.table({"code": [*map(str, range(900_000)), "x"]}))
    query = engine.plan(Statement("SELECT CAST(code AS INTEGER) AS i FROM codes"), lake.state)
    with pytest.raises(QueryFailed):
        read(query)


def test_a_query_blocked_before_its_first_batch_can_be_cancelled(engine, lake, endless):
    query = engine.plan(Statement(endless), lake.state)
    failures: list[BaseException] = []
    started = threading.Event()

    def run() -> None:
        started.set()
        try:
            list(query)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    query.cancel()
    thread.join(timeout=30)
    query.close()
    assert [type(error) for error in failures] == [Cancelled]


def test_a_query_cancelled_before_it_runs_never_runs(engine, lake, endless):
    query = engine.plan(Statement(endless), lake.state)
    query.cancel()
    with pytest.raises(Cancelled):
        list(query)
    query.close()


def test_closing_from_another_thread_stops_a_blocked_query(engine, lake, endless):
    query = engine.plan(Statement(endless), lake.state)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            list(query)
        except Cancelled as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    query.close()
    thread.join(timeout=30)
    assert len(failures) == 1


def test_cancel_and_close_are_harmless_in_any_order(engine, lake):
    query = engine.plan(Statement("SELECT * FROM birds"), lake.state)
    assert len(list(query)) == 1
    query.close()
    query.cancel()
    query.close()
    assert rows(engine, lake, "SELECT 1 AS x") == [{"x": 1}]


def test_a_cancelled_query_does_not_disturb_the_next(engine, lake):
    lake.commit("numbers", NUMBERS)
    for _ in range(30):
        query = engine.plan(Statement("SELECT n FROM numbers"), lake.state)
        next(iter(query))
        query.cancel()
        query.close()
        assert rows(engine, lake, "SELECT 1 AS x") == [{"x": 1}]


def test_the_engine_tells_what_it_uses_of_what_it_may(engine, lake):
    usage = engine.usage()
    assert 0 <= usage.memory_bytes <= usage.memory_limit_bytes
    assert usage.spilled_bytes == 0


def test_fifty_rounds_leave_no_threads(engine, lake):
    before = threading.active_count()
    for _ in range(50):
        rows(engine, lake, "SELECT * FROM birds")
    assert threading.active_count() == before


def test_a_closed_engine_says_so(engine, lake):
    engine.close()
    with pytest.raises(EngineUnavailable):
        engine.plan(Statement("SELECT 1"), lake.state)
