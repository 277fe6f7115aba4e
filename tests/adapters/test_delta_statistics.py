"""Column statistics are DuckDB's own answers, or they are None."""

from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.domain.dataset import WriteMode, WriteRule

NAN = float("nan")


@pytest.fixture
def store(tmp_path):
    return DeltaTableStore(tmp_path / "lake")


def write(store, *tables, mode=WriteMode.APPEND):
    for table in tables:
        staged = store.stage("d", table.schema, WriteRule(mode))
        for batch in table.to_batches():
            staged.write(batch)
        version = staged.commit()
        staged.close()
    return version


def adopt(store, frame):
    staged = store.stage("d", None, WriteRule(WriteMode.APPEND))
    path = staged.folder / "part.parquet"
    frame.lazy().sink_parquet(path)
    staged.adopt([path])
    version = staged.commit()
    staged.close()
    return version


def statistics(store, version):
    return {column.name: column for column in store.statistics(version.ref)}


def bounds(store, version, name="c"):
    column = statistics(store, version)[name]
    return column.null_count, column.minimum, column.maximum


@pytest.mark.parametrize(
    "values",
    [
        pa.array([3, None, -1], pa.int8()),
        pa.array([2**63 - 1, -(2**63)], pa.int64()),
        pa.array([1.5, None, -0.0], pa.float64()),
        pa.array([float("inf"), -1.0], pa.float32()),
        pa.array(["b", "", None, "ž"], pa.string()),
        pa.array([True, None], pa.bool_()),
        pa.array([Decimal("-1.50"), Decimal("2.25")], pa.decimal128(30, 2)),
        pa.array([date(1999, 12, 31), None], pa.date32()),
        pa.array([datetime(2026, 1, 1, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
        pa.array([0, 5], pa.timestamp("us")),
        pa.array([None, None], pa.int32()),
        pa.array([], pa.int32()),
    ],
    ids=lambda values: f"{values.type}-{len(values)}",
)
def test_counts_and_bounds_are_those_of_a_query(store, values):
    version = write(store, pa.table({"c": values}))
    files = list(store.files(version.ref).uris)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        asked = connection.sql(
            f"SELECT count(*) - count(c) AS nulls, min(c) AS low, max(c) AS high FROM read_parquet({files!r})"
        ).to_arrow_table()
    [expected] = asked.to_pylist()
    assert bounds(store, version) == (expected["nulls"], expected["low"], expected["high"])


def test_they_span_all_files_of_the_version_and_no_others(store):
    first = write(store, pa.table({"c": [5, None]}))
    second = write(store, pa.table({"c": [-7]}), pa.table({"c": [9, None]}))
    assert bounds(store, first) == (1, 5, 5)
    assert bounds(store, second) == (2, -7, 9)
    assert bounds(store, write(store, pa.table({"c": [0]}), mode=WriteMode.REPLACE)) == (0, 0, 0)


def test_a_nan_anywhere_makes_the_bounds_unknown_until_the_rows_are_replaced(store):
    """To SQL a NaN is the largest number; Parquet leaves it out."""
    version = write(store, pa.table({"c": [1.0, NAN]}), pa.table({"c": [2.0]}))
    assert bounds(store, version) == (0, None, None)
    assert bounds(store, write(store, pa.table({"c": [3.0]}), mode=WriteMode.REPLACE)) == (0, 3.0, 3.0)


def test_a_nan_in_a_file_of_another_writer_is_found_as_well(store):
    assert bounds(store, adopt(store, pl.DataFrame({"c": [1.0, 2.0]}))) == (0, 1.0, 2.0)
    assert bounds(store, adopt(store, pl.DataFrame({"c": [3.0, NAN]}))) == (0, None, None)


def test_texts_that_a_writer_may_have_cut_have_no_bounds(store):
    assert bounds(store, adopt(store, pl.DataFrame({"c": ["a", "b" * 50]}))) == (0, "a", "b" * 50)
    assert bounds(store, adopt(store, pl.DataFrame({"c": ["é" * 100]}))) == (0, None, None)


def test_our_own_files_hold_long_texts_uncut_or_not_at_all(store):
    assert bounds(store, write(store, pa.table({"c": ["x" * 1000, "y"]}))) == (0, "x" * 1000, "y")
    assert bounds(store, write(store, pa.table({"c": ["x" * 100_000]}))) == (0, None, None)


@pytest.mark.parametrize("type", [pa.list_(pa.int64()), pa.struct([("a", pa.int64())]), pa.binary()], ids=str)
def test_types_without_an_order_have_no_bounds(store, type):
    version = write(store, pa.table({"c": pa.array([None], type), "d": [1]}))
    assert bounds(store, version)[1:] == (None, None)
    assert bounds(store, version, "d") == (0, 1, 1)


def test_a_moment_that_python_cannot_say_is_unknown(store):
    version = write(store, pa.table({"c": pa.array([2**62], pa.timestamp("us"))}))
    assert bounds(store, version) == (0, None, None)


def test_columns_are_told_in_order_with_type_and_size(store):
    version = write(store, pa.table({"n": pa.array([1], pa.uint8()), "s": ["x"], "l": [[1, 2]]}))
    columns = store.statistics(version.ref)
    assert [(column.name, column.type, column.nullable) for column in columns] == [
        ("n", "int16", True),
        ("s", "string", True),
        ("l", "list<element: int64>", True),
    ]
    assert all(column.size_bytes > 0 for column in columns)
    assert sum(column.size_bytes for column in columns) < version.size_bytes


@given(
    st.lists(
        st.lists(st.none() | st.floats(allow_nan=True, width=32), min_size=1, max_size=4),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=40)
def test_bounds_of_numbers_are_exact_or_unknown(tmp_path_factory, parts):
    store = DeltaTableStore(tmp_path_factory.mktemp("lake"))
    version = write(store, *(pa.table({"c": pa.array(part, pa.float32())}) for part in parts))
    values = [value for part in parts for value in part if value is not None]
    nulls = sum(value is None for part in parts for value in part)
    if any(value != value for value in values):
        assert bounds(store, version) == (nulls, None, None)
    else:
        assert bounds(store, version) == (nulls, min(values, default=None), max(values, default=None))
