"""Tables of the users' own hide datasets of their name, and files that are gone are told politely."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.domain.errors import DatasetNotFound, QueryFailed
from flight_core.domain.query import Statement
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from tests.fakes.lake import FakeLake


@pytest.fixture
def lake(tmp_path: Path) -> FakeLake:
    folder = tmp_path / "lake"
    folder.mkdir()
    return FakeLake(folder)


@pytest.fixture
def engine(lake: FakeLake, tmp_path: Path) -> Iterator[DuckDbEngine]:
    made = DuckDbEngine(DuckDbOptions(None, (lake.folder,), tmp_path / "engine"), lake)  # type: ignore[arg-type] # a fake
    yield made
    made.close()


def read(engine: DuckDbEngine, lake: FakeLake, sql: str) -> list[dict[str, object]]:
    query = engine.plan(Statement(sql), lake.state)
    try:
        return pa.Table.from_batches(list(query), query.schema).to_pylist()
    finally:
        query.close()


def test_a_table_of_the_users_that_hides_a_dataset_is_what_its_name_means(engine, lake):
    session = engine.open_session()
    lake_without = FakeLake(lake.folder)
    session.execute(Statement("CREATE TABLE late AS SELECT 'mine' AS id"), lake_without.state)
    session.close()
    lake.commit("late", pa.table({"id": ["the dataset's"]}))
    assert read(engine, lake, "SELECT id FROM late") == [{"id": "mine"}]
    assert read(engine, lake, "SELECT id FROM datasets.late") == [{"id": "the dataset's"}]


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


def test_a_file_that_is_gone_is_told_without_its_path(engine, lake, tmp_path: Path):
    lake.commit("t", pa.table({"x": range(10)}))
    query = engine.plan(Statement("FROM t"), lake.state)
    try:
        for path in lake.folder.iterdir():
            path.unlink()
        with pytest.raises(QueryFailed) as caught:
            list(query)
        assert str(tmp_path) not in str(caught.value)
    finally:
        query.close()


def test_views_and_macros_read_the_versions_they_name_after_a_restart_and_when_tags_move(lake, tmp_path):
    options = DuckDbOptions(tmp_path / "workspace.duckdb", (lake.folder,), tmp_path / "engine")
    lake.commit("x", pa.table({"n": [0]}))
    lake.commit("x", pa.table({"n": [1]}))
    lake.tag("x", "gold", 0)
    with closing(DuckDbEngine(options, lake)) as first, closing(first.open_session()) as session:
        for sql in (
            'CREATE VIEW old AS FROM "x@v0"',
            'CREATE VIEW tagged AS SELECT * FROM datasets."X@Gold"',
            'CREATE MACRO oldest() AS TABLE FROM "x@v0"',
        ):
            session.execute(Statement(sql), lake.state)

    with closing(DuckDbEngine(options, lake)) as again:
        assert read(again, lake, "FROM old") == read(again, lake, "FROM oldest()") == [{"n": 0}]
        assert read(again, lake, "FROM tagged") == [{"n": 0}]
        lake.tag("x", "gold", 1)
        assert read(again, lake, "FROM tagged") == [{"n": 1}]
        lake.expire("x", before=1)
        with pytest.raises(DatasetNotFound):
            read(again, lake, "FROM old")
        assert read(again, lake, "FROM tagged") == [{"n": 1}]
