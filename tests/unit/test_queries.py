"""Admission, and the life of a query from the queue to its end."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from flight_core.application.queries.admission import Admission, AdmissionLimits
from flight_core.application.queries.log import QueryLog
from flight_core.application.queries.reader import Reader
from flight_core.application.queries.reads import OpenQuery
from flight_core.application.writes.statements import RunStatement
from flight_core.domain.access import LOCAL, Actor, Scope
from flight_core.domain.dataset import LakeState
from flight_core.domain.errors import Cancelled, PermissionDenied, QueryFailed, TooManyStreams
from flight_core.domain.query import QueryRecord, QueryState, Statement
from flight_core.domain.system import no_rows

SCHEMA = pa.schema([("i", pa.int64())])
NOW = datetime(2026, 1, 31, tzinfo=UTC)


class FakeQuery:
    """Yields `batches`, then fails with `error` if there is one."""

    schema = SCHEMA
    fingerprint = None

    def __init__(self, batches: int = 2, error: Exception | None = None) -> None:
        self.pins = {}
        self._batches, self._error = batches, error
        self.cancelled = self.closed = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for _ in range(self._batches):
            yield pa.record_batch({"i": [1, 2, 3]}, SCHEMA)
        if self._error:
            raise self._error

    def progress(self) -> None:
        pass

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        self.closed = True


class FakeEngine:
    def __init__(self, query: FakeQuery) -> None:
        self.query = query

    def plan(self, statement, lake, *, pins=None, principal=""):
        return self.query


class NoDatasets:
    def lake_state(self) -> LakeState:
        return LakeState(0, {})


def opener(
    query: FakeQuery, *, max_streams: int = 1, max_queue: int = 1, timeout_s: float = 30.0
) -> OpenQuery:
    admission = Admission(AdmissionLimits(max_streams, max_queue, timeout_s))
    return OpenQuery(
        Reader(NoDatasets(), FakeEngine(query), FakeEngine(query), lambda table, **_: no_rows(table)),
        admission,
        QueryLog(lambda: NOW, lambda: "q1"),
    )


def states(open_query: OpenQuery) -> list[QueryState]:
    return [record.state for record in open_query.log.list()]


def test_a_query_read_to_its_end_succeeds_and_gives_its_slot_back():
    open_query = opener(FakeQuery())
    with open_query(Statement("SELECT 1"), actor=LOCAL, door="test") as running:
        assert open_query.admission.open_streams == 1
        assert sum(batch.num_rows for batch in running) == 6
    (record,) = open_query.log.list()
    assert (record.state, record.rows, record.finished_at) == (QueryState.SUCCEEDED, 6, NOW)
    assert open_query.admission.open_streams == 0


def test_a_query_left_early_counts_as_cancelled():
    open_query = opener(FakeQuery())
    with open_query(Statement("SELECT 1"), actor=LOCAL, door="test") as running:
        next(iter(running))
    assert states(open_query) == [QueryState.CANCELLED]
    assert open_query.reader.engine.query.closed


@pytest.mark.parametrize("error", [QueryFailed("bad value"), RuntimeError("a bug")])
def test_a_query_that_fails_in_the_middle_has_failed(error):
    open_query = opener(FakeQuery(error=error))
    running = open_query(Statement("SELECT 1"), actor=LOCAL, door="test")
    with pytest.raises(type(error)), running:
        list(running)
    assert states(open_query) == [QueryState.FAILED]


def test_a_full_house_queues_then_refuses():
    open_query = opener(FakeQuery(), timeout_s=0.1)
    first = open_query(Statement("SELECT 1"), actor=LOCAL, door="test", query_id="a")
    with pytest.raises(TooManyStreams, match="none came free"):
        open_query(Statement("SELECT 1"), actor=LOCAL, door="test", query_id="b")
    assert open_query.admission.waiting == 0
    first.close()
    open_query(Statement("SELECT 1"), actor=LOCAL, door="test", query_id="c").close()


def test_a_full_queue_refuses_at_once():
    open_query = opener(FakeQuery(), max_queue=0)
    first = open_query(Statement("SELECT 1"), actor=LOCAL, door="test")
    with pytest.raises(TooManyStreams, match="queue is full"):
        open_query(Statement("SELECT 1"), actor=LOCAL, door="test")
    first.close()


def test_a_statement_that_waits_for_a_slot_is_listed_and_can_be_cancelled():
    admission, log = Admission(AdmissionLimits(max_streams=1)), QueryLog(lambda: NOW, lambda: "s1")
    run = RunStatement(FakeEngine(FakeQuery()), admission, log, None)
    failures: list[Exception] = []

    def wait() -> None:
        try:
            run(Statement("CREATE TABLE t (i INT)"), actor=LOCAL, started=lambda _: None)
        except Exception as failure:
            failures.append(failure)

    with admission.slot():
        waiting = threading.Thread(target=wait)
        waiting.start()
        deadline = time.monotonic() + 30
        while admission.waiting == 0:
            assert time.monotonic() < deadline
        assert [(record.query_id, record.state) for record in log.list()] == [("s1", QueryState.QUEUED)]
        assert log.cancel("s1", actor=LOCAL)
        waiting.join(30)
    assert [type(failure) for failure in failures] == [Cancelled]
    assert [record.state for record in log.list()] == [QueryState.CANCELLED]


def test_a_query_that_waits_for_a_slot_can_be_cancelled():
    open_query = opener(FakeQuery())
    first = open_query(Statement("SELECT 1"), actor=LOCAL, door="test", query_id="first")
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            open_query(Statement("SELECT 1"), actor=LOCAL, door="test", query_id="second")
        except Cancelled as error:
            failures.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while open_query.admission.waiting == 0:
        thread.join(timeout=0.01)
    assert open_query.log.cancel("second", actor=LOCAL)
    thread.join(timeout=30)
    assert len(failures) == 1
    assert open_query.log.get("second").state is QueryState.CANCELLED
    first.close()


def test_a_log_that_is_full_forgets_what_has_ended_and_nothing_that_runs():
    log = QueryLog(lambda: NOW, lambda: "unused", keep=2)

    def begun(query_id: str) -> QueryRecord:
        record = QueryRecord(query_id, "SELECT 1", "local", "test", NOW, QueryState.RUNNING)
        log.begin(record, lambda: None)
        return record

    begun("lasting")
    for number in range(3):
        log.end(begun(f"short {number}"), QueryState.SUCCEEDED, None)
    assert [record.query_id for record in log.list()] == ["short 2", "lasting"]
    assert log.cancel("lasting", actor=LOCAL)


def test_only_its_owner_or_an_admin_cancels_a_query():
    open_query = opener(FakeQuery())
    running = open_query(Statement("SELECT 1"), actor=Actor("ann", frozenset({Scope.READ})), door="test")
    with pytest.raises(PermissionDenied):
        open_query.log.cancel("q1", actor=Actor("bob", frozenset({Scope.READ, Scope.WRITE})))
    assert open_query.log.cancel("q1", actor=Actor("root"))
    assert open_query.reader.engine.query.cancelled
    running.close()


def test_whoever_may_not_read_opens_nothing():
    open_query = opener(FakeQuery())
    with pytest.raises(PermissionDenied):
        open_query(Statement("SELECT 1"), actor=Actor("nobody", frozenset()), door="test")
    assert open_query.admission.open_streams == 0
