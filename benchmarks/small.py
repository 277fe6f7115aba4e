"""Small statements, many a second: 1 to 32 clients at a time, Skein next to other servers.

    python -P -m benchmarks.small [--rows 6000000] [--seconds 3] [--rounds 3] [--data FOLDER]

Each client is a thread with a connection of its own, in one process for each server. "point" asks for the
rows of one order, another one each time; "again" asks for an aggregate, the same each time, which Skein
keeps; "select 1" is the trip. Writes benchmarks/results/small.json and small.png.
"""

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.compare import files_of
from benchmarks.harness import arguments, save, skein
from benchmarks.peers.session import Failed, Subject, client, peers

CLIENTS = (1, 2, 4, 8, 16, 32)
PEERS = frozenset({"naive Flight", "DuckDB quack", "Mosaic", "roapi"})
STATEMENTS = {
    "point": [f"SELECT * FROM lineitem WHERE l_orderkey = {4 * key * 977 + 1}" for key in range(500)],
    "again": ["SELECT l_returnflag, count(*) AS n FROM lineitem GROUP BY l_returnflag ORDER BY l_returnflag"],
    "select 1": ["SELECT 1 AS one"],
}


def measure(
    ways: list[Subject], statements: list[str], *, seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """Interleaved by way; the latencies of all rounds together."""
    found = []
    for clients in CLIENTS:
        runs: dict[str, list[dict[str, Any]]] = {}
        for _ in range(rounds):
            for way in ways:
                request = {"statements": statements, "clients": clients, "seconds": seconds}
                try:
                    runs.setdefault(way.name, []).append(way.ask(do="load", **request))
                except Failed as failure:
                    print(f"{way.name} with {clients} clients: {failure}")
        found += [_row(name, clients, many) for name, many in runs.items() if many]
    return found


def _row(name: str, clients: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    latencies = [each for run in runs for each in run["latencies_s"]]
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "case": name,
        "clients": clients,
        "per_s": round(statistics.median(len(run["latencies_s"]) / run["seconds"] for run in runs), 1),
        "p50_ms": round(cuts[49] * 1000, 2),
        "p99_ms": round(cuts[98] * 1000, 2),
        "cpu_ms": round(
            1000 * sum(run["cpu_s"] + run["server_cpu_s"] for run in runs) / max(1, len(latencies)), 2
        ),
    }


def run(folder: Path, *, rows: int, seconds: float, rounds: int) -> dict[str, Any]:
    path = data.lineitem(folder, rows)
    with ExitStack() as stack:
        space = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        server = stack.enter_context(skein(space / "lake", ingest_root=folder, cache=True))
        server.ingest(path, "lineitem")
        ways = [
            stack.enter_context(client("Skein, Flight", "flight", server.flight, server=server.process)),
            stack.enter_context(client("Skein, Flight SQL", "adbc", server.flight, server=server.process)),
        ]
        tables = {"lineitem": files_of(server, "lineitem")}
        ways += stack.enter_context(peers(tables, folder / "peers", only=PEERS))
        return {
            title: measure(ways, statements, seconds=seconds, rounds=rounds)
            for title, statements in STATEMENTS.items()
        }


def show(result: dict[str, Any]) -> None:
    console = Console(width=120)
    for title, rows in result.items():
        table = Table(title=title)
        for heading in rows[0]:
            table.add_column(heading, justify="left" if heading == "case" else "right")
        for row in rows:
            table.add_row(*(str(value) for value in row.values()))
        console.print(table)


def plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(result), figsize=(15, 8), layout="constrained", sharex=True)
    for column, (title, rows) in enumerate(result.items()):
        for name in dict.fromkeys(row["case"] for row in rows):
            mine = [row for row in rows if row["case"] == name]
            clients = [row["clients"] for row in mine]
            axes[0][column].plot(clients, [row["per_s"] for row in mine], marker="o", label=name)
            axes[1][column].plot(clients, [row["p99_ms"] for row in mine], marker="o", label=name)
        axes[0][column].set_title(title)
        axes[0][column].set_ylabel("statements a second")
        axes[1][column].set_ylabel("99th percentile, ms")
        axes[1][column].set_yscale("log")
        axes[1][column].set_xlabel("clients")
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    result = run(
        options.data.resolve(),
        rows=options.rows,
        seconds=options.seconds,
        rounds=options.rounds,
    )
    path = save("small", {"rows": options.rows, "statements": result})
    plot(result, path.with_suffix(".png"))
    show(result)
    print(f"written: {path} and {path.with_suffix('.png').name}")


if __name__ == "__main__":
    main()
