"""Attacks on the engine of those who may only read, and what they must still be able to do."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import psutil
import pyarrow as pa
import pytest

from flight_core.adapters.engines.duckdb.plan_cache import PlannedQuery
from flight_core.application.ports.engine import Principal
from flight_core.domain.dataset import LakeState
from flight_core.domain.errors import (
    Cancelled,
    DatasetNotFound,
    DeadlineExceeded,
    FlightCoreError,
    InvalidParameters,
    InvalidSql,
    OutOfMemory,
    PermissionDenied,
    TooManyStreams,
    VersionNotFound,
)
from flight_core.domain.query import Pins, Statement
from tests.adapters.guarded_stack import CASES, SECRET, GuardedStack, guarded_stack
from tests.fakes.lake import wide_rows

ENDLESS = "SELECT count(*) FROM range(100000000000) t(i) WHERE i % 7 = 3"

ME = Principal("reader")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedStack]:
    """One for all attacks, so that what one of them leaves behind shows in the next."""
    root = tmp_path_factory.mktemp("guarded")
    with guarded_stack(root, timeout_s=0.2, memory_bytes=256 << 20, max_processes=3) as stack:
        yield stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedStack]:
    with guarded_stack(tmp_path_factory.mktemp("roomy")) as made:
        yield made


def files_below(stack: GuardedStack) -> set[Path]:
    return {path for folder in (stack.lake.folder, stack.outside) for path in folder.rglob("*")}


def cases(*expected: str) -> list[object]:
    return [pytest.param(case, id=case["id"]) for case in CASES if case["expect"] in expected]


def patient_rows(stack: GuardedStack, sql: str, **options: str) -> list[dict[str, int]]:
    """The time that a query may take is short here: a busy machine may need several attempts."""
    for _ in range(20):
        with suppress(DeadlineExceeded):
            return stack.rows(sql, **options).to_pylist()
    raise AssertionError("no answer in time")


def check_health(stack: GuardedStack, files: set[Path]) -> None:
    assert patient_rows(stack, "SELECT count(*) AS n FROM ds_a") == [{"n": 20}]
    assert patient_rows(stack, "SELECT 1 AS one", principal="other") == [{"one": 1}]
    assert files_below(stack) == files


@pytest.mark.parametrize("case", cases("deny"))
def test_what_is_to_be_denied_is_refused_and_leaves_nothing(shared, case):
    files = files_below(shared)
    with pytest.raises(FlightCoreError) as caught:
        shared.rows(shared.text_of(case))
    assert str(shared.root) not in str(caught.value)
    assert SECRET not in str(caught.value)
    check_health(shared, files)


@pytest.mark.parametrize("case", cases("allow"))
def test_what_is_harmless_works(shared, case):
    shared.rows(shared.text_of(case))


def test_rows_and_parameters_come_through_with_their_types(stack):
    values = (pa.scalar(3, pa.int32()), pa.scalar(1_000_000_001, pa.timestamp("ns")), "é", None)
    table = stack.rows(
        "SELECT i, $1 AS a, $2 AS b, $3 AS c, $4 AS d FROM ds_a WHERE i < $1 ORDER BY i", *values
    )
    assert table.schema.field("b").type == pa.timestamp("ns")
    assert table["i"].to_pylist() == [0, 1, 2]
    assert table["c"].to_pylist() == ["é"] * 3
    assert table["d"].null_count == 3


def test_plain_values_have_the_types_that_duckdb_gives_them(stack):
    values = [7, 2**31, 2**64, -(2**100), 1.0, True, "é", [1, 2], [1, "a"], {"a": 1}, {}]
    sql = "SELECT [" + ", ".join("typeof(?)" for _ in values) + "] AS told"
    with duckdb.connect() as connection:
        assert stack.rows(sql, *values).equals(connection.sql(sql, params=values).to_arrow_table())


def test_results_larger_than_a_frame_are_complete(stack):
    table = stack.rows("SELECT i, 'row ' || i AS t FROM range(1000000) r(i) ORDER BY i")
    assert table["i"].to_pylist() == list(range(1_000_000))


def test_enumerations_survive(stack):
    table = stack.rows("SELECT 'b'::ENUM('a', 'b') AS e FROM range(100000)")
    assert table["e"].cast(pa.string()).unique().to_pylist() == ["b"]


def test_describe_and_summarize_show_a_dataset(stack):
    assert stack.rows("DESCRIBE ds_a")["column_name"].to_pylist() == ["i", "t"]
    assert stack.rows("SUMMARIZE ds_a").num_rows == 2


def test_a_dataset_out_of_sight_is_as_unknown_as_one_that_does_not_exist(stack):
    texts = []
    for name in ("ds_b", "ds_c"):
        with pytest.raises(DatasetNotFound) as caught:
            stack.rows(f"SELECT * FROM {name}")
        texts.append(str(caught.value).replace(name, "?"))
    assert texts[0] == texts[1]


def test_older_versions_and_pins_are_read(tmp_path):
    with guarded_stack(tmp_path) as stack:
        query = stack.engine.plan(Statement("SELECT count(*) AS n FROM ds_a"), stack.view, principal=ME)
        query.close()
        stack.lake.commit("ds_a", pa.table({"i": pa.array([1], pa.int64()), "t": ["C"]}))
        assert stack.rows("SELECT count(*) AS n FROM ds_a").to_pylist() == [{"n": 1}]
        assert stack.rows('SELECT count(*) AS n FROM "ds_a@v0"').to_pylist() == [{"n": 20}]
        pinned = stack.engine.plan(query_statement(), stack.view, principal=ME, pins=query.pins)
        assert pa.Table.from_batches(list(pinned), pinned.schema).to_pylist() == [{"n": 20}]
        pinned.close()
        with pytest.raises(VersionNotFound):
            stack.rows('FROM "ds_a@v7"')


def test_who_reads_every_version_of_a_dataset_that_changes_keeps_the_engine(tmp_path):
    with guarded_stack(tmp_path) as stack:
        for number in range(20):
            stack.lake.commit("ds_a", pa.table({"i": pa.array([number], pa.int64())}))
            assert stack.rows("SELECT sum(i) AS s FROM ds_a").to_pylist() == [{"s": number}]


def query_statement() -> Statement:
    return Statement("SELECT count(*) AS n FROM ds_a")


def test_a_pin_gives_no_right_to_a_dataset(stack):
    pins = {"ds_b": stack.lake.state.datasets["ds_b"].ref}
    with pytest.raises(DatasetNotFound):
        stack.engine.plan(Statement("FROM ds_b"), stack.view, principal=ME, pins=pins)


def test_a_known_plan_holds_for_its_principal_its_versions_and_its_rights_alone(tmp_path):
    def planned(principal: Principal = ME, **options: Pins) -> tuple[bool, list[dict[str, int]]]:
        query = stack.engine.plan(query_statement(), stack.view, principal=principal, **options)
        try:
            known = isinstance(query, PlannedQuery)
            return known, pa.Table.from_batches(list(query), query.schema).to_pylist()
        finally:
            query.close()

    with guarded_stack(tmp_path) as stack:
        first = {"ds_a": stack.view.datasets["ds_a"].ref}
        stack.engine.inspect(query_statement(), stack.view, principal=ME)
        assert planned() == planned(pins=first) == (True, [{"n": 20}])
        assert planned(Principal("other")) == (False, [{"n": 20}])
        stack.lake.commit("ds_a", pa.table({"i": [1]}))
        assert [planned(), planned()] == [(False, [{"n": 1}]), (True, [{"n": 1}])]
        assert planned(pins=first) == (False, [{"n": 20}])
        with pytest.raises(DatasetNotFound):
            stack.engine.plan(query_statement(), LakeState(9, {}), principal=ME)


def test_a_known_plan_is_stopped_at_any_time(stack):
    statement = Statement("SELECT * FROM range(100_000_000)")
    stack.engine.plan(statement, stack.view, principal=ME).close()
    for stop in ("cancel", "close"):
        begun = stack.engine.plan(statement, stack.view, principal=ME)
        batches = iter(begun)
        next(batches)
        getattr(begun, stop)()
        with pytest.raises(Cancelled):
            list(batches)
        begun.close()
    assert stack.rows("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_a_statement_can_be_inspected_without_its_parameters(stack):
    info = stack.engine.inspect(
        Statement("SELECT i FROM ds_a WHERE i = ? AND t = ?"), stack.view, principal=ME
    )
    assert info.schema == pa.schema([("i", pa.int64())])
    assert info.parameters.names == ["1", "2"]


def test_mistakes_are_told_with_their_position(stack):
    with pytest.raises(InvalidSql) as caught:
        stack.rows("SELECT\n  nosuch FROM ds_a")
    assert caught.value.details == {"line": 2, "column": 3}


def test_missing_parameters_and_odd_ones_are_refused(stack):
    with pytest.raises(InvalidParameters):
        stack.rows("SELECT ?")
    with pytest.raises(InvalidParameters):
        stack.rows("SELECT ?", object())


def test_a_running_query_is_cancelled_from_another_thread(stack):
    query = stack.engine.plan(Statement(ENDLESS), stack.view, principal=ME)
    threading.Timer(0.2, query.cancel).start()
    with pytest.raises(Cancelled):
        list(query)
    query.close()
    assert stack.rows("SELECT 1 AS one").num_rows == 1


def test_a_query_that_nobody_reads_on_is_closed_without_its_process(stack):
    query = stack.engine.plan(
        Statement("SELECT i, repeat('x', 100) AS t FROM range(100000000) r(i)"),
        stack.view,
        principal=ME,
    )
    next(iter(query))
    query.close()
    query.close()
    with pytest.raises(Cancelled):
        list(query)
    assert stack.rows("SELECT 1 AS one").num_rows == 1


def test_the_time_a_client_takes_does_not_count(tmp_path):
    with guarded_stack(tmp_path, timeout_s=1.0) as stack:
        query = stack.engine.plan(Statement("SELECT i FROM range(3000000) r(i)"), stack.view, principal=ME)
        batches = iter(query)
        next(batches)
        waited = threading.Event()
        waited.wait(1.5)
        assert sum(batch.num_rows for batch in batches) > 2_000_000
        query.close()
        with pytest.raises(DeadlineExceeded):
            stack.rows(ENDLESS)


def test_a_query_that_ignores_interrupts_costs_its_own_process_only(tmp_path):
    with guarded_stack(tmp_path, timeout_s=0.3) as stack:
        stack.rows("SELECT 1", principal="other")
        before = worker_pids()
        # Constant folding does not look at interrupts.
        stuck = "SELECT len(list_sort(list_transform(range(6000000), x -> md5(x::VARCHAR))))"
        started = time.monotonic()
        with pytest.raises(FlightCoreError):
            stack.rows(stuck)
        assert time.monotonic() - started < 30
        assert stack.rows("SELECT 1 AS one", principal="other").num_rows == 1
        assert stack.rows("SELECT 1 AS one").num_rows == 1
        assert len(worker_pids() & before) >= 1


def test_a_process_that_is_slow_to_hear_that_it_has_nothing_to_do_lives_on(tmp_path, monkeypatch):
    monkeypatch.setattr("flight_core.adapters.engines.duckdb.guarded.query._GRACE_S", 0.05)
    with guarded_stack(tmp_path) as stack:
        assert stack.rows("SELECT 1 AS i").to_pylist() == [{"i": 1}]
        before = worker_pids()
        planned, read = (
            stack.engine.plan(Statement(f"SELECT {n}"), stack.view, principal=ME) for n in (2, 3)
        )
        list(read)
        stopped = [psutil.Process(pid) for pid in before]
        for process in stopped:
            process.suspend()
        planned.close()
        read.close()
        for process in stopped:
            process.resume()
        assert stack.rows("SELECT 4 AS i").to_pylist() == [{"i": 4}]
        assert worker_pids() == before


def test_who_used_up_the_memory_of_a_process_gets_another_and_what_ran_before_ends_in_the_old_one(tmp_path):
    with guarded_stack(tmp_path, memory_bytes=128 << 20, timeout_s=60.0) as stack:
        begun = stack.engine.plan(Statement("SELECT i FROM range(3000000) r(i)"), stack.view, principal=ME)
        batches = iter(begun)
        first = next(batches)
        with pytest.raises(OutOfMemory):
            stack.rows("SELECT list(repeat('x', 1000) || i) FROM range(10000000) r(i)")
        assert stack.rows("SELECT 1 AS one").num_rows == 1
        assert first.num_rows + sum(batch.num_rows for batch in batches) == 3_000_000
        before = worker_pids()
        begun.close()
        assert len(worker_pids()) == len(before) - 1


def test_as_many_principals_as_allowed_read_at_once_and_idle_ones_make_room(tmp_path):
    with guarded_stack(tmp_path, max_processes=2) as stack:
        for principal in ("a", "b", "c", "d"):
            assert stack.rows("SELECT 1 AS one", principal=principal).num_rows == 1
        others = (Principal("e"), Principal("f"))
        busy = [stack.engine.plan(Statement(ENDLESS), stack.view, principal=each) for each in others]
        with pytest.raises(TooManyStreams):
            stack.rows("SELECT 1", principal="g")
        for query in busy:
            query.close()
        assert stack.rows("SELECT 1 AS one", principal="g").num_rows == 1


def test_no_process_and_no_folder_is_left_behind(tmp_path):
    before = worker_pids()
    with guarded_stack(tmp_path) as stack:
        stack.rows("SELECT 1")
        assert worker_pids() - before
    assert worker_pids() <= before
    assert list((tmp_path / "temp").iterdir()) == []


def test_anything_but_a_select_is_refused(stack):
    for sql in (
        "EXPLAIN SELECT 1",
        "SET TimeZone = 'UTC'",
        "CREATE TEMP TABLE x (i int)",
        "BEGIN",
        "SHOW TABLES",
    ):
        with pytest.raises(PermissionDenied):
            stack.rows(sql)
    with pytest.raises(PermissionDenied, match=r"`FROM skein\.datasets` lists the datasets"):
        stack.rows("SHOW TABLES")


def worker_pids() -> set[int]:
    children = psutil.Process().children(recursive=True)
    return {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE}


def test_sorted_rows_that_are_wide_come_in_batches_of_few(tmp_path):
    with guarded_stack(tmp_path) as stack:
        stack.lake.commit("ds_a", wide_rows(5000))
        rows = stack.rows("FROM ds_a ORDER BY id DESC")
    assert [len(chunk) for chunk in rows["id"].chunks] == [2048, 2048, 904]
