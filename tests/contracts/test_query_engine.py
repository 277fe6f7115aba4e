"""What every query engine has to do, whichever library runs the SQL."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.application.ports.engine import Query, QueryEngine
from flight_core.domain.errors import (
    Cancelled,
    DatasetExists,
    DatasetNotFound,
    EngineUnavailable,
    InvalidOption,
    InvalidParameters,
    InvalidSql,
    QueryFailed,
    StatementNotAllowed,
    TagNotFound,
    TransactionFailed,
    VersionExpired,
    VersionNotFound,
)
from flight_core.domain.query import Statement, StatementKind
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from tests.fakes.lake import FakeLake

ENDLESS = "SELECT count(*) FROM range(100000000000) t(i) WHERE i % 7 = 3"
BIRDS = pa.table({"name": ["goose", "duck", "swan"], "weight_kg": [3.5, 1.1, 9.0]})


def duckdb_engine(lake: FakeLake, folder: Path) -> QueryEngine:
    options = DuckDbOptions(
        folder / "workspace.duckdb", (lake.folder,), folder / "temp", memory_bytes=1 << 30
    )
    return DuckDbEngine(options, lake)  # type: ignore[arg-type] # the fake has the part engines use


ENGINES: list[Callable[[FakeLake, Path], QueryEngine]] = [duckdb_engine]


@pytest.fixture
def lake(tmp_path: Path) -> FakeLake:
    folder = tmp_path / "lake"
    folder.mkdir()
    made = FakeLake(folder)
    made.commit("birds", BIRDS)
    return made


@pytest.fixture(params=ENGINES, ids=lambda factory: factory.__name__)
def engine(request: pytest.FixtureRequest, lake: FakeLake, tmp_path: Path) -> Iterator[QueryEngine]:
    made = request.param(lake, tmp_path)
    yield made
    made.close()


def read(query: Query) -> pa.Table:
    try:
        return pa.Table.from_batches(list(query), query.schema)
    finally:
        query.close()


def rows(engine: QueryEngine, lake: FakeLake, sql: str, *values: object) -> list[dict[str, object]]:
    return read(engine.plan(Statement(sql, values), lake.state)).to_pylist()


def test_a_dataset_is_a_table_by_its_name_in_any_case(engine, lake):
    for name in ("birds", "BIRDS", "datasets.birds", "lake.datasets.birds", '"birds"'):
        assert read(engine.plan(Statement(f"SELECT * FROM {name}"), lake.state)) == BIRDS


def test_the_schema_is_known_before_the_run_also_for_zero_rows(engine, lake):
    query = engine.plan(Statement("SELECT name, weight_kg FROM birds WHERE false"), lake.state)
    assert query.schema == BIRDS.schema
    assert read(query).num_rows == 0


def test_planning_tells_the_versions_that_will_be_read(engine, lake):
    query = engine.plan(Statement("WITH b AS (FROM birds) SELECT * FROM b"), lake.state)
    query.close()
    assert query.pins == {"birds": lake.state.datasets["birds"].ref}


def test_a_pinned_query_reads_its_version_after_newer_commits(engine, lake):
    statement = Statement("SELECT count(*) AS n FROM lake.datasets.birds WHERE birds.weight_kg > ?", (1,))
    query = engine.plan(statement, lake.state)
    query.close()
    lake.commit("birds", BIRDS.slice(0, 1))
    assert read(engine.plan(statement, lake.state)).to_pylist() == [{"n": 1}]
    assert read(engine.plan(statement, lake.state, pins=query.pins)).to_pylist() == [{"n": 3}]


def test_a_pin_leaves_common_table_expressions_of_the_same_name_alone(engine, lake):
    sql = "WITH birds AS (SELECT name FROM birds LIMIT 2) SELECT count(*) AS n FROM birds"
    query = engine.plan(Statement(sql), lake.state)
    query.close()
    lake.commit("birds", BIRDS.slice(0, 0))
    assert read(engine.plan(Statement(sql), lake.state, pins=query.pins)).to_pylist() == [{"n": 2}]


def test_a_pin_of_a_dropped_dataset_fails_even_if_the_name_is_used_again(engine, lake):
    statement = Statement("FROM birds")
    query = engine.plan(statement, lake.state)
    query.close()
    lake.drop("birds")
    lake.commit("birds", BIRDS)
    with pytest.raises(DatasetNotFound):
        engine.plan(statement, lake.state, pins=query.pins)


def test_an_open_query_keeps_its_version_while_others_commit(engine, lake):
    query = engine.plan(Statement("FROM birds"), lake.state)
    lake.commit("birds", BIRDS.slice(0, 1))
    assert rows(engine, lake, "SELECT count(*) AS n FROM birds") == [{"n": 1}]
    assert read(query) == BIRDS


def test_older_versions_are_read_by_number_and_by_time(engine, lake):
    first = lake.commit("birds", BIRDS.slice(0, 2))
    lake.commit("birds", BIRDS.slice(0, 1))
    assert rows(engine, lake, f'SELECT count(*) AS n FROM "birds@v{first.version}"') == [{"n": 2}]
    with pytest.raises(VersionNotFound, match="no version at"):
        engine.plan(Statement('FROM "birds@2001-01-01"'), lake.state)
    with pytest.raises(VersionNotFound, match="future"):
        engine.plan(Statement('FROM "birds@9999-01-01"'), lake.state)
    with pytest.raises(VersionNotFound):
        engine.plan(Statement('FROM "birds@v77"'), lake.state)


def test_columns_added_later_are_null_in_older_files(engine, lake):
    wider = BIRDS.append_column("eggs", pa.array([5, 10, 6], pa.int32()))
    lake.commit("birds", wider, append=True)
    assert rows(engine, lake, "SELECT count(*) AS n, count(eggs) AS eggs FROM birds") == [{"n": 6, "eggs": 3}]


def test_a_dropped_dataset_is_gone(engine, lake):
    assert rows(engine, lake, "SELECT count(*) AS n FROM birds") == [{"n": 3}]
    lake.drop("birds")
    with pytest.raises(DatasetNotFound):
        engine.plan(Statement("FROM birds"), lake.state)


def test_an_unknown_name_comes_with_the_nearest_one(engine, lake):
    with pytest.raises(DatasetNotFound, match="did you mean 'birds'"):
        engine.plan(Statement("FROM brids"), lake.state)


_MANY = ", ".join(f"{number} AS column_{number}" for number in range(40))


@pytest.mark.parametrize(
    ("sql", "line", "column"),
    [
        ("SELECT 1\nFROM FROM birds", 2, 6),
        ("SELECT 1,\n  nosuch\nFROM birds", 2, 3),
        ("SELECT nosuch_function(1)", 1, 8),
        (f"SELECT {_MANY}, nosuch", 1, len(f"SELECT {_MANY}, ") + 1),
        (f"SELECT {_MANY} fromm x", 1, len(f"SELECT {_MANY} ") + 1),
        (f"SELECT 1,\n{_MANY}, nosuch, {_MANY}", 2, len(f"{_MANY}, ") + 1),
    ],
)
def test_mistakes_in_sql_are_told_with_their_position(engine, lake, sql, line, column):
    with pytest.raises(InvalidSql, match=f"line {line}, column {column}") as caught:
        engine.plan(Statement(sql), lake.state)
    assert caught.value.details == {"line": line, "column": column}


@pytest.mark.parametrize("sql", ["", " ; ", "-- nothing", "SELECT 'open", "SELECT \x00 1", "SELEC 1"])
def test_text_that_is_no_statement_is_refused(engine, lake, sql):
    with pytest.raises(InvalidSql):
        engine.plan(Statement(sql), lake.state)


def test_parameters_are_bound_by_position_and_by_name(engine, lake):
    assert rows(engine, lake, "SELECT name FROM birds WHERE weight_kg > ? AND name <> $2", 2, "goose") == [
        {"name": "swan"}
    ]
    named = engine.plan(Statement("SELECT $a + 1 AS x", {"a": 41}), lake.state)
    assert read(named).to_pylist() == [{"x": 42}]


@pytest.mark.parametrize("values", [(), (1, 2)])
def test_missing_and_surplus_parameters_are_refused(engine, lake, values):
    with pytest.raises(InvalidParameters):
        engine.plan(Statement("SELECT ? AS x", values), lake.state)


def test_a_row_limit_caps_the_result_and_keeps_the_order(engine, lake):
    query = engine.plan(Statement("SELECT name FROM birds ORDER BY weight_kg DESC", row_limit=2), lake.state)
    assert read(query).column("name").to_pylist() == ["swan", "goose"]


def test_narrow_decimals_hold_the_same_values_in_fewer_bits(engine, lake):
    sql = "SELECT 1.25::DECIMAL(15,2) AS d, 1.5::DECIMAL(38,2) AS wide, [0.1::DECIMAL(4,1)] AS l"
    query = engine.plan(Statement(sql, narrow_decimals=True), lake.state)
    assert query.schema.types == [
        pa.decimal64(15, 2),
        pa.decimal128(38, 2),
        pa.list_(pa.field("l", pa.decimal32(4, 1))),
    ]
    narrow = read(query)
    wide = read(engine.plan(Statement(sql), lake.state))
    assert wide.schema.types[0] == pa.decimal128(15, 2)
    assert narrow.to_pylist() == wide.to_pylist()


def test_a_failure_after_the_first_batch_is_still_ours(engine, lake):
    sql = "SELECT CASE WHEN i = 900000 THEN CAST('x' AS INTEGER) ELSE i END AS i FROM range(1000000) t(i)"
    query = engine.plan(Statement(sql), lake.state)
    with pytest.raises(QueryFailed):
        read(query)


def test_a_query_blocked_before_its_first_batch_can_be_cancelled(engine, lake):
    query = engine.plan(Statement(ENDLESS), lake.state)
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


def test_a_query_cancelled_before_it_runs_never_runs(engine, lake):
    query = engine.plan(Statement(ENDLESS), lake.state)
    query.cancel()
    with pytest.raises(Cancelled):
        list(query)
    query.close()


def test_closing_from_another_thread_stops_a_blocked_query(engine, lake):
    query = engine.plan(Statement(ENDLESS), lake.state)
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
    query = engine.plan(Statement("FROM birds"), lake.state)
    assert len(list(query)) == 1
    query.close()
    query.cancel()
    query.close()
    assert rows(engine, lake, "SELECT 1 AS x") == [{"x": 1}]


def test_a_cancelled_query_does_not_disturb_the_next(engine, lake):
    for _ in range(30):
        query = engine.plan(Statement("SELECT i FROM range(1000000) t(i)"), lake.state)
        next(iter(query))
        query.cancel()
        query.close()
        assert rows(engine, lake, "SELECT 1 AS x") == [{"x": 1}]


def test_a_plan_refuses_everything_but_a_single_read(engine, lake):
    for sql in (
        "CREATE TABLE t (i INTEGER)",
        "BEGIN",
        "SET TimeZone = 'UTC'",
        "WITH x AS (DELETE FROM t RETURNING *) FROM x",
    ):
        with pytest.raises(StatementNotAllowed):
            engine.plan(Statement(sql), lake.state)
    with pytest.raises(InvalidSql, match="one statement"):
        engine.plan(Statement("SELECT 1; SELECT 2"), lake.state)


def test_inspecting_tells_kind_schema_and_parameters_without_running(engine, lake):
    info = engine.inspect(Statement("SELECT name FROM birds WHERE weight_kg > ?"), lake.state)
    assert (info.kind, info.schema, len(info.parameters)) == (
        StatementKind.READ,
        pa.schema([("name", pa.utf8())]),
        1,
    )
    typed_later = engine.inspect(Statement("SELECT unnest(?) AS x"), lake.state)
    assert (typed_later.kind, typed_later.parameters) == (StatementKind.READ, info.parameters)
    for sql in ("SELECT nothing FROM birds", "SELECT nothing FROM birds WHERE name = ?"):
        with pytest.raises(InvalidSql, match="nothing"):
            engine.inspect(Statement(sql), lake.state)
    session = engine.open_session()
    session.execute(Statement("CREATE TABLE t (i INTEGER)"), lake.state)
    session.close()
    assert engine.inspect(Statement("INSERT INTO t VALUES (1)"), lake.state).kind is StatementKind.WRITE
    assert engine.inspect(Statement("CREATE TABLE u (i INTEGER)"), lake.state).kind is StatementKind.COMMAND
    assert rows(engine, lake, "SELECT count(*) AS n FROM t") == [{"n": 0}]


def test_sessions_share_tables_and_keep_temporary_ones_to_themselves(engine, lake):
    one, other = engine.open_session(), engine.open_session()
    one.execute(Statement("CREATE TABLE nests AS SELECT name, 1 AS eggs FROM birds"), lake.state)
    one.execute(Statement("CREATE TEMP TABLE mine AS SELECT 1 AS x"), lake.state)
    outcome = other.execute(Statement("SELECT count(*) AS n FROM nests JOIN birds USING (name)"), lake.state)
    assert outcome.table.to_pylist() == [{"n": 3}]
    with pytest.raises(DatasetNotFound):
        other.execute(Statement("FROM mine"), lake.state)
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
    for sql in ("CREATE VIEW seen AS FROM nests", "CREATE TEMP TABLE mine (x INTEGER)", "CREATE SCHEMA far"):
        session.execute(Statement(sql), lake.state)
    session.execute(Statement("CREATE TABLE far.away (x INTEGER)"), lake.state)
    assert engine.own_tables() == {"nests", "seen"}
    session.execute(Statement("DROP VIEW seen"), lake.state)
    assert engine.own_tables() == {"nests"}
    session.close()


def test_the_engine_tells_what_it_uses_of_what_it_may(engine, lake):
    usage = engine.usage()
    assert 0 <= usage.memory_bytes <= usage.memory_limit_bytes
    assert usage.spilled_bytes == 0


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
        session.execute(Statement("FROM owls"), lake.state)
    session.rollback()
    assert session.execute(Statement("SELECT count(*) AS n FROM owls"), lake.state).table.to_pylist() == [
        {"n": 3}
    ]
    session.close()


def test_ending_a_transaction_that_was_not_begun_is_a_clear_failure(engine):
    session = engine.open_session()
    with pytest.raises(TransactionFailed):
        session.commit()
    session.close()


def test_a_result_half_read_survives_the_next_statement_of_its_session(engine, lake):
    session = engine.open_session()
    query = session.plan(Statement("SELECT i FROM range(500000) t(i)"), lake.state)
    batches = iter(query)
    count = next(batches).num_rows
    assert session.execute(Statement("SELECT 42 AS x"), lake.state).table.to_pylist() == [{"x": 42}]
    assert count + sum(batch.num_rows for batch in batches) == 500_000
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


def test_plain_set_stays_within_its_session(engine, lake):
    session, other = engine.open_session(), engine.open_session()
    session.execute(Statement("SET default_null_order = 'nulls_first'"), lake.state)
    sql = "SELECT x FROM (VALUES (1), (NULL)) v(x) ORDER BY x"
    assert session.execute(Statement(sql), lake.state).table.column("x").to_pylist() == [None, 1]
    assert other.execute(Statement(sql), lake.state).table.column("x").to_pylist() == [1, None]
    session.close()
    other.close()


def test_datasets_stay_in_sight_after_use(engine, lake):
    session = engine.open_session()
    session.execute(Statement("USE workspace"), lake.state)
    assert session.execute(Statement("SELECT count(*) AS n FROM birds"), lake.state).table.to_pylist() == [
        {"n": 3}
    ]
    session.close()


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW birds",
        "DROP VIEW lake.datasets.birds",
        "CREATE TABLE datasets.owls AS SELECT 1 AS x",
        "CREATE OR REPLACE VIEW lake.datasets.birds AS SELECT 1 AS x",
        "CREATE SCHEMA lake.other",
        "DROP SCHEMA datasets CASCADE",
        "ALTER VIEW birds RENAME TO owls",
        "USE lake.datasets; CREATE TABLE owls (i INTEGER)",
        "PREPARE p AS DROP VIEW birds",
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


def test_fifty_rounds_leave_no_threads(engine, lake):
    before = threading.active_count()
    for _ in range(50):
        session = engine.open_session()
        session.execute(Statement("SELECT 1"), lake.state)
        session.close()
        rows(engine, lake, "FROM birds")
    assert threading.active_count() == before


def test_a_closed_engine_says_so(engine, lake):
    engine.close()
    with pytest.raises(EngineUnavailable):
        engine.plan(Statement("SELECT 1"), lake.state)


# Tags and expired versions


def test_a_tag_names_a_version_and_a_plan_stays_with_it_when_the_tag_moves(lake, engine):
    lake.commit("birds", BIRDS.slice(0, 1))
    lake.tag("birds", "golden", 0)
    statement = Statement('SELECT b.name FROM "birds@Golden" AS b ORDER BY ALL')
    before = lake.state
    planned = engine.plan(statement, before)
    pins = planned.pins
    assert [ref.version for ref in pins.values()] == [0]
    assert read(planned)["name"].to_pylist() == ["duck", "goose", "swan"]
    lake.tag("birds", "golden", 1)
    assert read(engine.plan(statement, lake.state))["name"].to_pylist() == ["goose"]
    assert read(engine.plan(statement, lake.state, pins=pins))["name"].to_pylist() == [
        "duck",
        "goose",
        "swan",
    ]
    assert read(engine.plan(Statement('DESCRIBE "birds@golden"'), lake.state)).num_rows == 2


def test_a_tag_that_is_not_there_is_told_with_those_that_are(lake, engine):
    lake.tag("birds", "golden", 0)
    with pytest.raises(TagNotFound, match=r"no tag 'goldn'; did you mean 'golden'\?"):
        engine.plan(Statement('SELECT * FROM "birds@goldn"'), lake.state)


def test_an_expired_version_cannot_be_asked_for_and_is_read_by_those_who_did(lake, engine):
    statement = Statement('SELECT count(*) AS n FROM "birds@v0"')
    planned = engine.plan(statement, lake.state)
    planned.close()
    lake.commit("birds", BIRDS.slice(0, 1))
    lake.expire("birds", before=1)
    with pytest.raises(VersionExpired, match="version 0 of dataset 'birds' has expired"):
        engine.plan(statement, lake.state)
    assert read(engine.plan(statement, lake.state, pins=planned.pins))["n"].to_pylist() == [3]
    lake.tag("birds", "golden", 0)
    assert read(engine.plan(statement, lake.state))["n"].to_pylist() == [3]


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
