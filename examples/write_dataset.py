"""Write a dataset from Python: create, append, replace; then read an older version.

    python examples/write_dataset.py [grpc://HOST:PORT]

Without an address the server of this machine is meant. Leaves a dataset `readings` behind.
"""

import json
import sys
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.flight as fl

NAME = "readings"


def readings(start: datetime, count: int) -> pa.Table:
    return pa.table(
        {
            "at": [start + timedelta(minutes=minute) for minute in range(count)],
            "sensor": [f"s{minute % 3}" for minute in range(count)],
            "value": [20 + minute % 7 / 10 for minute in range(count)],
        }
    )


def write(client: fl.FlightClient, table: pa.Table, mode: str) -> dict:
    """All of the rows become one version, or none do. The answer comes once it is on disk."""
    command = json.dumps({"dataset": NAME, "mode": mode})
    writer, answers = client.do_put(fl.FlightDescriptor.for_command(command), table.schema)
    with writer:
        writer.write_table(table)
        writer.done_writing()
        return json.loads(answers.read().to_pybytes())


def count(client: fl.FlightClient, table: str) -> int:
    info = client.get_flight_info(fl.FlightDescriptor.for_command(f"SELECT count(*) AS n FROM {table}"))
    return client.do_get(info.endpoints[0].ticket).read_all()["n"][0].as_py()


def main(uri: str) -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    with fl.connect(uri) as client:
        first = write(client, readings(noon, 60), "replace")
        second = write(client, readings(noon + timedelta(hours=1), 60), "append")
        print(f"version {first['version']}: {first['total_rows']} rows")
        print(f"version {second['version']}: {second['total_rows']} rows, {second['rows']} of them new")
        before = f'"{NAME}@v{first["version"]}"'
        print(f"now {count(client, NAME)} rows, in {before} {count(client, before)}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "grpc://127.0.0.1:8815")
