"""Results that make way for the next statement of their connection."""

import pyarrow as pa
import pytest

from flight_core.adapters.engines.duckdb import spool
from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.domain.errors import OutOfDisk, QueryFailed
from flight_core.domain.query import Statement
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from tests.fakes.lake import FakeLake

ROWS = "SELECT i, repeat('x', 100) AS s, ('k' || i % 3)::ENUM('k0', 'k1', 'k2') AS e FROM range(400000) t(i)"


@pytest.fixture
def lake(tmp_path):
    folder = tmp_path / "lake"
    folder.mkdir()
    return FakeLake(folder)


@pytest.fixture
def session(tmp_path, lake):
    engine = DuckDbEngine(DuckDbOptions(None, (lake.folder,), tmp_path / "temp"), lake)
    made = engine.open_session()
    yield made
    made.close()
    engine.close()


@pytest.mark.parametrize("memory_bytes", [1 << 30, 1 << 20, 0], ids=["memory", "both", "disk"])
def test_a_result_read_halfway_goes_on_after_another_statement(session, lake, monkeypatch, memory_bytes):
    monkeypatch.setattr(spool, "MEMORY_BYTES", memory_bytes)
    query = session.plan(Statement(ROWS), lake.state)
    batches = iter(query)
    first = next(batches)
    session.execute(Statement("CREATE TEMP TABLE t AS SELECT 1 AS i"), lake.state)
    table = pa.Table.from_batches([first, *batches])
    query.close()
    assert table.column("i").to_pylist() == list(range(400_000))
    assert table.schema == query.schema
    assert table.column("e")[399_999].as_py() == "k0"


def test_a_result_not_read_at_all_shows_what_was_there_when_it_was_planned(session, lake):
    session.execute(Statement("CREATE TEMP TABLE t AS SELECT 1 AS i"), lake.state)
    query = session.plan(Statement("FROM t"), lake.state)
    session.execute(Statement("DELETE FROM t"), lake.state)
    assert pa.Table.from_batches(query).to_pylist() == [{"i": 1}]
    query.close()


def test_a_failure_is_told_to_its_own_reader_and_not_to_the_next_statement(session, lake):
    number = "CAST(CASE WHEN i = 7900000 THEN 'x' ELSE '1' END AS INTEGER)"
    failing = f"SELECT {number} AS n FROM range(8000000) t(i)"
    query = session.plan(Statement(failing), lake.state)
    batches = iter(query)
    next(batches)
    assert session.execute(Statement("SELECT 1 AS i"), lake.state).table.to_pylist() == [{"i": 1}]
    with pytest.raises(QueryFailed):
        list(batches)
    query.close()


def test_what_is_too_large_to_be_kept_is_refused_to_its_reader_only(session, lake, monkeypatch):
    monkeypatch.setattr(spool, "MEMORY_BYTES", 0)
    monkeypatch.setattr(spool, "DISK_BYTES", 1 << 20)
    query = session.plan(Statement(ROWS), lake.state)
    session.execute(Statement("CREATE TEMP TABLE t AS SELECT 1 AS i"), lake.state)
    with pytest.raises(OutOfDisk, match="connection for each"):
        list(query)
    query.close()


def test_a_closed_result_leaves_no_file_behind(session, lake, monkeypatch, tmp_path):
    monkeypatch.setattr(spool, "MEMORY_BYTES", 0)
    query = session.plan(Statement(ROWS), lake.state)
    session.execute(Statement("CREATE TEMP TABLE t AS SELECT 1 AS i"), lake.state)
    next(iter(query))
    query.close()
    left = [path for path in (tmp_path / "temp").rglob("*") if path.is_file()]
    assert left == []
