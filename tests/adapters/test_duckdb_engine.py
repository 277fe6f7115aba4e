"""What is special about DuckDB: fatal failures, memory limits, one instance under many threads."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from flight_core.adapters.engines.duckdb import bulk
from flight_core.adapters.engines.duckdb import lake as lake_views
from flight_core.adapters.engines.duckdb.batches import rows_per_batch, value_bytes
from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.application.ports.storage import TableFiles
from flight_core.domain.dataset import VersionRef
from flight_core.domain.errors import (
    DependencyFailed,
    EngineUnavailable,
    FlightCoreError,
    OutOfMemory,
    QueryFailed,
)
from flight_core.domain.query import Statement, row_of
from flight_core.domain.system import SYSTEM_TABLES, no_rows
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from tests.fakes.lake import FakeLake, wide_rows


@pytest.fixture
def lake(tmp_path: Path) -> FakeLake:
    (tmp_path / "lake").mkdir()
    return FakeLake(tmp_path / "lake")


@pytest.fixture
def engine(lake: FakeLake, tmp_path: Path) -> Iterator[DuckDbEngine]:
    options = DuckDbOptions(
        tmp_path / "workspace.duckdb", (lake.folder,), tmp_path / "temp", memory_bytes=200 << 20
    )
    made = DuckDbEngine(options, lake)
    yield made
    made.close()


def count(engine: DuckDbEngine, lake: FakeLake, table: str) -> int:
    query = engine.plan(Statement(f"SELECT count(*) AS n FROM {table}"), lake.state)
    try:
        return next(iter(query)).column(0)[0].as_py()
    finally:
        query.close()


def test_a_fatal_failure_opens_a_new_instance_and_keeps_the_users_tables(engine, lake):
    session = engine.open_session()
    session.execute(Statement("CREATE TABLE kept AS SELECT 1 AS x"), lake.state)
    running = engine.plan(Statement("SELECT i FROM range(10000000) t(i)"), lake.state)
    next(iter(running))
    failures = engine._instance.failures
    with pytest.raises(EngineUnavailable), failures.translated():
        raise duckdb.FatalException("FATAL Error: database has been invalidated")
    assert count(engine, lake, "kept") == 1
    with pytest.raises(EngineUnavailable, match="new session"):
        session.execute(Statement("SELECT 1"), lake.state)
    running.close()
    session.close()


def test_a_query_beyond_the_memory_limit_is_refused_and_the_engine_lives(engine, lake):
    query = engine.plan(
        Statement("SELECT list(repeat('x', 1000) || i) AS l FROM range(1000000) t(i)"), lake.state
    )
    with pytest.raises(OutOfMemory, match="SKEIN_MEMORY_LIMIT"):
        list(query)
    query.close()
    assert count(engine, lake, "range(3)") == 3


def test_readers_see_whole_versions_while_a_writer_commits(engine, lake):
    lake.commit("ticks", pa.table({"n": [0] * 10}))
    stop = threading.Event()
    counts: list[int] = []

    def read() -> None:
        while not stop.is_set():
            counts.append(count(engine, lake, "ticks AS a JOIN ticks AS b ON a.n = b.n"))

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for version in range(1, 40):
            lake.commit("ticks", pa.table({"n": [version] * (10 + version)}))
        stop.set()
        for reader in readers:
            reader.result()
    assert counts
    assert {round(n**0.5) ** 2 for n in counts} == set(counts), (
        "a join of one version with itself is a square"
    )


def test_views_of_pinned_versions_do_not_pile_up(engine, lake, monkeypatch):
    monkeypatch.setattr(lake_views, "_EXACT_KEPT", 3)
    statement = Statement("FROM ticks")
    first = {"ticks": lake.commit("ticks", pa.table({"n": [0]}))}
    for number in range(1, 6):
        latest = {"ticks": lake.commit("ticks", pa.table({"n": [number]}))}
        lake.commit("ticks", pa.table({"n": [-1]}))
        for pins, n in ((latest, number), (first, 0)):
            with closing(engine.plan(statement, lake.state, pins=pins)) as read:
                assert pa.Table.from_batches(list(read)).to_pylist() == [{"n": n}]
    shown = [n for n in range(11) if is_shown(engine, f"ticks@{first['ticks'].dataset_id}@{n}")]
    assert shown == [0, 7, 9]


def is_shown(engine: DuckDbEngine, version: str) -> bool:
    try:
        engine._instance.root.cursor().sql(f'FROM lake_versions.datasets."{version}"')
    except duckdb.CatalogException:
        return False
    return True


def test_a_dataset_whose_files_are_lost_does_not_hurt_the_others(engine, lake):
    lake.commit("good", pa.table({"n": [1, 2]}))
    ref = lake.commit("bad", pa.table({"n": [1]}))
    Path(lake.files(ref).uris[0]).unlink()
    assert count(engine, lake, "good") == 2
    with pytest.raises(FlightCoreError) as caught:
        count(engine, lake, "bad")
    assert str(lake.folder) not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda _: b"no database", lambda it: it[:9000], lambda it: it[::-1]])
def test_a_workspace_that_is_damaged_is_told(lake, tmp_path, damage):
    path = tmp_path / "workspace.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE t AS SELECT range AS i FROM range(10000)")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(EngineUnavailable, match=r"workspace\.duckdb, is damaged, .* put a copy of it back"):
        DuckDbEngine(DuckDbOptions(path, (lake.folder,), tmp_path / "temp"), lake)


def test_two_engines_cannot_open_one_workspace(engine, lake, tmp_path):
    code = f"import duckdb; duckdb.connect({str(tmp_path / 'workspace.duckdb')!r})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "lock" in result.stderr.lower()


@pytest.mark.parametrize(
    ("schema", "rows"),
    [
        (pa.schema([("a", pa.int64())]), 65_536),
        (pa.schema([(f"c{i}", pa.int64()) for i in range(16)]), 16_384),
        (pa.schema([(f"c{i}", pa.float64()) for i in range(1000)]), 2_048),
        (pa.schema([]), 65_536),
    ],
)
def test_batches_are_sized_by_the_width_of_their_rows(schema, rows):
    assert rows_per_batch(schema, 2 << 20) == rows


@pytest.mark.parametrize(
    ("columns", "file_bytes", "expected"),
    [
        ({"a": pa.int64()}, 8_000, 24),  # no values of varying size
        ({"a": pa.int64(), "t": pa.utf8()}, 10_000, 30),
        ({"t": pa.utf8(), "u": pa.list_(pa.int8())}, 1_000_000, 1_500),
        ({"t": pa.utf8()}, 100, 24),
    ],
)
def test_values_are_taken_to_be_as_wide_as_rows_are_in_files(columns, file_bytes, expected):
    ref = VersionRef("d", 0)
    wide = TableFiles(ref, ("a", "b"), pa.schema(columns), (400, 600), (0, file_bytes))
    narrow = TableFiles(ref, ("a",), pa.schema({"t": pa.utf8()}), (1000,), (10,))
    assert value_bytes([narrow, wide]) == expected
    assert value_bytes([]) == 24


def test_sorted_rows_that_are_wide_come_in_batches_of_few(engine, lake):
    lake.commit("pages", wide_rows(5000))
    statement = Statement("FROM pages ORDER BY id DESC")
    session = engine.open_session()
    for query in (engine.plan(statement, lake.state), session.plan(statement, lake.state)):
        assert [batch.num_rows for batch in query] == [2048, 2048, 904]
        query.close()
    session.close()


def test_system_tables_are_read_when_rows_are_wanted_and_not_before(lake, tmp_path):
    asked = []

    def read(table: str) -> pa.Table:
        asked.append(table)
        if table == "jobs":
            raise DependencyFailed("the catalog does not answer")
        return no_rows(table)

    options = DuckDbOptions(None, (lake.folder,), tmp_path / "temp")
    with closing(DuckDbEngine(options, lake, system_table=read)) as engine:
        with closing(engine.plan(Statement("SELECT * FROM skein.versions"), lake.state)) as query:
            assert query.schema.names == SYSTEM_TABLES["versions"].names
            assert (query.fingerprint, asked) == (None, [])
            assert sum(batch.num_rows for batch in query) == 0
        assert asked == ["versions"]
        query = engine.plan(Statement("SELECT * FROM skein.jobs"), lake.state)
        with closing(query), pytest.raises(QueryFailed, match="the catalog does not answer"):
            list(query)


ROWS_OF_PARAMETERS = pa.table(
    {
        "1": pa.array([None, 7, 7, 3, 2, None, 9, 3, -5, *range(24)], pa.int64()),
        "2": ["a", None, "b", "c", "d", "e", "f", "g", "h", *["x"] * 24],
    }
)


@pytest.mark.parametrize("type", [pa.int64(), pa.float16()], ids=str)  # Python has no form for the second
@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (coalesce($1, 0), $2) ON CONFLICT (i) DO UPDATE SET s = excluded.s || t.s[:9]",
        "INSERT OR IGNORE INTO t VALUES (coalesce($1, 0), $2 || 'x')",
        "INSERT INTO t VALUES (coalesce($1, 0) % 25, $2) ON CONFLICT (i) DO NOTHING -- and go on",
        "INSERT INTO t (s, i) VALUES ($2, coalesce($1, 0) + 9) ON CONFLICT DO NOTHING",
        "INSERT INTO log SELECT $1, $2 WHERE $1 > 3",
        "INSERT INTO log VALUES ($1, $2), ((SELECT count(*) FROM log), 'so many')",
        "UPDATE t SET i = i + 1000 * coalesce($1, 1)::BIGINT, s = $2 WHERE i < 1000",
        "DELETE FROM t WHERE i > 2 + (SELECT count(*) FROM t) - coalesce($1, 0) OR s = $2",
        "MERGE INTO t USING (SELECT coalesce($1, 0)::BIGINT AS i) AS n ON t.i = n.i"
        " WHEN MATCHED THEN UPDATE SET s = $2 WHEN NOT MATCHED THEN INSERT VALUES (n.i, $2)",
    ],
    ids=lambda sql: sql[:40],
)
def test_many_rows_of_parameters_do_what_one_after_the_other_does(engine, lake, monkeypatch, sql, type):
    monkeypatch.setattr(bulk, "_PIECE", 5)
    rows = ROWS_OF_PARAMETERS.set_column(0, "1", ROWS_OF_PARAMETERS["1"].cast(type))

    def outcome(run):
        with closing(engine.open_session()) as session:
            session.begin()
            for setup in (
                "CREATE TABLE t (i BIGINT PRIMARY KEY, s VARCHAR)",
                "CREATE TABLE log (i BIGINT, s VARCHAR)",
                "INSERT INTO t SELECT range, 'old' FROM range(20)",
            ):
                session.execute(Statement(setup), lake.state)
            count = run(session)
            tables = [session.execute(Statement(f"FROM {name}"), lake.state).table for name in ("t", "log")]
            session.rollback()
        return count, *(sorted(table.to_pylist(), key=str) for table in tables)

    def one_by_one(session):
        runs = (Statement(sql, row_of(rows, row)) for row in range(rows.num_rows))
        return sum(session.execute(run, lake.state).affected_rows for run in runs)

    many = outcome(lambda session: session.execute_many(sql, rows, lake.state).affected_rows)
    assert many == outcome(one_by_one)
    assert many[0] > 0
