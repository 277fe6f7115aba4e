"""What DuckDB's own SQL adds to what every query engine promises: its words, its types, its catalogs."""

from pathlib import Path

import pyarrow as pa
import pytest

from flight_core.domain.errors import InvalidSql, QueryFailed, StatementNotAllowed
from flight_core.domain.query import Statement, StatementKind
from tests.contracts.query_engines import BIRDS, duckdb_engine, read, require_conflict, rows
from tests.fakes.lake import FakeLake


@pytest.fixture
def lake(tmp_path: Path) -> FakeLake:
    (tmp_path / "lake").mkdir()
    made = FakeLake(tmp_path / "lake")
    made.commit("birds", BIRDS)
    return made


@pytest.fixture
def engine(lake, tmp_path):
    made = duckdb_engine(lake, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    "sql", ["FROM birds", "FROM lake.datasets.birds", "WITH b AS (FROM birds) SELECT * FROM b"]
)
def test_reads_that_begin_with_from_and_name_the_catalog_are_pinned_as_others(engine, lake, sql):
    query = engine.plan(Statement(sql), lake.state)
    assert query.pins == {"birds": lake.state.datasets["birds"].ref}
    lake.commit("birds", BIRDS.slice(0, 1))
    assert read(engine.plan(Statement(sql), lake.state, pins=query.pins)) == read(query) == BIRDS


def test_a_tag_can_be_described(engine, lake):
    lake.tag("birds", "golden", 0)
    assert read(engine.plan(Statement('DESCRIBE "birds@golden"'), lake.state)).num_rows == 2


@pytest.mark.parametrize(
    "sql", ["SET TimeZone = 'UTC'", "WITH x AS (DELETE FROM t RETURNING *) FROM x", "PRAGMA version"]
)
def test_a_plan_refuses_what_is_more_than_a_read(engine, lake, sql):
    with pytest.raises(StatementNotAllowed):
        engine.plan(Statement(sql), lake.state)


def test_parameters_by_question_mark_and_by_number_go_together(engine, lake):
    sql = "SELECT name FROM birds WHERE weight_kg > ? AND name <> $2"
    assert rows(engine, lake, sql, 2, "goose") == [{"name": "swan"}]


def test_a_parameter_whose_type_tells_the_columns_is_typed_later(engine, lake):
    info = engine.inspect(Statement("SELECT unnest(?) AS x"), lake.state)
    assert (info.kind, len(info.parameters)) == (StatementKind.READ, 1)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT lake.datasets.birds.name, datasets.birds.weight_kg + 1, upper(name) FROM datasets.birds",
        "SELECT (SELECT max(weight_kg) FROM birds), EXISTS (FROM datasets.birds WHERE birds.name = '')",
        "FROM (SELECT (SELECT list(name ORDER BY name) FROM birds)[1] || 'x', count(*) OVER () FROM birds)",
    ],
)
def test_a_pin_changes_neither_the_names_of_columns_nor_how_they_are_found(engine, lake, sql):
    query = engine.plan(Statement(sql), lake.state)
    unpinned = read(query)
    lake.commit("birds", BIRDS.slice(0, 1))
    assert read(engine.plan(Statement(sql), lake.state, pins=query.pins)) == unpinned


def test_a_number_that_arrow_has_no_place_for_fails_instead_of_coming_out_as_another_one(engine, lake):
    sql = "SELECT [n] AS ns, n FROM (SELECT (2::UHUGEINT ** 1)::UHUGEINT << {} AS n)"
    assert rows(engine, lake, sql.format(125)) == [{"ns": [2**126], "n": 2**126}]
    with pytest.raises(QueryFailed, match="out of range"):
        rows(engine, lake, sql.format(126))


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


def test_plain_set_stays_within_its_session(engine, lake):
    session, other = engine.open_session(), engine.open_session()
    session.execute(Statement("SET default_null_order = 'nulls_first'"), lake.state)
    sql = "SELECT x FROM (VALUES (1), (NULL)) v(x) ORDER BY x"
    assert session.execute(Statement(sql), lake.state).table.column("x").to_pylist() == [None, 1]
    assert other.execute(Statement(sql), lake.state).table.column("x").to_pylist() == [1, None]
    session.close()
    other.close()


@pytest.mark.parametrize(
    ("sql", "place"),
    [
        ("USE workspace", "workspace.main"),
        ("USE lake", "lake.datasets"),
        ("USE datasets", "lake.datasets"),
        ("USE workspace; USE datasets", "lake.datasets"),
        ("SET schema = 'datasets'", "lake.datasets"),
        ("SET search_path = 'datasets,main'", "lake.datasets"),
        ("USE lake; RESET search_path", "workspace.main"),
        ("ATTACH ':memory:' AS mine; CREATE SCHEMA mine.datasets; USE mine.datasets", "mine.datasets"),
    ],
)
def test_datasets_stay_in_sight_after_use(engine, lake, sql, place):
    session = engine.open_session()
    session.execute(Statement(sql), lake.state)
    look = "SELECT count(*) AS n, current_catalog() || '.' || current_schema() AS place FROM birds"
    assert session.execute(Statement(look), lake.state).table.to_pylist() == [{"n": 3, "place": place}]
    session.close()


def test_of_two_transactions_that_replace_the_same_table_one_is_told_to_start_again(engine, lake):
    replace = "CREATE OR REPLACE TABLE shared AS SELECT {} AS i"
    require_conflict(engine, lake, replace.format(2), replace.format(3))


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW lake.datasets.birds",
        "CREATE OR REPLACE VIEW lake.datasets.birds AS SELECT 1 AS x",
        "CREATE SCHEMA lake.other",
        "COMMENT ON COLUMN birds.name IS 'x'",
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
