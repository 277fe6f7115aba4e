"""How fast results reach another process, next to DuckDB in this one.

    python -m benchmarks.stream [--quick] [--rounds 5] [--data FOLDER]

The server runs in a process of its own; client and server share the machine's cores. "speed_of_base"
is the ratio to DuckDB in this process draining the same files: 1.0 would mean that Flight costs nothing.
"cpu_speed_of_base" is the same of the processor time of client and server, which others disturb less.
"Flight, from memory" is the trip alone: batches that lie ready in a server. What DuckDB and the trip take
of the processors gives the limit: the ratio with all cores busy all the time.
Writes benchmarks/results/stream.json and stream.png.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pyarrow as pa
import pyarrow.flight as fl
from deltalake import DeltaTable
from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.harness import Case, Server, arguments, as_rows, interleave, save, skein
from benchmarks.naive_server import KEPT

BASE = "in-process DuckDB"
SKEIN = "Skein, Flight"
COMPACT = "Skein, narrow decimals"
NAIVE = "naive Flight server"
MEMORY = "Flight, from memory"
# What Skein is meant to reach, as a ratio to the base.
TARGETS = {
    "lineitem, all columns": 0.65,
    "numbers, 3 of 6 columns": 0.70,
    "aggregate": 0.95,
    "top 100": 0.95,
}
Workload = tuple[str, str, str]  # title, dataset, SQL

WORKLOADS: list[Workload] = [
    ("lineitem, all columns", "lineitem", "SELECT * FROM {t}"),
    ("numbers, 3 of 6 columns", "numbers", "SELECT id, quantity, price FROM {t}"),
    (
        "aggregate",
        "lineitem",
        "SELECT l_returnflag, l_linestatus, sum(l_quantity) AS q, avg(l_extendedprice) AS p, count(*) AS n"
        " FROM {t} GROUP BY ALL ORDER BY ALL",
    ),
    (
        "top 100",
        "lineitem",
        "SELECT * FROM {t} ORDER BY l_extendedprice DESC, l_orderkey, l_linenumber LIMIT 100",
    ),
    ("1% filter", "lineitem", "SELECT * FROM {t} WHERE l_partkey <= 2000"),
]


class Clients:
    """The ways of getting rows, each over its own connection."""

    def __init__(self, server: Server, naive: psutil.Process, naive_port: int) -> None:
        self._skein = fl.connect(server.flight)
        self._skein_process = server.process
        self._naive = fl.connect(f"grpc://127.0.0.1:{naive_port}")
        self._naive_process = naive
        self._duckdb = duckdb.connect()

    def cases(self, files: list[str], dataset: str, sql: str) -> list[Case]:
        scan = sql.format(t=f"read_parquet({files!r})")
        return [
            Case(BASE, lambda: self._duckdb.cursor().sql(scan).to_arrow_reader(65_536)),
            Case(SKEIN, lambda: self.flight(sql.format(t=dataset)), self._skein_process),
            Case(
                COMPACT,
                lambda: self.flight(_compact(sql.format(t=dataset))),
                self._skein_process,
            ),
            Case(NAIVE, lambda: self.naive(scan), self._naive_process),
            Case(MEMORY, lambda: self.naive(KEPT + scan), self._naive_process),
        ]

    def naive(self, ticket: str) -> Generator[pa.RecordBatch, None, None]:
        return _chunks(self._naive.do_get(fl.Ticket(ticket.encode())))

    def flight(self, sql: str) -> Generator[pa.RecordBatch, None, None]:
        info = self._skein.get_flight_info(fl.FlightDescriptor.for_command(sql))
        return _chunks(self._skein.do_get(info.endpoints[0].ticket))


def _compact(sql: str) -> str:
    """The command of a client that reads 64-bit decimals."""
    return json.dumps({"sql": sql, "narrow_decimals": True})


def _chunks(reader: fl.FlightStreamReader) -> Generator[pa.RecordBatch, None, None]:
    try:
        for chunk in reader:
            yield chunk.data
    finally:
        reader.cancel()


@contextmanager
def naive_server() -> Iterator[tuple[psutil.Process, int]]:
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "naive_server.py")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield psutil.Process(process.pid), int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(timeout=30)


def run(folder: Path, *, rounds: int, quick: bool) -> dict[str, Any]:
    scale = 20 if quick else 1
    files = {
        "lineitem": data.lineitem(folder, 6_000_000 // scale),
        "numbers": data.numbers(folder, 60_000_000 // scale),
    }
    results = {}
    with (
        tempfile.TemporaryDirectory(dir=folder) as lake,
        skein(Path(lake), ingest_root=folder) as server,
        naive_server() as naive,
    ):
        stored = {}
        for name, path in files.items():
            server.ingest(path, name)
            stored[name] = _files_of(Path(lake), name, server)
        clients = Clients(server, *naive)
        for title, dataset, sql in WORKLOADS:
            cases = clients.cases(stored[dataset], dataset, sql)
            interleave(cases, rounds=rounds)
            results[title] = as_rows(cases, base=BASE)
    result = {
        "rows_scale": f"1/{scale}",
        "rounds": rounds,
        "workloads": results,
        "limits": {title: limit(rows) for title, rows in results.items()},
    }
    return result | {"losses": losses(result)}


def limit(rows: list[dict[str, Any]]) -> float:
    """The ratio that would be left with all cores busy all the time: DuckDB's work, and the trip's on top."""
    by_case = {row["case"]: row for row in rows}
    duckdb_s = by_case[BASE]["client_cpu_s"]
    trip_s = by_case[MEMORY]["client_cpu_s"] + by_case[MEMORY]["server_cpu_s"]
    return round(duckdb_s / (duckdb_s + trip_s), 3) if duckdb_s else 1.0


def losses(result: dict[str, Any]) -> list[str]:
    """Where Skein is below its target, or slower than the naive server by more than noise."""
    found = []
    for title, rows in result["workloads"].items():
        speed = {row["case"]: row["speed_of_base"] for row in rows}
        if speed[SKEIN] < TARGETS.get(title, 0):
            most = result["limits"][title]
            found.append(f"{title}: {speed[SKEIN]} is below {TARGETS[title]}; cores always busy: {most}")
        if speed[SKEIN] < 0.97 * speed[NAIVE]:
            found.append(f"{title}: {speed[SKEIN]}, and the naive server {speed[NAIVE]}")
    return found


def _files_of(lake: Path, name: str, server: Server) -> list[str]:
    """The Parquet files of a dataset, so that the base reads exactly what the server reads."""
    import httpx

    dataset_id = httpx.get(f"{server.http}/api/v1/datasets/{name}").raise_for_status().json()["id"]
    return DeltaTable(str(lake / "lake" / dataset_id)).file_uris()


def show(result: dict[str, Any]) -> None:
    console = Console(width=160)
    for title, rows in result["workloads"].items():
        table = Table(title=title)
        for heading in _KEYS:
            table.add_column(heading, justify="left" if heading == "case" else "right")
        for row in rows:
            table.add_row(*(f"{row[key]:,}" if key == "rows" else str(row[key]) for key in _KEYS))
        console.print(table)
    for loss in result["losses"] or ["all targets are reached"]:
        console.print(loss)


_KEYS = (
    "case",
    "median_s",
    "speed_of_base",
    "cpu_speed_of_base",
    "first_batch_ms",
    "client_cpu_s",
    "server_cpu_s",
    "quiet_runs",
    "mb_per_s",
    "rows",
)


def plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    workloads = result["workloads"]
    names = [row["case"] for row in next(iter(workloads.values()))]
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for index, name in enumerate(names):
        heights = [rows[index]["speed_of_base"] for rows in workloads.values()]
        places = [place + index * 0.17 for place in range(len(workloads))]
        bars = axes.bar(places, heights, width=0.16, label=name)
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    axes.set_ylim(top=1.6)  # what lies in memory already is off the chart
    axes.set_xticks([place + 0.34 for place in range(len(workloads))], list(workloads))
    axes.set_ylabel("speed (in-process DuckDB = 1)")
    axes.set_title("Getting a result into another process")
    axes.legend()
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the rows")
    options = parser.parse_args()
    result = run(options.data.resolve(), rounds=options.rounds, quick=options.quick)
    path = save("stream", result)
    plot(result, path.with_suffix(".png"))
    show(result)
    print(f"written: {path} and {path.with_suffix('.png').name}")


if __name__ == "__main__":
    main()
