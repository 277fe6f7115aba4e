"""Read SQL results as a pandas frame, through ADBC.

    python examples/pandas_adbc.py [grpc://HOST:PORT]

Without an address the server of this machine is meant.
"""

import sys

import adbc_driver_flightsql.dbapi as flight_sql
import pandas as pd

# avg() gives doubles. DECIMAL columns become Python objects in pandas: cast them to DOUBLE in SQL.
BY_WEEK = """
    SELECT date_trunc('week', date) AS week, count(*) AS flights, avg(delay) AS delay
    FROM flights GROUP BY week ORDER BY week
"""


def main(uri: str) -> None:
    with flight_sql.connect(uri) as connection:
        frame = pd.read_sql(BY_WEEK, connection)
    print(frame.set_index("week").round(1).head(5))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "grpc://127.0.0.1:8815")
