"""Read datasets with pyarrow.flight: what there is, SQL, a batch at a time, an older version.

    python examples/pyarrow_flight.py [grpc://HOST:PORT]

Without an address the server of this machine is meant.
"""

import json
import sys

import pyarrow.flight as fl


def main(uri: str) -> None:
    with fl.connect(uri) as client:
        for info in client.list_flights():
            name = info.descriptor.path[0].decode()
            print(f"{name}: {info.total_records:,} rows, columns {', '.join(info.schema.names)}")

        worst = "SELECT origin, avg(delay) AS delay FROM flights GROUP BY origin ORDER BY delay DESC LIMIT 3"
        info = client.get_flight_info(fl.FlightDescriptor.for_command(worst))
        for row in client.do_get(info.endpoints[0].ticket).read_all().to_pylist():
            print(f"{row['origin']}: {row['delay']:.1f} minutes late on average")

        # A ticket names the versions it reads: these rows are the same whenever it is used.
        command = {
            "sql": "SELECT delay, distance FROM flights WHERE origin = $origin",
            "params": {"origin": "SEA"},
        }
        info = client.get_flight_info(fl.FlightDescriptor.for_command(json.dumps(command)))
        rows = batches = 0
        for chunk in client.do_get(info.endpoints[0].ticket):  # in as little memory as one batch takes
            rows += chunk.data.num_rows
            batches += 1
        print(f"{rows:,} flights from SEA, in {batches} batches")

        first = fl.FlightDescriptor.for_path("flights", "v0")
        info = client.get_flight_info(first)
        print(f"version 0 of flights has {info.total_records:,} rows")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "grpc://127.0.0.1:8815")
