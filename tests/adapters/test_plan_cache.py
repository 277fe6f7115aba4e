"""Plans that are remembered: what they tell stays true, and what they run can be stopped."""

from collections.abc import Iterator

import pyarrow as pa
import pytest

from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.adapters.engines.duckdb.plan_cache import PlannedQuery
from flight_core.adapters.engines.duckdb.stream import DuckDbQuery
from flight_core.domain.errors import Cancelled, DatasetNotFound
from flight_core.domain.query import Pins, Statement
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from tests.fakes.lake import FakeLake

SQL = "SELECT sum(x) AS total FROM t"


@pytest.fixture
def lake(tmp_path) -> FakeLake:
    (tmp_path / "lake").mkdir()
    made = FakeLake(tmp_path / "lake")
    made.commit("t", pa.table({"x": [1, 2]}))
    return made


@pytest.fixture
def engine(lake: FakeLake, tmp_path) -> Iterator[DuckDbEngine]:
    made = DuckDbEngine(DuckDbOptions(None, (lake.folder,), tmp_path / "engine"), lake)  # type: ignore[arg-type] # a fake
    yield made
    made.close()


def read(engine: DuckDbEngine, lake: FakeLake, sql: str = SQL, pins: Pins | None = None) -> tuple[type, list]:
    query = engine.plan(Statement(sql), lake.state, pins=pins)
    try:
        rows = pa.Table.from_batches(list(query), query.schema).to_pylist()
        return type(query), rows
    finally:
        query.close()


def test_a_plan_is_made_once_for_each_version_and_says_the_same(engine, lake):
    first = engine.plan(Statement(SQL), lake.state)
    again = engine.plan(Statement(SQL), lake.state)
    assert (type(first), type(again)) == (DuckDbQuery, PlannedQuery)
    assert (first.schema, first.pins, first.fingerprint) == (again.schema, again.pins, again.fingerprint)
    first.close()
    again.close()
    assert read(engine, lake, pins=first.pins) == (PlannedQuery, [{"total": 3}])
    lake.commit("t", pa.table({"x": ["now", "text"]}))
    assert read(engine, lake, "SELECT max(x) AS most FROM t") == (DuckDbQuery, [{"most": "text"}])
    assert read(engine, lake, pins=first.pins) == (DuckDbQuery, [{"total": 3}])
    lake.drop("t")
    for pins in (None, first.pins):
        with pytest.raises(DatasetNotFound):
            read(engine, lake, pins=pins)


@pytest.mark.parametrize(
    "sql", ["SELECT random() AS x", "SELECT x FROM own", 'SELECT sum(x) AS total FROM "t@v0"']
)
def test_what_may_change_unnoticed_is_planned_each_time(engine, lake, sql):
    session = engine.open_session()
    session.execute(Statement("CREATE TABLE own AS SELECT 1 AS x"), lake.state)
    session.close()
    assert [read(engine, lake, sql)[0] for _ in range(2)] == [DuckDbQuery, DuckDbQuery]


def test_a_function_of_the_users_ends_what_was_known(engine, lake):
    assert [read(engine, lake)[0] for _ in range(2)] == [DuckDbQuery, PlannedQuery]
    session = engine.open_session()
    session.execute(Statement("CREATE MACRO twice(x) AS 2 * x"), lake.state)
    session.close()
    assert [read(engine, lake)[0] for _ in range(2)] == [DuckDbQuery, DuckDbQuery]


def test_a_function_that_is_replaced_before_a_planned_query_runs_keeps_its_meaning(engine, lake):
    session = engine.open_session()
    session.execute(Statement("CREATE MACRO answer() AS 42"), lake.state)
    planned = engine.plan(Statement("SELECT answer() AS x"), lake.state)
    session.execute(Statement("CREATE OR REPLACE MACRO answer() AS 'another'"), lake.state)
    assert pa.Table.from_batches(list(planned), planned.schema).to_pylist() == [{"x": 42}]
    planned.close()
    session.close()


@pytest.mark.parametrize("sql", [SQL, "SELECT 1 AS one", "SELECT range AS x FROM range(3) WHERE range > 1"])
def test_what_was_looked_at_is_known(engine, lake, sql):
    info = engine.inspect(Statement(sql), lake.state)
    planned = engine.plan(Statement(sql), lake.state)
    assert (type(planned), planned.schema) == (PlannedQuery, info.schema)
    planned.close()


def test_a_known_plan_is_cancelled_and_closed_at_any_time(engine, lake):
    sql = "SELECT * FROM range(100_000_000)"
    engine.plan(Statement(sql), lake.state).close()
    for stop in ("cancel", "close"):
        unread = engine.plan(Statement(sql), lake.state)
        assert type(unread) is PlannedQuery
        getattr(unread, stop)()
        with pytest.raises(Cancelled):
            list(unread)
        unread.close()
        begun = engine.plan(Statement(sql), lake.state)
        batches = iter(begun)
        next(batches)
        getattr(begun, stop)()
        with pytest.raises(Cancelled):
            list(batches)
        begun.close()
        begun.close()
