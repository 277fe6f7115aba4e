"""What every query engine promises of reads, whichever library runs the SQL."""

from dataclasses import replace

import pyarrow as pa
import pytest

from flight_core.domain.errors import (
    DatasetNotFound,
    InvalidParameters,
    InvalidSql,
    StatementNotAllowed,
    TagNotFound,
    VersionExpired,
    VersionNotFound,
)
from flight_core.domain.query import Statement, StatementKind
from tests.contracts.query_engines import BIRDS, read, rows


def test_a_dataset_is_a_table_by_its_name_in_any_case(engine, lake):
    for name in ("birds", "BIRDS", "datasets.birds", '"birds"'):
        assert read(engine.plan(Statement(f"SELECT * FROM {name}"), lake.state)) == BIRDS


def test_the_schema_is_known_before_the_run_also_for_zero_rows(engine, lake):
    query = engine.plan(Statement("SELECT name, weight_kg FROM birds WHERE false"), lake.state)
    assert query.schema == BIRDS.schema
    assert read(query).num_rows == 0


def test_planning_tells_the_versions_that_will_be_read(engine, lake):
    query = engine.plan(Statement("WITH b AS (SELECT * FROM birds) SELECT * FROM b"), lake.state)
    query.close()
    assert query.pins == {"birds": lake.state.datasets["birds"].ref}


def test_a_pinned_query_reads_its_version_after_newer_commits(engine, lake):
    statement = Statement("SELECT count(*) AS n FROM datasets.birds WHERE birds.weight_kg > ?", (1,))
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
    statement = Statement("SELECT * FROM birds")
    query = engine.plan(statement, lake.state)
    query.close()
    lake.drop("birds")
    lake.commit("birds", BIRDS)
    with pytest.raises(DatasetNotFound):
        engine.plan(statement, lake.state, pins=query.pins)


def test_an_open_query_keeps_its_version_while_others_commit(engine, lake):
    query = engine.plan(Statement("SELECT * FROM birds"), lake.state)
    lake.commit("birds", BIRDS.slice(0, 1))
    assert rows(engine, lake, "SELECT count(*) AS n FROM birds") == [{"n": 1}]
    assert read(query) == BIRDS


def test_older_versions_are_read_by_number_and_by_time(engine, lake):
    first = lake.commit("birds", BIRDS.slice(0, 2))
    lake.commit("birds", BIRDS.slice(0, 1))
    assert rows(engine, lake, f'SELECT count(*) AS n FROM "birds@v{first.version}"') == [{"n": 2}]
    with pytest.raises(VersionNotFound, match="no version at"):
        engine.plan(Statement('SELECT * FROM "birds@2001-01-01"'), lake.state)
    with pytest.raises(VersionNotFound, match="future"):
        engine.plan(Statement('SELECT * FROM "birds@9999-01-01"'), lake.state)
    with pytest.raises(VersionNotFound):
        engine.plan(Statement('SELECT * FROM "birds@v77"'), lake.state)


def test_columns_added_later_are_null_in_older_files(engine, lake):
    wider = BIRDS.append_column("eggs", pa.array([5, 10, 6], pa.int32()))
    lake.commit("birds", wider, append=True)
    assert rows(engine, lake, "SELECT count(*) AS n, count(eggs) AS eggs FROM birds") == [{"n": 6, "eggs": 3}]


def test_a_dropped_dataset_is_gone(engine, lake):
    assert rows(engine, lake, "SELECT count(*) AS n FROM birds") == [{"n": 3}]
    lake.drop("birds")
    with pytest.raises(DatasetNotFound):
        engine.plan(Statement("SELECT * FROM birds"), lake.state)


def test_a_dataset_that_is_dropped_while_a_read_is_planned_is_gone_and_not_damaged(engine, lake):
    before = lake.state
    lake.drop("birds")
    for state in (lake.state, before):  # somebody else has seen what is new already
        with pytest.raises(DatasetNotFound, match="'birds'"):
            engine.plan(Statement("SELECT * FROM birds"), state)


def test_an_unknown_name_comes_with_the_nearest_one(engine, lake):
    with pytest.raises(DatasetNotFound, match="did you mean 'birds'"):
        engine.plan(Statement("SELECT * FROM brids"), lake.state)


def test_a_column_that_is_not_there_is_named(engine, lake):
    with pytest.raises(InvalidSql, match="nosuch"):
        engine.plan(Statement("SELECT nosuch FROM birds"), lake.state)


@pytest.mark.parametrize("sql", ["", " ; ", "-- nothing", "SELECT 'open", "SELECT \x00 1", "SELEC 1"])
def test_text_that_is_no_statement_is_refused(engine, lake, sql):
    with pytest.raises(InvalidSql):
        engine.plan(Statement(sql), lake.state)


def test_parameters_are_bound_by_position_and_by_name(engine, lake):
    assert rows(engine, lake, "SELECT name FROM birds WHERE weight_kg > ? AND name <> ?", 2, "goose") == [
        {"name": "swan"}
    ]
    named = engine.plan(Statement("SELECT $a + 1 AS x", {"a": 41}), lake.state)
    assert read(named).to_pylist() == [{"x": 42}]


@pytest.mark.parametrize("values", [(), (1, 2), (2**128,), ([2**200],)])
def test_missing_and_surplus_parameters_and_integers_that_nothing_holds_are_refused(engine, lake, values):
    with pytest.raises(InvalidParameters):
        engine.plan(Statement("SELECT ? AS x", values), lake.state)


def test_a_row_limit_caps_the_result_and_keeps_the_order(engine, lake):
    query = engine.plan(Statement("SELECT name FROM birds ORDER BY weight_kg DESC", row_limit=2), lake.state)
    assert read(query).column("name").to_pylist() == ["swan", "goose"]


@pytest.mark.parametrize(("offset", "limit"), [(1, 1), (1, None), (2, 2**63 - 1), (9, 1)])
def test_a_window_is_a_slice_of_the_result(engine, lake, offset, limit):
    whole = Statement("SELECT name FROM birds ORDER BY weight_kg DESC")
    window = replace(whole, row_limit=limit, row_offset=offset)
    assert window.whole == whole
    expected = read(engine.plan(whole, lake.state)).slice(offset, limit)
    assert read(engine.plan(window, lake.state)).equals(expected)


def test_narrow_decimals_hold_the_same_values_in_fewer_bits(engine, lake):
    sql = "SELECT CAST(1.25 AS DECIMAL(15, 2)) AS d, CAST(1.5 AS DECIMAL(38, 2)) AS wide FROM birds"
    narrow = engine.plan(Statement(sql, narrow_decimals=True), lake.state)
    wide = engine.plan(Statement(sql), lake.state)
    assert narrow.schema.types == [pa.decimal64(15, 2), pa.decimal128(38, 2)]
    assert wide.schema.types == [pa.decimal128(15, 2), pa.decimal128(38, 2)]
    assert read(narrow).to_pylist() == read(wide).to_pylist()


def test_a_plan_refuses_everything_but_a_single_read(engine, lake):
    for sql in (
        "CREATE TABLE t (i INTEGER)",
        "BEGIN",
        "DROP TABLE t",
        "DELETE FROM birds",
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
    for sql in ("SELECT nothing FROM birds", "SELECT nothing FROM birds WHERE name = ?"):
        with pytest.raises(InvalidSql, match="nothing"):
            engine.inspect(Statement(sql), lake.state)


def test_a_tag_names_a_version_and_a_plan_stays_with_it_when_the_tag_moves(lake, engine):
    lake.commit("birds", BIRDS.slice(0, 1))
    lake.tag("birds", "golden", 0)
    statement = Statement('SELECT b.name FROM "birds@Golden" AS b ORDER BY name')
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
