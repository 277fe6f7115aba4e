"""Skein next to other ways of getting a result into another process, in one interleaved session.

    python -P -m benchmarks.compare [--scale 1.0] [--rounds 5] [--only NAME ...] [--data FOLDER]

Every server and every client is a process of its own; each peer has its own environment with its own
versions. All read the same Parquet files, which Skein wrote. Before a workload is timed, every client adds up
every column of what it receives; the sums must agree. Peers that would take minutes hold fewer rows and are
compared by rows a second.
Writes benchmarks/results/compare.json and compare.png.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from deltalake import DeltaTable
from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.harness import Server, arguments, save, skein
from benchmarks.peers.session import Failed, Subject, client, peers, verify

BASE = "in-process DuckDB"
SKEIN = "Skein, Flight"
CEILING = "Flight from memory"
_KEPT = frozenset({"lineitem"})  # what the server with a result cache holds


@dataclass(frozen=True, slots=True)
class Workload:
    title: str
    sql: str
    table: str = "lineitem"
    bulk: bool = False  # peers with fewer rows take part


WORKLOADS = (
    Workload("lineitem, all columns", "SELECT * FROM lineitem", bulk=True),
    Workload("numbers, 3 of 6 columns", "SELECT id, quantity, price FROM numbers", "numbers"),
    Workload("numbers, all columns", "SELECT * FROM numbers", "numbers"),
    Workload("1% filter", "SELECT * FROM lineitem WHERE l_partkey <= 2000"),
    Workload(
        "group by",
        "SELECT l_returnflag, l_linestatus, sum(l_quantity) AS q, avg(l_extendedprice) AS p, count(*) AS n"
        " FROM lineitem GROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus",
    ),
    Workload(
        "top 100", "SELECT * FROM lineitem ORDER BY l_extendedprice DESC, l_orderkey, l_linenumber LIMIT 100"
    ),
    Workload("wide texts", "SELECT * FROM texts", "texts"),
    Workload("nested", "SELECT * FROM nested", "nested"),
)


@contextmanager
def subjects(folder: Path, scale: float, only: frozenset[str]) -> Iterator[list[Subject]]:
    """The ways of getting rows, in the order in which they are asked."""
    made = {
        "lineitem": data.lineitem(folder, int(6_000_000 * scale)),
        "numbers": data.numbers(folder, int(60_000_000 * scale)),
        "texts": data.texts(folder, int(1_000_000 * scale)),
        "nested": data.nested(folder, int(2_000_000 * scale)),
    }
    with ExitStack() as stack:
        space = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        server = stack.enter_context(skein(space / "lake", ingest_root=folder))
        tables = {}
        for name, path in made.items():
            server.ingest(path, name)
            tables[name] = files_of(server, name)
        cached = stack.enter_context(skein(space / "kept", ingest_root=folder, cache=True))
        cached.ingest(made["lineitem"], "lineitem")
        http = server.http.removeprefix("http://")
        ways = [
            client(BASE, "duckdb_in_process", json.dumps(tables)),
            client("in-process Polars", "polars_in_process", json.dumps(tables)),
            client(SKEIN, "flight", server.flight, server=server.process),
            client("Skein, compact Flight", "flight_compact", server.flight, server=server.process),
            client("Skein, Flight SQL", "adbc", server.flight, server=server.process),
            client("Skein, HTTP", "skein_http", http, server=server.process),
            client("Skein, WebSocket", "skein_websocket", http, server=server.process),
            client("Skein, kept result", "flight", cached.flight, server=cached.process, tables=_KEPT),
        ]
        ours = [stack.enter_context(way) for way in ways]
        theirs = stack.enter_context(peers(tables, folder / "peers", only=only))
        yield ours + theirs


def files_of(server: Server, name: str) -> list[str]:
    """The Parquet files of a dataset, so that all read exactly what Skein reads."""
    dataset = httpx.get(f"{server.http}/api/v1/datasets/{name}").raise_for_status().json()
    return DeltaTable(str(server.data / "lake" / dataset["id"])).file_uris()


def measure(workload: Workload, ways: list[Subject], *, rounds: int) -> dict[str, Any]:
    """Interleaved: A B C A B C ..., after one round that checks and warms up."""
    taking_part: list[Subject] = []
    failures: dict[str, str] = {}
    (base,) = [way for way in ways if way.name == BASE]
    expected = base.ask(do="check", sql=workload.sql)
    for way in ways:
        way.runs = []
        if (way.tables and workload.table not in way.tables) or (way.limited and not workload.bulk):
            continue
        try:
            verify(way, workload.sql, expected)
            taking_part.append(way)
        except Failed as failure:
            failures[way.name] = str(failure)
    for _ in range(rounds):
        for way in list(taking_part):
            try:
                way.runs.append(way.ask(do="drain", sql=workload.sql))
            except Failed as failure:
                failures[way.name] = str(failure)
                taking_part.remove(way)
    return {
        "sql": workload.sql,
        "cases": [_row(way, base) for way in taking_part],
        "failures": failures,
    }


def _row(way: Subject, base: Subject) -> dict[str, Any]:
    rows = way.runs[0]["rows"]
    if any(run["rows"] != rows for run in way.runs):
        raise SystemExit(f"{way.name}: the number of rows changed between runs")
    speed = rows / way.median("total_s")
    return {
        "case": way.name,
        "rows": rows,
        "median_s": round(way.median("total_s"), 4),
        "rows_per_s": round(speed),
        "speed_of_base": round(speed / (base.runs[0]["rows"] / base.median("total_s")), 3),
        "first_batch_ms": round(way.median("first_batch_s") * 1000, 1),
        "client_cpu_s": round(way.median("cpu_s"), 3),
        "server_cpu_s": round(way.median("server_cpu_s"), 3),
        "mb_per_s": round(way.runs[0]["bytes"] / way.median("total_s") / 1e6, 1),
        "runs_s": [round(run["total_s"], 4) for run in way.runs],
    }


def conversions(ways: list[Subject], *, rounds: int) -> list[dict[str, Any]]:
    """A tenth of lineitem to the data frame of the client, over Flight and in process."""
    sql = "SELECT * FROM lineitem WHERE l_suppkey <= 1000"
    found = []
    for to in ("pandas", "polars"):
        runs: dict[str, list[float]] = {}
        for _ in range(rounds):
            for way in ways:
                if way.name in (BASE, SKEIN):
                    runs.setdefault(way.name, []).append(way.ask(do="convert", sql=sql, to=to)["total_s"])
        found += [
            {"to": to, "case": name, "median_s": sorted(spent)[len(spent) // 2]}
            for name, spent in runs.items()
        ]
    return found


# How many times faster than each peer a whole table is meant to come, by rows a second.
TARGETS = {"DuckDB quack": 6.0, "Mosaic": 4.0, "roapi": 1.3, "naive JSON": 50.0}


def losses(workloads: dict[str, Any]) -> list[str]:
    """Where Skein is below what it is meant to reach, or slower than a peer."""
    found = []
    for title, result in workloads.items():
        speed = {case["case"]: case["rows_per_s"] for case in result["cases"]}
        for name, theirs in speed.items():
            if name.startswith(("Skein", "in-process")) or name == CEILING:
                continue
            factor = speed[SKEIN] / theirs
            wanted = (
                TARGETS.get(name, 1.0)
                if title in ("lineitem, all columns", "numbers, 3 of 6 columns")
                else 1.0
            )
            if factor < wanted:
                found.append(f"{title}: {factor:.2f} times {name}; wanted {wanted:g}")
    return found


_KEYS = (
    "case",
    "median_s",
    "rows_per_s",
    "speed_of_base",
    "first_batch_ms",
    "client_cpu_s",
    "server_cpu_s",
    "mb_per_s",
)


def show(result: dict[str, Any]) -> None:
    console = Console(width=140)
    for title, workload in result["workloads"].items():
        table = Table(title=title)
        for heading in _KEYS:
            table.add_column(heading, justify="left" if heading == "case" else "right")
        for row in workload["cases"]:
            table.add_row(*(f"{row[key]:,}" if key == "rows_per_s" else str(row[key]) for key in _KEYS))
        console.print(table)
        for name, why in workload["failures"].items():
            console.print(f"{name} failed: {why[:200]}")
    for each in result["conversions"]:
        console.print(f"to {each['to']}: {each['case']} {each['median_s']:.3f} s")
    for loss in result["losses"] or ["no losses"]:
        console.print(loss)


def plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    workloads = result["workloads"]
    figure, axes = plt.subplots(2, (len(workloads) + 1) // 2, figsize=(18, 9), layout="constrained")
    for place, (title, workload) in zip(axes.flat, workloads.items(), strict=False):
        cases = workload["cases"][::-1]
        colours = ["tab:blue" if case["case"].startswith("Skein") else "tab:gray" for case in cases]
        bars = place.barh(
            [case["case"] for case in cases], [case["speed_of_base"] for case in cases], color=colours
        )
        place.bar_label(bars, fmt="%.2f", fontsize=8)
        place.set_xscale("log")
        place.margins(x=0.15)  # room for the numbers
        place.xaxis.set_minor_formatter(NullFormatter())
        place.set_title(title)
    figure.suptitle("Rows a second, in-process DuckDB = 1 (logarithmic)")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1.0: 6M rows of lineitem, 60M of numbers")
    parser.add_argument("--only", action="append", default=[], metavar="PEER", help="this peer; repeat it")
    options = parser.parse_args()
    with subjects(options.data.resolve(), options.scale, frozenset(options.only)) as ways:
        workloads = {each.title: measure(each, ways, rounds=options.rounds) for each in WORKLOADS}
        converted = conversions(ways, rounds=min(3, options.rounds))
    result: dict[str, Any] = {
        "scale": options.scale,
        "rounds": options.rounds,
        "workloads": workloads,
        "conversions": converted,
    }
    result["losses"] = losses(workloads)
    path = save("compare", result)
    plot(result, path.with_suffix(".png"))
    show(result)
    print(f"written: {path} and {path.with_suffix('.png').name}")


if __name__ == "__main__":
    main()
