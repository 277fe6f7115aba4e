"""The demo flights: deterministic at any size, in order, and like the ones that were shipped."""

import duckdb
import pyarrow as pa
import pytest

from skein.demo import SHIPPED_ROWS, flights, shipped_flights


def table_of(rows):
    return pa.Table.from_batches(flights(rows), schema=shipped_flights().schema)


def test_the_shipped_flights_come_out_as_they_are():
    assert shipped_flights().num_rows == SHIPPED_ROWS
    assert table_of(SHIPPED_ROWS).equals(shipped_flights())


def ask(query, **tables):
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        return connection.execute(query).fetchone()


@pytest.mark.parametrize("rows", [1, 1000, 65_537, 200_001, 1_000_000, 3_000_001])
def test_any_number_of_rows_can_be_asked_for(rows):
    assert sum(batch.num_rows for batch in flights(rows)) == rows


def test_the_same_number_gives_the_same_flights():
    assert table_of(300_000).equals(table_of(300_000))


def test_fewer_flights_are_a_sample_of_the_shipped_ones():
    columns = ", ".join(shipped_flights().column_names[1:])
    query = f"SELECT count(*) FROM (SELECT {columns} FROM few EXCEPT SELECT {columns} FROM shipped)"
    assert ask(query, few=table_of(1000), shipped=shipped_flights()) == (0,)


def test_more_flights_are_in_order_and_alike():
    many = table_of(7_000_000)
    in_order = (
        "SELECT bool_and(before IS NULL OR before <= date) FROM (SELECT date, lag(date) OVER () AS before"
    )
    assert ask(f"{in_order} FROM many)", many=many) == (True,)
    statistics = "SELECT avg(delay), avg(distance), count(DISTINCT origin) FROM flights"
    assert ask(statistics, flights=many) == pytest.approx(
        ask(statistics, flights=shipped_flights()), rel=0.02
    )


def test_many_more_flights_cover_more_years_and_seldom_repeat():
    many = table_of(7_000_000)
    assert ask("SELECT count(DISTINCT year(date)) FROM many", many=many) == (2,)
    columns = "date, delay, distance, origin, destination"
    (distinct,) = ask(f"SELECT count(DISTINCT ({columns})) FROM many", many=many)
    assert distinct > 6_900_000
