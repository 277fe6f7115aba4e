"""Whole columns read past DuckDB: the same rows and types, and none of its freedoms lost."""

import threading
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight_core.adapters.engines.duckdb import engine as engine_module
from flight_core.adapters.engines.duckdb.engine import DuckDbEngine, pays
from flight_core.adapters.engines.duckdb.plain_scan import PlainScan
from flight_core.domain.errors import Cancelled, QueryFailed
from flight_core.domain.query import Statement, quoted
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from tests.fakes.lake import FakeLake

ROWS = 150_000
TABLE = pa.table(
    {
        "id": pa.array(range(ROWS), pa.int64()),
        "Small": pa.array([i % 100 if i % 7 else None for i in range(ROWS)], pa.int8()),
        "real": pa.array([float("nan") if i % 11 == 0 else i / 3 for i in range(ROWS)]),
        "flag": pa.array([i % 2 == 0 for i in range(ROWS)]),
        "price": pa.array([Decimal(i) / 100 for i in range(ROWS)], pa.decimal128(15, 2)),
        "mode": pa.array([("AIR", "RAIL", None)[i % 3] for i in range(ROWS)]),
        "note": pa.array([f"note {i}" for i in range(ROWS)]),
        "raw": pa.array([bytes([i % 256]) for i in range(ROWS)]),
        "day": pa.array([date(2026, 1, 1 + i % 28) for i in range(ROWS)]),
        "at": pa.array([i * 1_000_003 for i in range(ROWS)], pa.timestamp("us")),
    }
)

_LARGE = {pa.utf8(): pa.large_utf8(), pa.binary(): pa.large_binary()}
AS_POLARS_STORES_IT = pa.schema(
    [field.with_type(_LARGE.get(field.type, field.type)) for field in TABLE.schema]
)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> FakeLake:
    folder = tmp_path_factory.mktemp("lake")
    made = FakeLake(folder)
    made.commit("t", TABLE.slice(0, 100_000))
    made.commit("t", TABLE.slice(100_000), append=True, stored_as=AS_POLARS_STORES_IT)
    made.commit("nested", pa.table({"tags": [["a"], []], "x": [1, 2]}))
    return made


@pytest.fixture(scope="module")
def engine(lake: FakeLake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDbEngine]:
    folder = tmp_path_factory.mktemp("engine")
    made = DuckDbEngine(DuckDbOptions(None, (lake.folder,), folder), lake)  # type: ignore[arg-type] # a fake
    yield made
    made.close()


@pytest.fixture(autouse=True, scope="module")
def always():
    """Whatever can be read from the files is, whether it is the faster way or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, "pays", lambda *_: True)
        yield


@pytest.mark.parametrize(
    ("type_", "options", "expected"),
    [
        (pa.int64(), {}, True),
        (pa.decimal128(15, 2), {"narrow_decimals": True}, False),
        (pa.utf8(), {}, False),
        (pa.utf8(), {"dictionaries": True, "narrow_decimals": True}, True),
    ],
)
def test_files_are_read_without_duckdb_where_that_was_measured_to_be_faster(type_, options, expected):
    assert pays(Statement("FROM t", **options), pa.schema([("a", type_)])) is expected


def read(engine: DuckDbEngine, lake: FakeLake, sql: str, **options: object) -> tuple[type, pa.Table]:
    query = engine.plan(Statement(sql, **options), lake.state)  # type: ignore[arg-type]
    try:
        return type(query), pa.Table.from_batches(list(query), query.schema)
    finally:
        query.close()


def as_duckdb_reads(engine: DuckDbEngine, lake: FakeLake, sql: str, **options: object) -> pa.Table:
    """The same through DuckDB, which a condition that is always true takes it to."""
    kind, table = read(engine, lake, f"{sql} WHERE true", **options)
    assert kind is not PlainScan
    return table


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    columns=st.lists(st.sampled_from(TABLE.schema.names), min_size=1, max_size=4),
    limit=st.none() | st.integers(0, ROWS + 10),
    narrow=st.booleans(),
)
def test_columns_are_what_duckdb_reads(engine, lake, columns, limit, narrow):
    sql = f"SELECT {', '.join(map(quoted, columns))} FROM t"
    kind, table = read(engine, lake, sql, row_limit=limit, narrow_decimals=narrow)
    assert kind is PlainScan or (narrow and "raw" in columns)  # which DuckDB then tells as another type
    expected = as_duckdb_reads(engine, lake, sql, row_limit=limit, narrow_decimals=narrow)
    assert table.schema == expected.schema
    assert comparable(table).equals(comparable(expected))


def comparable(table: pa.Table) -> pa.Table:
    """As text where there are NaNs, which equal nothing."""
    types = [pa.utf8() if pa.types.is_floating(field.type) else field.type for field in table.schema]
    return pa.table(
        [column.cast(type_) for column, type_ in zip(table.columns, types, strict=True)], table.schema.names
    )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM t",
        "FROM t",
        "SELECT id AS number, mode FROM datasets.t",
        "SELECT SMALL FROM lake.datasets.t",
        'SELECT * FROM "t@v0"',
        "SELECT id, id FROM t AS alias",
    ],
)
def test_plain_statements_are_read_from_the_files(engine, lake, sql):
    kind, table = read(engine, lake, sql)
    assert kind is PlainScan
    expected = as_duckdb_reads(engine, lake, sql)
    assert table.schema.types == expected.schema.types
    assert table.num_rows == expected.num_rows


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id + 1 FROM t",
        "SELECT id FROM t WHERE id > 3",
        "SELECT DISTINCT mode FROM t",
        "SELECT id FROM t ORDER BY id DESC LIMIT 3",
        "SELECT id FROM t LIMIT 3",
        "SELECT * EXCLUDE (id) FROM t",
        "SELECT * REPLACE (1 AS id) FROM t",
        "SELECT COLUMNS('i.*') FROM t",
        "SELECT count(*) FROM t",
        "SELECT id FROM t USING SAMPLE 10",
        "SELECT a FROM t AS x(a)",
        "WITH t AS (SELECT 1 AS id) SELECT id FROM t",
        "SELECT id FROM t UNION ALL SELECT id FROM t",
        "SELECT t.id FROM t, range(2)",
        "SELECT tags FROM nested",
    ],
)
def test_anything_else_is_for_duckdb(engine, lake, sql):
    assert read(engine, lake, sql)[0] is not PlainScan


def test_a_table_of_the_users_that_hides_a_dataset_is_what_its_name_means(engine, lake):
    session = engine.open_session()
    lake_without = FakeLake(lake.folder)
    session.execute(Statement("CREATE TABLE late AS SELECT 'mine' AS id"), lake_without.state)
    session.close()
    lake.commit("late", pa.table({"id": ["the dataset's"]}))
    assert read(engine, lake, "SELECT id FROM late")[1].to_pylist() == [{"id": "mine"}]
    assert read(engine, lake, "SELECT id FROM datasets.late")[1].to_pylist() == [{"id": "the dataset's"}]


def test_tables_of_the_users_are_noticed_from_their_commit_to_their_end(engine, lake):
    def reads_the_dataset() -> bool:
        query = engine.plan(Statement("SELECT count(*) FROM hidden"), lake.state)
        try:
            return query.fingerprint is not None
        finally:
            query.close()

    session = engine.open_session()
    session.execute(Statement("BEGIN"), lake.state)
    session.execute(Statement("CREATE TABLE hidden AS SELECT 1 AS x"), FakeLake(lake.folder).state)
    lake.commit("hidden", pa.table({"x": [1, 2]}))
    assert reads_the_dataset()
    session.execute(Statement("COMMIT"), lake.state)
    assert not reads_the_dataset()
    assert not reads_the_dataset()
    session.execute(Statement("DROP TABLE hidden"), lake.state)
    assert reads_the_dataset()
    session.close()


def test_dictionaries_come_as_the_files_hold_them(engine, lake):
    kind, table = read(engine, lake, "SELECT mode, note, id, raw FROM t", dictionaries=True)
    assert kind is PlainScan
    assert table.schema.types == [pa.dictionary(pa.int32(), pa.utf8()), pa.utf8(), pa.int64(), pa.binary()]
    assert table["raw"].to_pylist() == TABLE["raw"].to_pylist()
    assert table["mode"].cast(pa.utf8()).to_pylist() == TABLE["mode"].to_pylist()


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name == "skein-scan"}


def test_a_scan_is_cancelled_closed_and_left_without_a_thread(engine, lake):
    for stop in ("cancel", "close"):
        query = engine.plan(Statement("FROM t"), lake.state)
        batches = iter(query)
        next(batches)
        getattr(query, stop)()
        with pytest.raises(Cancelled):
            list(batches)
        query.close()
        query.close()
        assert not threads()
    unread = engine.plan(Statement("FROM t"), lake.state)
    unread.cancel()
    with pytest.raises(Cancelled):
        list(unread)
    unread.close()
    assert not threads()


def test_a_file_that_is_gone_is_told_without_its_path(lake, tmp_path: Path):
    folder = tmp_path / "lake"
    folder.mkdir()
    own = FakeLake(folder)
    own.commit("t", TABLE.slice(0, 10))
    engine = DuckDbEngine(DuckDbOptions(None, (folder,), tmp_path / "engine"), own)  # type: ignore[arg-type] # a fake
    try:
        query = engine.plan(Statement("FROM t"), own.state)
        assert isinstance(query, PlainScan)
        for path in folder.iterdir():
            path.unlink()
        with pytest.raises(QueryFailed) as caught:
            list(query)
        query.close()
        assert str(tmp_path) not in str(caught.value)
    finally:
        engine.close()
