"""Ingestion next to the bare writer: CSV to a committed dataset, and `scan_csv().sink_parquet()`.

    python -m benchmarks.ingest [--rows 8000000] [--lineitem 1000000] [--rounds 3] [--upsert ROWS]

Both write zstd with the same row groups; Polars has the types that Skein finds out, in turns, so that a busy
moment hits both. Beside the wall time stands the processor time of all processes that took part. The server
answers small queries meanwhile, and the memory of its processes is watched. `--upsert` measures writing 1%
into tables of up to that many rows. Writes benchmarks/results/ingest.json, and ingest.png.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import httpx
import psutil
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.harness import Server, save, skein

TARGET = 0.85
MAX_MEMORY_BYTES = 3 << 30
_LOOK_S = 0.02

# Six columns: numbers and text, as in the issue's 80 million rows.
_SIX = """
    SELECT i AS id, (hash(i, 3) % 50)::INTEGER AS quantity,
           round((hash(i, 4) % 10400000)::BIGINT / 100, 2)::DOUBLE AS price,
           ['AIR', 'FOB', 'MAIL', 'RAIL', 'REG AIR', 'SHIP', 'TRUCK'][1 + (hash(i, 14) % 7)::BIGINT] AS mode,
           'customer ' || (hash(i, 5) % 100000)::VARCHAR AS customer,
           DATE '1992-01-01' + (hash(i, 9) % 2406)::INTEGER AS day
    FROM range({rows}) t(i)
"""

# In a process of its own, as Skein's parser is: its memory and time are its own, too.
_BARE = """
import json, sys
import polars as pl
source, target, schema = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
types = {name: getattr(pl, type) for name, type in schema.items()}
pl.scan_csv(source, schema=types).sink_parquet(target, compression="zstd", row_group_size=61440)
"""
_POLARS = {
    "int64": "Int64",
    "double": "Float64",
    "string": "String",
    "large_string": "String",
    "date32[day]": "Date",
}


@dataclass(slots=True)
class Runs:
    """One way of doing it. Seconds, and bytes at the peak."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    def row(self) -> dict[str, object]:
        return {
            "median_s": round(statistics.median(self.wall_s), 3),
            "median_cpu_s": round(statistics.median(self.cpu_s), 3),
            "peak_mb": round(self.peak_bytes / 1e6, 1),
            "runs_s": [round(each, 3) for each in self.wall_s],
            "runs_cpu_s": [round(each, 3) for each in self.cpu_s],
        }


class Watch:
    """Processor time and the largest memory of a process and its children, looked at now and then.

    Memory is what nobody else shares: pages of mapped files can be dropped at any time.
    """

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._cpu: dict[int, float] = {}
        self.peaks: dict[str, int] = {"server": 0, "children": 0}

    def look(self) -> None:
        try:
            processes = [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:  # it has ended
            return
        for process in processes:
            try:
                times, memory = process.cpu_times(), process.memory_info()
            except psutil.Error:
                continue
            self._cpu[process.pid] = times.user + times.system
            kind = "server" if process.pid == self._process.pid else "children"
            self.peaks[kind] = max(self.peaks[kind], memory.rss - getattr(memory, "shared", 0))

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu.values())

    @contextmanager
    def watching(self) -> Iterator[None]:
        ended = threading.Event()

        def keep_looking() -> None:
            while not ended.wait(_LOOK_S):
                self.look()

        thread = threading.Thread(target=keep_looking)
        self.look()
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.look()


def csv_of(folder: Path, name: str, rows: int) -> Path:
    """A CSV file of `rows`; made once."""
    path = folder / f"{name}-{rows}.csv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        sql = _SIX.replace("{rows}", str(rows)) if name == "six" else f"FROM '{data.lineitem(folder, rows)}'"
        part = path.with_suffix(".part")
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({sql}) TO '{part}' (FORMAT csv, HEADER)")
        part.rename(path)
    return path


def ingest(http: httpx.Client, path: Path, dataset: str, **request: object) -> dict[str, object]:
    """The job at its end."""
    body = {"dataset": dataset, "source": {"kind": "file", "path": str(path)}, "format": "csv"}
    job = (
        http.post("/api/v1/ingestions", json={**body, "mode": "replace", **request}).raise_for_status().json()
    )
    while job["finished_at"] is None:
        job = http.get(job["href"], headers={"Prefer": "wait=60"}).raise_for_status().json()
    if job["state"] != "succeeded":
        raise SystemExit(f"the ingestion failed: {job['error']}")
    return job


@contextmanager
def small_queries(http_url: str) -> Iterator[list[float]]:
    """How long each took, in seconds, one after the other while the block runs."""
    ended, times = threading.Event(), []

    def ask() -> None:
        with httpx.Client(base_url=http_url, timeout=60) as http:
            while not ended.is_set():
                start = time.perf_counter()
                sql = {"sql": "SELECT count(*), sum(price) FROM small WHERE id < 1000"}
                http.post("/api/v1/query", json=sql).raise_for_status()
                times.append(time.perf_counter() - start)
                ended.wait(0.05)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield times
    finally:
        ended.set()
        thread.join()


def bare(source: Path, target: Path, schema: dict[str, str]) -> subprocess.Popen[bytes]:
    target.unlink(missing_ok=True)
    return subprocess.Popen([sys.executable, "-P", "-c", _BARE, str(source), str(target), json.dumps(schema)])


def measured(process: psutil.Process, work: Callable[[], object]) -> tuple[float, float, dict[str, int]]:
    """Seconds, seconds of processors, peaks."""
    watch = Watch(process)
    watch.look()
    before, start = watch.cpu_s, time.perf_counter()
    with watch.watching():
        work()
        wall_s = time.perf_counter() - start
    return wall_s, watch.cpu_s - before, watch.peaks


def compare(server: Server, source: Path, *, rounds: int) -> dict[str, object]:
    name = source.stem.replace("-", "_")
    ours, theirs = Runs(), Runs()
    parser_peak = 0
    with httpx.Client(base_url=server.http, timeout=120) as http, tempfile.TemporaryDirectory() as scratch:
        job = ingest(http, source, name)  # warms up, and finds the types out
        columns = http.get(f"/api/v1/datasets/{name}").raise_for_status().json()["columns"]
        schema = {each["name"]: _POLARS[each["type"]] for each in columns}
        target = Path(scratch) / "bare.parquet"
        with small_queries(server.http) as quiet:
            time.sleep(2)
        for _ in range(rounds):
            wall_s, cpu_s, peaks = measured(server.process, lambda: ingest(http, source, name))
            ours.wall_s.append(wall_s)
            ours.cpu_s.append(cpu_s)
            ours.peak_bytes = max(ours.peak_bytes, peaks["server"])
            parser_peak = max(parser_peak, peaks["children"])
            process = bare(source, target, schema)
            wall_s, cpu_s, peaks = measured(psutil.Process(process.pid), process.wait)
            if process.returncode:
                raise SystemExit("bare Polars failed")
            theirs.wall_s.append(wall_s)
            theirs.cpu_s.append(cpu_s)
            theirs.peak_bytes = max(theirs.peak_bytes, peaks["server"])
        with small_queries(server.http) as busy:  # once more, not timed: the queries take time, too
            ingest(http, source, name)
        if pq.read_metadata(target).num_rows != job["rows"]:
            raise SystemExit("the two wrote different numbers of rows")
        http.delete(f"/api/v1/datasets/{name}")
    ratio = statistics.median(theirs.wall_s) / statistics.median(ours.wall_s)
    cpu_ratio = statistics.median(theirs.cpu_s) / statistics.median(ours.cpu_s)
    return {
        "file": source.name,
        "rows": job["rows"],
        "size_bytes": source.stat().st_size,
        "skein": ours.row() | {"parser_peak_mb": round(parser_peak / 1e6, 1)},
        "bare_polars": theirs.row(),
        "speed_of_bare": round(ratio, 3),
        "cpu_speed_of_bare": round(cpu_ratio, 3),
        "memory_ok": max(ours.peak_bytes, parser_peak) < MAX_MEMORY_BYTES,
        "small_query_ms": {"idle": _percentiles(quiet), "while_ingesting": _percentiles(busy)},
    }


def _percentiles(times: list[float]) -> dict[str, float]:
    ordered = sorted(times) or [0.0]
    return {
        "p50": round(ordered[len(ordered) // 2] * 1000, 1),
        "p99": round(ordered[int(len(ordered) * 0.99)] * 1000, 1),
    }


def upserts(server: Server, folder: Path, largest: int) -> list[dict[str, object]]:
    """1% into tables of growing size: half of the rows are there already."""
    found = []
    sizes = [largest // 16, largest // 4, largest]
    with httpx.Client(base_url=server.http, timeout=120) as http:
        for rows in sizes:
            ingest(http, csv_of(folder, "six", rows), "upserted")
            change = folder / f"change-{rows}.csv"
            with duckdb.connect() as connection:
                half = rows // 200
                sql = _SIX.replace("{rows}", str(rows + half))
                connection.execute(
                    f"COPY (SELECT * REPLACE (price + 1 AS price) FROM ({sql}) WHERE id >= {rows - half})"
                    f" TO '{change}' (FORMAT csv, HEADER)"
                )
            run = lambda change=change: ingest(http, change, "upserted", mode="upsert", keys=["id"])  # noqa: E731
            wall_s, cpu_s, peaks = measured(server.process, run)
            found.append(
                {
                    "rows": rows,
                    "changed_rows": 2 * (rows // 200),
                    "seconds": round(wall_s, 3),
                    "cpu_s": round(cpu_s, 3),
                    "server_peak_mb": round(peaks["server"] / 1e6, 1),
                }
            )
            change.unlink()
    return found


def plot(result: dict[str, object], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    upserted = result["upserts"]
    figure, axes = plt.subplots(1, 2 if upserted else 1, figsize=(10 if upserted else 6, 4), squeeze=False)
    left = axes[0][0]
    for offset, name in ((-0.2, "skein"), (0.2, "bare_polars")):
        heights = [each[name]["median_s"] for each in result["files"]]
        left.bar(
            [index + offset for index in range(len(heights))], heights, 0.4, label=name.replace("_", " ")
        )
    left.set_xticks(range(len(result["files"])), [each["file"] for each in result["files"]])
    left.set_ylabel("seconds")
    left.set_title("CSV to Parquet")
    left.legend()
    if upserted:
        right = axes[0][1]
        right.plot(
            [each["rows"] / 1e6 for each in upserted], [each["seconds"] for each in upserted], marker="o"
        )
        right.set_xlabel("million rows in the table")
        right.set_ylabel("seconds")
        right.set_title("upsert of 1%")
        right.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def show(result: dict[str, object]) -> None:
    table = Table(title="Ingestion next to bare Polars")
    for heading in (
        "file",
        "rows",
        "MB",
        "skein s",
        "polars s",
        "ratio",
        "cpu ratio",
        "server MB",
        "parser MB",
    ):
        table.add_column(heading, justify="right")
    for each in result["files"]:
        ours, theirs = each["skein"], each["bare_polars"]
        table.add_row(
            each["file"],
            f"{each['rows']:,}",
            f"{each['size_bytes'] / 1e6:,.0f}",
            str(ours["median_s"]),
            str(theirs["median_s"]),
            str(each["speed_of_bare"]),
            str(each["cpu_speed_of_bare"]),
            str(ours["peak_mb"]),
            str(ours["parser_peak_mb"]),
        )
    Console().print(table)
    for each in result["files"]:
        print(f"small queries beside {each['file']}: {each['small_query_ms']}")
    for each in result["upserts"]:
        print(f"upsert of 1% into {each['rows']:,} rows: {each['seconds']} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--rows", type=int, default=8_000_000, help="of the file of six columns")
    parser.add_argument("--lineitem", type=int, default=1_000_000, help="rows of lineitem; 0 leaves it out")
    parser.add_argument("--upsert", type=int, default=0, help="rows of the largest table to change 1%% of")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path(__file__).parent / "results" / "data")
    options = parser.parse_args()
    folder, scale = options.data.resolve(), 10 if options.quick else 1
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"six": options.rows // scale, "lineitem": options.lineitem // scale}
    files = [csv_of(folder, name, rows) for name, rows in sizes.items() if rows]
    with tempfile.TemporaryDirectory(dir=folder) as lake, skein(Path(lake), ingest_root=folder) as server:
        with httpx.Client(base_url=server.http, timeout=120) as http:
            ingest(http, csv_of(folder, "six", 100_000), "small")
        result: dict[str, object] = {
            "target": TARGET,
            "rounds": options.rounds,
            "files": [compare(server, path, rounds=options.rounds) for path in files],
            "upserts": upserts(server, folder, options.upsert) if options.upsert else [],
        }
    path = save("ingest", result)
    plot(result, path.with_suffix(".png"))
    show(result)
    print(f"written: {path} and {path.with_suffix('.png').name}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
