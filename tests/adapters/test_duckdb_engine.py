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

from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.adapters.engines.duckdb.types import rows_per_batch
from flight_core.domain.errors import (
    DependencyFailed,
    EngineUnavailable,
    FlightCoreError,
    OutOfMemory,
    QueryFailed,
)
from flight_core.domain.query import Statement
from flight_core.domain.system import SYSTEM_TABLES, no_rows
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from tests.fakes.lake import FakeLake


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


def test_a_dataset_whose_files_are_lost_does_not_hurt_the_others(engine, lake):
    lake.commit("good", pa.table({"n": [1, 2]}))
    ref = lake.commit("bad", pa.table({"n": [1]}))
    Path(lake.files(ref).uris[0]).unlink()
    assert count(engine, lake, "good") == 2
    with pytest.raises(FlightCoreError) as caught:
        count(engine, lake, "bad")
    assert str(lake.folder) not in str(caught.value)


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
