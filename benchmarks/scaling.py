"""How time grows with rows, and throughput with clients: 1M to 80M rows, 1 to 32 clients.

    python -P -m benchmarks.scaling [--rows 20000000] [--seconds 2] [--rounds 2] [--data FOLDER]

Takes two minutes or so with 20M rows, and four more with 80M, once the data is made.

Rows: all six columns of `numbers`, over Flight and in process, from the same files. Clients: each drains the
smallest table again and again; the sum of their rows a second.
Writes benchmarks/results/scaling.json as results come, and scaling.png at the end.
"""

import json
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.compare import files_of
from benchmarks.harness import PeakMemory, Server, arguments, save, skein
from benchmarks.peers.session import Subject, client, verify

SIZES = (1_000_000, 5_000_000, 20_000_000, 80_000_000)
CLIENTS = (1, 2, 4, 8, 16, 32)


def by_rows(
    base: Subject, ours: Subject, server: Server, sizes: list[int], rounds: int
) -> Iterator[dict[str, Any]]:
    for rows in sizes:
        sql = f"SELECT * FROM numbers_{rows}"
        verify(ours, sql, base.ask(do="check", sql=sql))
        base.runs, ours.runs = [], []
        with PeakMemory(server.process) as memory:
            for _ in range(rounds):
                for way in (base, ours):
                    way.runs.append(way.ask(do="drain", sql=sql))
        yield {
            "rows": rows,
            "in_process_s": round(base.median("total_s"), 3),
            "flight_s": round(ours.median("total_s"), 3),
            "ns_per_row": round(ours.median("total_s") / rows * 1e9, 1),
            "first_batch_ms": round(ours.median("first_batch_s") * 1000, 1),
            "server_growth_mb": round(memory.growth_bytes / 1e6, 1),
        }


def by_clients(
    ours: Subject, server: Server, rows: int, *, seconds: float, rounds: int
) -> Iterator[dict[str, Any]]:
    statements = [f"SELECT * FROM numbers_{rows}"]
    for clients in CLIENTS:
        request = {"statements": statements, "clients": clients, "seconds": seconds}
        with PeakMemory(server.process) as memory:
            runs = [ours.ask(do="load", **request) for _ in range(rounds)]
        speeds = [rows * len(run["latencies_s"]) / run["seconds"] for run in runs]
        yield {
            "clients": clients,
            "rows_per_s": round(statistics.median(speeds)),
            "p50_s": round(statistics.median(each for run in runs for each in run["latencies_s"]), 3),
            "server_growth_mb": round(memory.growth_bytes / 1e6, 1),
        }


def run(folder: Path, *, most: int, seconds: float, rounds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """`rows` or `clients`, and what was found about them."""
    sizes = [rows for rows in SIZES if rows <= most]
    with ExitStack() as stack:
        space = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        server = stack.enter_context(skein(space / "lake", ingest_root=folder))
        tables = {}
        for rows in sizes:
            name = f"numbers_{rows}"
            server.ingest(data.numbers(folder, rows), name)
            tables[name] = files_of(server, name)
        base = stack.enter_context(client("in process", "duckdb_in_process", json.dumps(tables)))
        ours = stack.enter_context(client("Flight", "flight", server.flight, server=server.process))
        for row in by_rows(base, ours, server, sizes, rounds):
            yield "rows", row
        for row in by_clients(ours, server, sizes[0], seconds=seconds, rounds=rounds):
            yield "clients", row


def plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    rows = [each["rows"] for each in result["rows"]]
    for key, label in (("flight_s", "Skein, Flight"), ("in_process_s", "in-process DuckDB")):
        left.loglog(rows, [each[key] for each in result["rows"]], marker="o", label=label)
    left.set(xlabel="rows (six numeric columns)", ylabel="seconds", title="One client")
    left.legend()
    clients = [each["clients"] for each in result["clients"]]
    right.plot(clients, [each["rows_per_s"] / 1e6 for each in result["clients"]], marker="o")
    right.set(
        xlabel="clients", ylabel="million rows a second, all together", title="Many clients", ylim=(0, None)
    )
    figure.savefig(path, dpi=110)


def show(result: dict[str, Any]) -> None:
    for title, rows in result.items():
        table = Table(title=f"by {title}")
        for heading in rows[0]:
            table.add_column(heading, justify="right")
        for row in rows:
            table.add_row(*(f"{value:,}" for value in row.values()))
        Console().print(table)


def main() -> None:
    parser = arguments(__doc__, rounds=2)
    parser.add_argument("--rows", type=int, default=20_000_000, help="the most")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run of many clients")
    options = parser.parse_args()
    result: dict[str, list[dict[str, Any]]] = {"rows": [], "clients": []}
    for about, row in run(
        options.data.resolve(), most=options.rows, seconds=options.seconds, rounds=options.rounds
    ):
        print(" ".join(f"{name} {value:,}" for name, value in row.items()), flush=True)
        result[about].append(row)
        path = save("scaling", result)
    plot(result, path.with_suffix(".png"))
    show(result)
    print(f"written: {path} and {path.with_suffix('.png').name}")


if __name__ == "__main__":
    main()
