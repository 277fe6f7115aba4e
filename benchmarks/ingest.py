"""Ingestion next to the bare writer: CSV to a committed dataset, and `scan_csv().sink_parquet()`.

    python -m benchmarks.ingest [--rows 8000000] [--lineitem 1000000] [--contract] [--upsert ROWS]

Both write zstd with the same row groups, in the same environment: allocator, priority, and a session of its
own, which is what a busy machine divides its time by. The bare writer is told the types that Skein finds
out. They run in turns, so that a busy moment hits both, and must bring the same rows: a checksum over all
values is compared. Beside the wall time stands the processor time of all processes that took part, starts
included. `--contract` measures once more with six columns held against a contract (types, nulls, ranges,
enum, pattern), next to the bare writer that filters by the same rules, which is what the rules alone cost.
The server answers small queries meanwhile. Memory is that of the server and of all parsing processes
together, looked at 50 times a second, without pages that others share; what forks share among themselves is
counted for each. `--upsert` measures writing 1% into tables of up to that many rows, at their end and
scattered all over. Writes benchmarks/results/ingest.json, and ingest.png.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import httpx
import psutil

from benchmarks import data
from benchmarks.harness import Server, arguments, save, skein
from benchmarks.ingest_report import plot, show
from benchmarks.watching import Runs, Watch, children_cpu_s, measured, percentiles, small_queries
from flight_core.adapters.parsers.processes import ENVIRONMENT

TARGET = 0.85
MAX_MEMORY_BYTES = 3 << 30

# Six columns: numbers and text, as in the issue's 80 million rows.
_SIX = """
    SELECT i AS id, (hash(i, 3) % 50)::INTEGER AS quantity,
           round((hash(i, 4) % 10400000)::BIGINT / 100, 2)::DOUBLE AS price,
           ['AIR', 'FOB', 'MAIL', 'RAIL', 'REG AIR', 'SHIP', 'TRUCK'][1 + (hash(i, 14) % 7)::BIGINT] AS mode,
           'customer ' || (hash(i, 5) % 100000)::VARCHAR AS customer,
           DATE '1992-01-01' + (hash(i, 9) % 2406)::INTEGER AS day
    FROM range({rows}) t(i)
"""

_CONTRACT = {
    "columns": [
        {"name": "id", "type": "int64", "nullable": False, "ge": 0},
        {"name": "quantity", "type": "int64", "nullable": False, "ge": 0, "lt": 50},
        {"name": "price", "type": "double", "nullable": False, "ge": 0, "le": 104_000},
        {
            "name": "mode",
            "type": "string",
            "nullable": False,
            "enum": ["AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK"],
        },
        {"name": "customer", "type": "string", "nullable": False, "pattern": "customer [0-9]+"},
        {"name": "day", "type": "date", "nullable": False, "ge": "1992-01-01"},
    ]
}

# In a process of its own, as Skein's parser is: its memory and time are its own, too.
_BARE = """
import json, os, sys
import polars as pl
os.nice(5)
source, target, schema = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
types = {name: getattr(pl, type) for name, type in schema.items()}
rows = pl.scan_csv(source, schema=types)
if sys.argv[4:]:
    rows = rows.filter(
        pl.all_horizontal(pl.all().is_not_null()),
        pl.col("id") >= 0,
        pl.col("quantity") >= 0,
        pl.col("quantity") < 50,
        pl.col("price") >= 0,
        pl.col("price").is_not_nan(),
        pl.col("price") <= 104_000,
        pl.col("mode").is_in(["AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK"]),
        pl.col("customer").str.contains("customer [0-9]+"),
        pl.col("day") >= pl.date(1992, 1, 1),
    )
rows.sink_parquet(target, compression="zstd", row_group_size=61440)
"""
_POLARS = {
    "int64": "Int64",
    "double": "Float64",
    "string": "String",
    "large_string": "String",
    "date32[day]": "Date",
}


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


def bare(
    source: Path, target: Path, schema: dict[str, str], *, checked: bool = False
) -> tuple[float, float, int]:
    """As `measured`. `checked`: only the rows that keep the rules of `_CONTRACT`."""
    target.unlink(missing_ok=True)
    command = [sys.executable, "-P", "-c", _BARE, str(source), str(target), json.dumps(schema)]
    command += ["checked"] if checked else []
    before, start = children_cpu_s(), time.perf_counter()
    process = subprocess.Popen(command, env=ENVIRONMENT, start_new_session=True)
    watch = Watch(psutil.Process(process.pid))
    with watch.watching():
        failed = process.wait()
        wall_s = time.perf_counter() - start
    if failed:
        raise SystemExit("bare Polars failed")
    return wall_s, children_cpu_s() - before, watch.peak_bytes


def compare(server: Server, source: Path, *, rounds: int, contract: bool) -> dict[str, Any]:
    name = source.stem.replace("-", "_")
    bare_runs, filtering, ours = Runs(), Runs(), {name: Runs()}
    if contract:
        ours[f"{name}_checked"] = Runs()
    with (
        httpx.Client(base_url=server.http, timeout=600) as http,
        tempfile.TemporaryDirectory(dir=source.parent) as scratch,
    ):
        if contract:
            http.put(f"/api/v1/datasets/{name}_checked/contract", json=_CONTRACT).raise_for_status()
        with small_queries(server.http) as quiet:
            time.sleep(2)
        with small_queries(server.http) as busy:  # not timed, as the queries take time, too
            ingest(http, source, name)  # warms up, and finds the types out
        columns = http.get(f"/api/v1/datasets/{name}").raise_for_status().json()["columns"]
        schema = {each["name"]: _POLARS[each["type"]] for each in columns}
        target = Path(scratch) / "bare.parquet"
        for _ in range(rounds):
            for dataset, runs in ours.items():
                runs.add(*measured(server.process, lambda dataset=dataset: ingest(http, source, dataset)))
            if contract:
                filtering.add(*bare(source, target, schema, checked=True))
            bare_runs.add(*bare(source, target, schema))
        rows = _check_rows(http, target, ours)
        for dataset in ours:
            http.delete(f"/api/v1/datasets/{dataset}")
    return {
        "file": source.name,
        "rows": rows,
        "size_bytes": source.stat().st_size,
        "bare_polars": bare_runs.row(),
        "bare_with_rules": _next_to(bare_runs, filtering) if contract else None,
        "skein": _next_to(bare_runs, ours[name]),
        "with_contract": _next_to(bare_runs, ours[f"{name}_checked"]) if contract else None,
        "small_query_ms": {"idle": percentiles(quiet), "while_ingesting": percentiles(busy)},
    }


def _next_to(bare_runs: Runs, runs: Runs) -> dict[str, Any]:
    wall = statistics.median(bare_runs.wall_s) / statistics.median(runs.wall_s)
    cpu = statistics.median(bare_runs.cpu_s) / statistics.median(runs.cpu_s)
    return {**runs.row(), "speed_of_bare": round(wall, 3), "cpu_speed_of_bare": round(cpu, 3)}


def _check_rows(http: httpx.Client, bare_file: Path, datasets: Iterable[str]) -> int:
    """How many there are; all have the same values."""
    with duckdb.connect() as connection:
        columns = connection.sql(f"FROM '{bare_file}'").columns
        sums = f"SELECT count(*) AS n, bit_xor(hash({', '.join(columns)}))::VARCHAR AS h FROM "
        (expected,) = connection.sql(f"{sums} '{bare_file}'").fetchall()
    for dataset in datasets:
        answer = http.post("/api/v1/query", json={"sql": sums + dataset}).raise_for_status().json()
        if tuple(answer["rows"][0].values()) != expected:
            raise SystemExit(f"{dataset} differs from what Polars wrote: {answer['rows']}, not {expected}")
    return int(expected[0])


# Half of the rows are there already, half come after them.
_UPSERTS = {"at the end": "id >= {rows} - {half}", "scattered": "id >= {rows} OR hash(id) % 200 = 0"}


def upserts(server: Server, folder: Path, largest: int) -> list[dict[str, Any]]:
    """1% into tables of growing size."""
    found = []
    with httpx.Client(base_url=server.http, timeout=600) as http:
        for rows in (largest // 16, largest // 4, largest):
            table = csv_of(folder, "six", rows)
            for where, condition in _UPSERTS.items():
                ingest(http, table, "upserted")
                change = _change(folder, rows, condition)
                run = lambda change=change: ingest(  # noqa: E731
                    http, change, "upserted", mode="upsert", keys=["id"]
                )
                wall_s, cpu_s, peak_bytes = measured(server.process, run)
                found.append(
                    {
                        "rows": rows,
                        "keys": where,
                        "seconds": round(wall_s, 3),
                        "cpu_s": round(cpu_s, 3),
                        "peak_mb": round(peak_bytes / 1e6, 1),
                    }
                )
                _check_upserted(http, rows)
                change.unlink()
            http.delete("/api/v1/datasets/upserted")
    return found


def _change(folder: Path, rows: int, condition: str) -> Path:
    change, half = folder / f"change-{rows}.csv", rows // 200
    sql = _SIX.replace("{rows}", str(rows + half))
    where = condition.format(rows=rows, half=half)
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * REPLACE (price + 1 AS price) FROM ({sql}) WHERE {where})"
            f" TO '{change}' (FORMAT csv, HEADER)"
        )
    return change


def _check_upserted(http: httpx.Client, rows: int) -> None:
    sql = "SELECT count(*), count(DISTINCT id), max(id) FROM upserted"
    total = rows + rows // 200
    found = http.post("/api/v1/query", json={"sql": sql}).raise_for_status().json()["rows"]
    if [int(each) for each in found[0].values()] != [total, total, total - 1]:
        raise SystemExit(f"the upsert left {found}, not {total} rows")


def losses(result: dict[str, Any]) -> list[str]:
    """What is below its target."""
    found = []
    for each in result["files"]:
        for way in filter(None, (each["skein"], each["with_contract"])):
            name = each["file"] + (" with a contract" if way is each["with_contract"] else "")
            if way["speed_of_bare"] < TARGET:
                found.append(
                    f"{name}: {way['speed_of_bare']} of bare Polars is below {TARGET};"
                    f" {way['cpu_speed_of_bare']} in processor time"
                )
            if way["peak_mb"] * 1e6 > MAX_MEMORY_BYTES:
                found.append(f"{name}: {way['peak_mb']} MB are more than 3 GiB")
    for each in result["upserts"]:
        if each["peak_mb"] * 1e6 > MAX_MEMORY_BYTES:
            found.append(f"upsert into {each['rows']:,} rows: {each['peak_mb']} MB are more than 3 GiB")
    return found


def main() -> None:
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--rows", type=int, default=8_000_000, help="of the file of six columns; 0: none")
    parser.add_argument("--lineitem", type=int, default=1_000_000, help="rows of lineitem; 0 leaves it out")
    parser.add_argument("--contract", action="store_true", help="the six columns once more, with a contract")
    parser.add_argument("--upsert", type=int, default=0, help="rows of the largest table to change 1%% of")
    options = parser.parse_args()
    folder, scale = options.data.resolve(), 10 if options.quick else 1
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"six": options.rows // scale, "lineitem": options.lineitem // scale}
    files = {name: csv_of(folder, name, rows) for name, rows in sizes.items() if rows}
    with tempfile.TemporaryDirectory(dir=folder) as lake, skein(Path(lake), ingest_root=folder) as server:
        with httpx.Client(base_url=server.http, timeout=120) as http:
            ingest(http, csv_of(folder, "six", 100_000), "small")
        compared = [
            compare(server, path, rounds=options.rounds, contract=options.contract and name == "six")
            for name, path in files.items()
        ]
        upserted = upserts(server, folder, options.upsert) if options.upsert else []
    result: dict[str, Any] = {
        "target": TARGET,
        "rounds": options.rounds,
        "files": compared,
        "upserts": upserted,
    }
    result["losses"] = losses(result)
    path = save("ingest", result)
    plot(result, path.with_suffix(".png"))
    show(result)
    print(f"written: {path} and {path.with_suffix('.png').name}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
