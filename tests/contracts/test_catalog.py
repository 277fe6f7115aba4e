"""What every database promises that keeps the catalog."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from flight_core.adapters.catalog import counters
from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.adapters.catalog.tables import metadata
from flight_core.domain.errors import InvalidOption
from flight_core.domain.events import Event, EventKind
from flight_core.infrastructure.database import Database

NOW = datetime(2026, 3, 4, tzinfo=UTC)


def test_the_migrations_make_the_tables_that_the_code_declares(database):
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_what_is_read_in_one_block_is_of_one_moment(database):
    with database.read() as connection:
        first = counters.current(connection, counters.REVISION)
        with database.write() as other:
            assert counters.count(other, counters.REVISION) == first + 1
        assert counters.current(connection, counters.REVISION) == first


def test_numbers_are_given_once_to_all_who_count_at_once(catalog_url, database):
    def count(_: int) -> list[int]:
        with closing(Database(catalog_url)) as other:
            numbers = []
            for _ in range(10):
                with other.write() as connection:
                    numbers.append(counters.count(connection, counters.EVENT))
            return numbers

    with ThreadPoolExecutor(4) as threads:
        counted = [number for numbers in threads.map(count, range(4)) for number in numbers]
    assert sorted(counted) == list(range(1, 41))


@pytest.mark.parametrize(
    ("url", "way_out"),
    [
        ("oracle+nosuch://x", "postgresql\\+psycopg"),
        ("s3cret", "postgresql\\+psycopg"),
        ("mssql+pyodbc://s3cret", "pyodbc"),
    ],
)
def test_a_url_that_nothing_here_opens_is_refused_without_being_shown(url, way_out):
    with pytest.raises(InvalidOption, match=way_out) as refused:
        Database(url)
    assert "s3cret" not in refused.value.message


def test_a_text_is_stored_as_it_is_or_refused(database):
    events = SqlEventRepository(database)
    with suppress(InvalidOption):  # PostgreSQL has no NUL in texts
        events.append(Event(EventKind.DATASET_COMMITTED, "a\0b", {}, NOW))
        assert events.after(0)[-1].event.subject == "a\0b"
    events.append(Event(EventKind.DATASET_COMMITTED, "Zürich \u2028 🦆", {}, NOW))
    assert events.after(0)[-1].event.subject == "Zürich \u2028 🦆"


@pytest.mark.parametrize(
    ("type", "value", "said"),
    [
        ("text", "a\0b", "a NUL character"),
        ("jsonb", '"a\\u0000b"', "a NUL character"),
        ("integer", 1 << 40, "a value: integer out of range"),
    ],
)
def test_what_postgresql_cannot_hold_is_told_exactly(postgresql_url, type, value, said):
    with closing(Database(postgresql_url)) as database:
        with database.write() as connection:
            connection.exec_driver_sql(f"CREATE TABLE held (value {type})")
        with pytest.raises(InvalidOption, match=said), database.write() as connection:
            connection.exec_driver_sql("INSERT INTO held VALUES (%s)", (value,))
