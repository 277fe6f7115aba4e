"""What the contract suites are given: the adapters of `adapters.py`, one after the other."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.application.ports.engine import QueryEngine
from flight_core.domain.repositories.events import EventRepository
from flight_core.infrastructure.database import Database
from tests import postgresql
from tests.catalogs import KEY, sqlite_catalog
from tests.contracts.adapters import ENGINES, TABLE_STORES
from tests.contracts.query_engines import BIRDS
from tests.fakes.lake import FakeLake


@pytest.fixture(scope="module", params=TABLE_STORES, ids=lambda factory: factory.__name__)
def open_store(request):
    """Makes a store over what is in a folder."""
    return request.param


@pytest.fixture
def reopen(open_store, tmp_path):
    """Makes another store over the same data, as another process would."""
    return lambda: open_store(tmp_path)


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


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.PostgreSql]:
    if reason := postgresql.missing():
        pytest.skip(reason)
    with postgresql.running() as server:
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return sqlite_catalog(tmp_path)


@pytest.fixture
def postgresql_url(postgresql_server: postgresql.PostgreSql) -> Iterator[str]:
    with postgresql_server.catalog() as url:
        yield url


@pytest.fixture(params=["sqlite_url", "postgresql_url"], ids=lambda name: name.removesuffix("_url"))
def catalog_url(request: pytest.FixtureRequest) -> str:
    """Of an empty catalog in each of the databases."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def database(catalog_url: str) -> Iterator[Database]:
    with closing(Database(catalog_url, KEY)) as made:
        yield made


@pytest.fixture
def events(database: Database) -> EventRepository:
    return SqlEventRepository(database)
