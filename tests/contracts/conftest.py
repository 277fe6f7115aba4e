"""The adapters that the contract suites run against. Another one of a kind goes into the list of its kind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.application.ports.engine import QueryEngine
from flight_core.domain.repositories.events import EventRepository
from flight_core.infrastructure.database import Database
from tests.catalogs import open_catalog
from tests.contracts.query_engines import BIRDS, duckdb_engine
from tests.contracts.table_stores import open_store
from tests.fakes.lake import FakeLake

ENGINES: list[Callable[[FakeLake, Path], QueryEngine]] = [duckdb_engine]
TABLE_STORES = [open_store]


@pytest.fixture(params=TABLE_STORES, ids=lambda factory: factory.__name__)
def reopen(request, tmp_path):
    """Makes another store over the same data, as another process would."""
    return lambda: request.param(tmp_path)


@pytest.fixture
def store(reopen):
    return reopen()


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as connection:
        yield connection


@pytest.fixture
def lake(tmp_path: Path) -> FakeLake:
    folder = tmp_path / "lake"
    folder.mkdir()
    made = FakeLake(folder)
    made.commit("birds", BIRDS)
    return made


@pytest.fixture(params=ENGINES, ids=lambda factory: factory.__name__)
def engine(request: pytest.FixtureRequest, lake: FakeLake, tmp_path: Path) -> Iterator[QueryEngine]:
    made = request.param(lake, tmp_path)
    yield made
    made.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = open_catalog(tmp_path)
    yield made
    made.close()


@pytest.fixture
def events(database: Database) -> EventRepository:
    return SqlEventRepository(database)
