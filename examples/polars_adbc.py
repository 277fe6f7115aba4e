"""Read SQL results as a Polars frame, with parameters, through ADBC.

    python examples/polars_adbc.py [grpc://HOST:PORT]

Without an address the server of this machine is meant.
"""

import sys

import adbc_driver_flightsql.dbapi as flight_sql
import polars as pl

BUSIEST = """
    SELECT origin, count(*) AS flights, avg(delay) AS delay
    FROM flights WHERE distance >= ? GROUP BY origin ORDER BY flights DESC LIMIT 10
"""


def main(uri: str) -> None:
    with flight_sql.connect(uri) as connection:
        frame = pl.read_database(BUSIEST, connection, execute_options={"parameters": [1000]})
    print(frame.with_columns(pl.col("delay").round(1)))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "grpc://127.0.0.1:8815")
