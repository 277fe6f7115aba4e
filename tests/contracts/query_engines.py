"""Query engines over a lake of birds, and what their tests read from them."""

from pathlib import Path

import pyarrow as pa
import pytest

from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.application.ports.engine import Query, QueryEngine
from flight_core.domain.errors import TransactionFailed
from flight_core.domain.query import Statement
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from tests.fakes.lake import FakeLake

BIRDS = pa.table({"name": ["goose", "duck", "swan"], "weight_kg": [3.5, 1.1, 9.0]})
NUMBERS = pa.table({"n": range(500_000)})


def duckdb_engine(lake: FakeLake, folder: Path) -> QueryEngine:
    options = DuckDbOptions(
        folder / "workspace.duckdb", (lake.folder,), folder / "temp", memory_bytes=1 << 30
    )
    return DuckDbEngine(options, lake)


def read(query: Query) -> pa.Table:
    try:
        return pa.Table.from_batches(list(query), query.schema)
    finally:
        query.close()


def rows(engine: QueryEngine, lake: FakeLake, sql: str, *values: object) -> list[dict[str, object]]:
    return read(engine.plan(Statement(sql, values), lake.state)).to_pylist()


def require_conflict(engine: QueryEngine, lake: FakeLake, first: str, second: str) -> None:
    """Of two transactions at once that change the table `shared`, one is told to start again."""
    one, other = engine.open_session(), engine.open_session()
    one.execute(Statement("CREATE TABLE shared AS SELECT 1 AS i"), lake.state)
    one.begin()
    other.begin()

    def both() -> None:
        one.execute(Statement(first), lake.state)
        other.execute(Statement(second), lake.state)
        one.commit()
        other.commit()

    with pytest.raises(TransactionFailed, match="another transaction changed the same table or rows"):
        both()
    one.close()
    other.close()
