"""Prepared statements and their parameters."""

import datetime as dt
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.flight_sql.sql_pb2 import CommandPreparedStatementQuery
from tests.protocol.raw_flight_sql import schema_of
from tests.stack import Stack


@pytest.fixture(scope="module")
def stack(stack: Stack) -> Stack:
    stack.write("birds", pa.table({"name": ["goose", "duck"], "weight_kg": [3.5, 1.1]}))
    return stack


@pytest.fixture(scope="module")
def client(stack: Stack):
    with stack.raw() as made:
        yield made


def run(client, sql: str, *columns: pa.Array) -> pa.Table:
    prepared = client.prepare(sql)
    names = [str(index) for index in range(len(columns))]
    handle = client.bind(prepared.prepared_statement_handle, pa.table(list(columns), names=names))
    return client.fetch(client.run_prepared(handle))


def test_preparing_a_select_tells_result_and_parameters(client):
    prepared = client.prepare("SELECT name, weight_kg AS w FROM birds WHERE weight_kg > ? AND name <> ?")
    assert schema_of(prepared.dataset_schema) == pa.schema([("name", pa.utf8()), ("w", pa.float64())])
    assert schema_of(prepared.parameter_schema) == pa.schema([("1", pa.null()), ("2", pa.null())])
    assert prepared.HasField("is_update")
    assert not prepared.is_update


def test_preparing_dml_or_ddl_tells_that_it_is_an_update(client):
    client.execute("CREATE OR REPLACE TABLE prepared (i INTEGER)")
    for sql in ("INSERT INTO prepared VALUES (?)", "CREATE TABLE never (i INTEGER)", "SET VARIABLE x = 1"):
        prepared = client.prepare(sql)
        assert prepared.is_update
        assert schema_of(prepared.dataset_schema) == pa.schema([])
    assert client.rows("SELECT count(*) FROM prepared") == [(0,)]


def test_preparing_dml_with_returning_tells_the_rows_it_gives(client):
    client.execute("CREATE OR REPLACE TABLE returned (i INTEGER, s VARCHAR)")
    prepared = client.prepare("INSERT INTO returned VALUES (?, ?) RETURNING s, i + 1 AS j")
    assert not prepared.is_update
    assert schema_of(prepared.dataset_schema).names == ["s", "j"]


def test_a_prepared_select_runs_again_and_again(client):
    prepared = client.prepare("SELECT 6 * 7 AS answer")
    for _ in range(3):
        info = client.run_prepared(prepared.prepared_statement_handle)
        assert client.fetch(info).to_pylist() == [{"answer": 42}]


def test_binding_keeps_the_handle_and_the_last_one_counts(client):
    handle = client.prepare("SELECT ? AS x").prepared_statement_handle
    assert client.bind(handle, pa.table({"0": [1]})) == handle
    assert client.bind(handle, pa.table({"0": [2]})) == handle
    assert client.fetch(client.run_prepared(handle)).to_pylist() == [{"x": 2}]


@pytest.mark.parametrize(
    "values", [pa.array([1]), pa.array(["a", None]), pa.array([None], pa.timestamp("ns"))]
)
def test_the_schema_of_a_bound_statement_is_that_of_what_it_gives(client, values):
    handle = client.prepare("SELECT ? AS x, [$1] AS xs").prepared_statement_handle
    client.bind(handle, pa.table({"0": values}))
    table = client.fetch(client.run_prepared(handle))
    assert table.schema.field("x").type == values.type
    assert client.schema(CommandPreparedStatementQuery(prepared_statement_handle=handle)) == table.schema


def test_several_rows_of_parameters_give_the_results_one_after_the_other(client):
    sql = "SELECT name, ? AS n FROM birds WHERE weight_kg > ? ORDER BY name"
    table = run(client, sql, pa.array([1, 2, 3]), pa.array([0.0, 2.0, 100.0]))
    assert table.to_pylist() == [
        {"name": "duck", "n": 1},
        {"name": "goose", "n": 1},
        {"name": "goose", "n": 2},
    ]


def test_named_parameters_are_bound_by_name_or_else_by_position(client):
    handle = client.prepare("SELECT $b AS b, $a AS a, $b AS b2").prepared_statement_handle
    prepared = client.prepare("SELECT $b AS b, $a AS a, $b AS b2")
    assert schema_of(prepared.parameter_schema).names == ["b", "a"]
    client.bind(handle, pa.table({"a": [1], "b": [2]}))
    assert client.fetch(client.run_prepared(handle)).to_pylist() == [{"b": 2, "a": 1, "b2": 2}]
    client.bind(handle, pa.table({"0": [1], "1": [2]}))
    assert client.fetch(client.run_prepared(handle)).to_pylist() == [{"b": 1, "a": 2, "b2": 1}]


def test_numbered_parameters_may_come_in_any_order(client):
    table = run(client, "SELECT $2 AS second, $1 AS first", pa.array(["a"]), pa.array(["b"]))
    assert table.to_pylist() == [{"second": "b", "first": "a"}]


def test_a_question_mark_in_a_text_is_no_parameter(client):
    table = run(
        client, "SELECT '?' AS q, ? AS p -- ?\n, $$ ? $$ AS d", pa.array([pa.scalar(None, pa.int16())])
    )
    assert table.schema.field("p").type == pa.int16()
    assert table.to_pylist() == [{"q": "?", "p": None, "d": " ? "}]


EXACT = [
    pa.array([True]),
    pa.array([-128], pa.int8()),
    pa.array([-32768], pa.int16()),
    pa.array([-(2**31)], pa.int32()),
    pa.array([-(2**63)], pa.int64()),
    pa.array([255], pa.uint8()),
    pa.array([65535], pa.uint16()),
    pa.array([2**32 - 1], pa.uint32()),
    pa.array([2**64 - 1], pa.uint64()),
    pa.array([0.1], pa.float32()),
    pa.array([1e308]),
    pa.array([float("-inf")]),
    pa.array(["naïve 🦆 \x00 '\""]),
    pa.array([""]),
    pa.array([b"\x00\xff"]),
    pa.array([pa.scalar("0.0000000001").cast(pa.decimal128(38, 10))]),
    pa.array([dt.date(1, 1, 1)]),
    pa.array([-1_000_000], pa.int32()).cast(pa.date32()),
    pa.array([1], pa.time64("us")),
    pa.array([1], pa.time64("ns")),
    pa.array([1], pa.timestamp("s")),
    pa.array([1], pa.timestamp("ms")),
    pa.array([-1], pa.timestamp("us")),
    pa.array([9223372036854775807], pa.timestamp("us")),  # infinity
    pa.array([1577836800123456789], pa.timestamp("ns")),
    pa.array([pa.MonthDayNano([14, -3, 5_000])]),
    pa.array([[1, None, 3]], pa.list_(pa.field("l", pa.int32()))),
    pa.array([[]], pa.list_(pa.field("l", pa.int64()))),
    pa.array([[[1577836800123456789]]], pa.list_(pa.field("l", pa.list_(pa.field("l", pa.timestamp("ns")))))),
    pa.array([[1, 2]], pa.list_(pa.field("", pa.int8()), 2)),
    pa.array([{"a": 1, "b": None}], pa.struct([("a", pa.int8()), ("b", pa.utf8())])),
    pa.array([{"t": 1, "s": "it's \\ {x}"}], pa.struct([("t", pa.timestamp("ns")), ("s", pa.utf8())])),
    pa.array([[("k", 1), ("z", None)]], pa.map_(pa.utf8(), pa.int32())),
    pa.array([[("k", [b"\x00'"])]], pa.map_(pa.utf8(), pa.list_(pa.field("l", pa.binary())))),
    pa.array([None], pa.int8()),
    pa.array([None], pa.utf8()),
    pa.array([None], pa.timestamp("ns")),
    pa.array([None], pa.decimal128(9, 2)),
    pa.array([None], pa.list_(pa.field("l", pa.int32()))),
    pa.array([None], pa.null()),
]


@pytest.mark.parametrize("value", EXACT, ids=lambda value: f"{value.type}")
def test_a_parameter_comes_back_as_it_was_sent(client, value):
    column = run(client, "SELECT ? AS x", value).column("x")
    assert column.type == value.type
    assert column.combine_chunks().equals(value)


@pytest.mark.parametrize("value", EXACT, ids=lambda value: f"{value.type}")
def test_a_parameter_is_stored_as_it_was_sent(client, value):
    (name,) = duckdb.from_arrow(pa.table({"x": value})).types
    client.execute(f"CREATE OR REPLACE TABLE stored (x {name})")
    handle = client.prepare("INSERT INTO stored VALUES (?)").prepared_statement_handle
    assert client.update_prepared(handle, pa.table({"0": value})) == 1
    assert client.query("FROM stored").column("x").combine_chunks().equals(value)


CONVERTED = [
    (pa.array(["x"], pa.large_utf8()), pa.utf8()),
    (pa.array(["x"], pa.string_view()), pa.utf8()),
    (pa.array([b"x"], pa.large_binary()), pa.binary()),
    (pa.array([b"xy"], pa.binary(2)), pa.binary()),
    (pa.array([1.5], pa.float16()), pa.float32()),
    (pa.array([dt.date(2020, 2, 29)], pa.date64()), pa.date32()),
    (pa.array([5], pa.time32("s")), pa.time64("us")),
    (pa.array(["x"]).dictionary_encode(), pa.utf8()),
    (pa.array([[1]], pa.large_list(pa.int8())), pa.list_(pa.field("l", pa.int8()))),
    (pa.array([Decimal(4200)], pa.decimal128(5, -2)), pa.decimal128(7, 0)),
    (pa.array([Decimal("1.25")], pa.decimal256(9, 2)), pa.decimal128(9, 2)),
    (pa.array([None], pa.decimal128(2, 5)), pa.decimal128(5, 5)),
]


@pytest.mark.parametrize(("value", "type"), CONVERTED, ids=lambda value: str(getattr(value, "type", value)))
def test_other_encodings_of_a_value_arrive_as_duckdb_has_them(client, value, type):
    column = run(client, "SELECT ? AS x", value).column("x")
    assert column.type == type
    assert column.to_pylist() == value.to_pylist()


def test_a_moment_with_a_time_zone_stays_the_same_moment(client):
    value = pa.array([1577836800123456], pa.timestamp("us", "America/New_York"))
    column = run(client, "SELECT ? AS x", value).column("x")
    assert column.type.tz is not None
    assert column.cast(pa.int64()).to_pylist() == [1577836800123456]


def test_values_wrapped_in_unions_are_unwrapped(client):
    """flightsql-dbapi sends each value that way."""
    wrapped = pa.UnionArray.from_dense(
        pa.array([1], pa.int8()),
        pa.array([0], pa.int32()),
        [pa.array([], pa.utf8()), pa.array([7])],
        ["s", "i"],
    )
    assert run(client, "SELECT ? + 1 AS x", wrapped).to_pylist() == [{"x": 8}]


def test_updates_run_once_a_row_and_sum_the_counts(client):
    client.execute("CREATE OR REPLACE TABLE summed AS SELECT i % 3 AS k, i FROM range(9) t(i)")
    handle = client.prepare("UPDATE summed SET i = ? WHERE k = ?").prepared_statement_handle
    assert client.update_prepared(handle, pa.table({"0": [100, 200], "1": [0, 1]})) == 6
    assert client.rows("SELECT k, max(i) FROM summed GROUP BY k ORDER BY k") == [(0, 100), (1, 200), (2, 8)]


def test_an_update_without_parameters_runs_once(client):
    client.execute("CREATE OR REPLACE TABLE single (i INTEGER)")
    handle = client.prepare("INSERT INTO single VALUES (1)").prepared_statement_handle
    assert client.update_prepared(handle) == 1
    assert client.update_prepared(handle, pa.table({})) == 1
    assert client.rows("SELECT count(*) FROM single") == [(2,)]


def test_an_update_with_no_rows_of_parameters_changes_nothing(client):
    client.execute("CREATE OR REPLACE TABLE empty (i INTEGER)")
    handle = client.prepare("INSERT INTO empty VALUES (?)").prepared_statement_handle
    assert client.update_prepared(handle, pa.table({"0": pa.array([], pa.int32())})) == 0
    assert client.rows("SELECT count(*) FROM empty") == [(0,)]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO strict VALUES (?)",
        "INSERT INTO strict SELECT ?",
    ],
)
def test_rows_of_parameters_are_all_applied_or_none(client, sql):
    client.execute("CREATE OR REPLACE TABLE strict (i INTEGER CHECK (i < 10))")
    handle = client.prepare(sql).prepared_statement_handle
    with pytest.raises(pa.ArrowInvalid, match="CHECK"):
        client.update_prepared(handle, pa.table({"0": [1, 2, 30, 4]}))
    assert client.rows("SELECT count(*) FROM strict") == [(0,)]


def test_rows_that_touch_the_same_key_are_applied_in_order(client):
    client.execute("CREATE OR REPLACE TABLE keyed (k INTEGER PRIMARY KEY, v VARCHAR)")
    sql = "INSERT INTO keyed VALUES (?, ?) ON CONFLICT DO UPDATE SET v = excluded.v"
    handle = client.prepare(sql).prepared_statement_handle
    client.update_prepared(handle, pa.table({"0": [1, 1, 2], "1": ["a", "b", "c"]}))
    assert client.rows("FROM keyed ORDER BY k") == [(1, "b"), (2, "c")]


def test_expressions_around_parameters_are_kept_for_many_rows(client):
    client.execute("CREATE OR REPLACE TABLE shaped (a VARCHAR, b INTEGER, c VARCHAR DEFAULT 'c')")
    handle = client.prepare("INSERT INTO shaped (b, a) VALUES (? * 2, upper(?))").prepared_statement_handle
    assert client.update_prepared(handle, pa.table({"0": [1, 2], "1": ["x", "y"]})) == 2
    assert client.rows("FROM shaped ORDER BY b") == [("X", 2, "c"), ("Y", 4, "c")]


def test_ten_thousand_rows_are_inserted_at_once(client):
    client.execute("CREATE OR REPLACE TABLE bulk (i BIGINT, s VARCHAR)")
    handle = client.prepare("INSERT INTO bulk VALUES (?, ?)").prepared_statement_handle
    rows = pa.table({"0": range(10_000), "1": [str(i) for i in range(10_000)]})
    assert client.update_prepared(handle, rows) == 10_000
    assert client.query("FROM bulk ORDER BY i").equals(rows.rename_columns(["i", "s"]))


def test_the_wrong_number_of_parameters_is_refused(client):
    handle = client.prepare("SELECT ?, ?").prepared_statement_handle
    with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_parameters\].*2 parameters"):
        client.bind(handle, pa.table({"0": [1]}))
    with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_parameters\]"):
        client.run_prepared(handle)


def test_a_closed_statement_is_gone(client):
    handle = client.prepare("SELECT 1").prepared_statement_handle
    client.close_prepared(handle)
    with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
        client.run_prepared(handle)
    client.close_prepared(handle)


def test_a_handle_works_on_another_connection_of_the_same_user(client, stack):
    handle = client.prepare("SELECT 5 AS x").prepared_statement_handle
    with stack.raw() as other:
        assert other.fetch(other.run_prepared(handle)).to_pylist() == [{"x": 5}]


def test_a_thousand_statements_stay_prepared(client):
    handles = [client.prepare(f"SELECT {i} AS i").prepared_statement_handle for i in range(1000)]
    assert len(set(handles)) == 1000
    assert client.fetch(client.run_prepared(handles[7])).to_pylist() == [{"i": 7}]
    for handle in handles:
        client.close_prepared(handle)


# --- any type at all ---


def leaves() -> st.SearchStrategy[pa.DataType]:
    return st.sampled_from(
        [
            pa.bool_(),
            pa.int8(),
            pa.int64(),
            pa.uint64(),
            pa.float64(),
            pa.utf8(),
            pa.binary(),
            pa.date32(),
            pa.time64("us"),
            pa.timestamp("us"),
            pa.timestamp("ns"),
            pa.decimal128(18, 3),
        ]
    )


def types() -> st.SearchStrategy[pa.DataType]:
    return st.recursive(
        leaves(),
        lambda inner: st.one_of(
            inner.map(lambda kind: pa.list_(pa.field("l", kind))),
            st.lists(inner, min_size=1, max_size=3).map(
                lambda types: pa.struct([(f"f{i}", type) for i, type in enumerate(types)])
            ),
            inner.map(lambda kind: pa.map_(pa.utf8(), kind)),
        ),
        max_leaves=4,
    )


def values(type: pa.DataType) -> st.SearchStrategy[object]:
    return st.none() | _values(type)


def _values(type: pa.DataType) -> st.SearchStrategy[object]:
    if pa.types.is_map(type):
        keys = st.text(max_size=5)
        return st.dictionaries(keys, values(type.item_type), max_size=3).map(lambda d: list(d.items()))
    if pa.types.is_list(type):
        return st.lists(values(type.value_type), max_size=3)
    if pa.types.is_struct(type):
        return st.fixed_dictionaries({field.name: values(field.type) for field in type})
    if pa.types.is_integer(type):
        low, high = {"int8": (-(2**7), 2**7 - 1), "int64": (-(2**63), 2**63 - 1)}.get(
            str(type), (0, 2**64 - 1)
        )
        return st.integers(low, high)
    simple: dict[str, st.SearchStrategy[object]] = {
        "bool": st.booleans(),
        "double": st.floats(allow_nan=False),
        "string": st.text(max_size=20),
        "binary": st.binary(max_size=20),
        "date32[day]": st.dates(),
        "time64[us]": st.times(),
        "timestamp[us]": st.datetimes(),
        "timestamp[ns]": st.integers(-(2**62), 2**62),
        "decimal128(18, 3)": st.decimals(-(10**14), 10**14, places=3),
    }
    return simple[str(type)]


columns = types().flatmap(
    lambda kind: st.lists(values(kind), min_size=1, max_size=4).map(lambda items: pa.array(items, kind))
)


@settings(
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(column=columns)
def test_any_column_makes_the_round_trip_as_parameter_and_as_rows(client, column):
    one = column.slice(0, 1)
    assert run(client, "SELECT ? AS x", one).column("x").combine_chunks().equals(one)
    (name,) = duckdb.from_arrow(pa.table({"x": column})).types
    client.execute(f"CREATE OR REPLACE TABLE any_type (x {name})")
    handle = client.prepare("INSERT INTO any_type VALUES (?)").prepared_statement_handle
    assert client.update_prepared(handle, pa.table({"0": column})) == len(column)
    assert client.query("FROM any_type").column("x").combine_chunks().equals(column)
