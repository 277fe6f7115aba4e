"""What parallel endpoints give: one result fetched as 1, 2 and 4 streams at a time.

    python -m benchmarks.endpoints [--quick] [--rounds 5] [--data FOLDER]

Each endpoint is read by a thread of its own over ADBC's partitions. Beside the wall time stands the
processor time of the server, which tells what splitting costs; on a machine with as many cores as
streams the wall time falls, on one whose cores are all busy with one stream it cannot.
Writes benchmarks/results/endpoints.json.
"""

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import adbc_driver_flightsql.dbapi as flight_sql
from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.harness import Server, arguments, cpu_s, save, skein

SQL = "SELECT * FROM lineitem"
HEADER = "adbc.flight.sql.rpc.call_header.x-skein-endpoints"


class PartitionedReader:
    """Plans once a run, then reads the partitions side by side."""

    def __init__(self, server: Server, streams: int) -> None:
        options = {HEADER: str(streams)}
        self._planner = flight_sql.connect(server.flight, db_kwargs=options, autocommit=True)
        self._readers = [flight_sql.connect(server.flight, autocommit=True) for _ in range(streams)]
        self._pool = ThreadPoolExecutor(streams)

    def rows(self) -> int:
        with self._planner.cursor() as cursor:
            partitions, _ = cursor.adbc_execute_partitions(SQL)
        assert len(partitions) == len(self._readers), f"{len(partitions)} endpoints were planned"
        return sum(self._pool.map(_read, self._readers, partitions))

    def close(self) -> None:
        self._pool.shutdown()
        for connection in [self._planner, *self._readers]:
            connection.close()


def _read(connection: flight_sql.Connection, partition: bytes) -> int:
    with connection.cursor() as cursor:
        cursor.adbc_read_partition(partition)
        return sum(batch.num_rows for batch in cursor.fetch_record_batch())


def measure(server: Server, *, rounds: int) -> list[dict[str, object]]:
    readers = {streams: PartitionedReader(server, streams) for streams in (1, 2, 4)}
    wall: dict[int, list[float]] = {streams: [] for streams in readers}
    cpu: dict[int, list[float]] = {streams: [] for streams in readers}
    counts = {reader.rows() for reader in readers.values()}
    for _ in range(rounds):
        for streams, reader in readers.items():
            used, start = cpu_s(server.process), time.perf_counter()
            counts.add(reader.rows())
            wall[streams].append(time.perf_counter() - start)
            cpu[streams].append(cpu_s(server.process) - used)
    for reader in readers.values():
        reader.close()
    if len(counts) != 1:
        raise SystemExit(f"different endpoints brought different numbers of rows: {counts}")
    one = statistics.median(wall[1]), statistics.median(cpu[1])
    return [
        {
            "endpoints": streams,
            "rows": next(iter(counts)),
            "median_s": round(statistics.median(wall[streams]), 3),
            "speed_of_one": round(one[0] / statistics.median(wall[streams]), 2),
            "server_cpu_s": round(statistics.median(cpu[streams]), 3),
            "cpu_of_one": round(statistics.median(cpu[streams]) / one[1], 2),
        }
        for streams in readers
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    options = parser.parse_args()
    folder = options.data.resolve()
    path = data.lineitem(folder, 600_000 if options.quick else 6_000_000)
    with tempfile.TemporaryDirectory(dir=folder) as lake, skein(Path(lake), ingest_root=folder) as server:
        server.ingest(path, "lineitem")
        rows = measure(server, rounds=options.rounds)
    table = Table(title=f"{SQL} as parallel endpoints")
    for heading in rows[0]:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
    print(f"written: {save('endpoints', {'sql': SQL, 'rounds': options.rounds, 'endpoints': rows})}")


if __name__ == "__main__":
    main()
