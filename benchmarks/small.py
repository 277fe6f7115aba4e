"""Small statements, many a second: 1 to 32 clients at a time, Skein next to other servers.

    python -P -m benchmarks.small [--rows 6000000] [--seconds 3] [--rounds 3] [--calls 1000]
        [--costs-only] [--data FOLDER]

Each client is a thread with a connection of its own, in one process for each server. "point" asks for the
rows of one order, another one each time; "again" asks for an aggregate, the same each time, which Skein
keeps; "select 1" is the trip. "costs" is what one call of one client costs: processor time of the server and
of its guarded processes, by the clock too, for who may write and for who may only read. Writes
benchmarks/results/small.json and small.png.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as fl
from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.compare import files_of
from benchmarks.harness import Server, arguments, cpu_s, save, skein
from benchmarks.peers.session import Failed, Subject, client, peers

CLIENTS = (1, 2, 4, 8, 16, 32)
PEERS = frozenset({"naive Flight", "DuckDB quack", "Mosaic", "roapi"})
STATEMENTS = {
    "point": [f"SELECT * FROM lineitem WHERE l_orderkey = {4 * key * 977 + 1}" for key in range(500)],
    "again": ["SELECT l_returnflag, count(*) AS n FROM lineitem GROUP BY l_returnflag ORDER BY l_returnflag"],
    "select 1": ["SELECT 1 AS one"],
}

WRITER, READER = "token-of-the-writer", "token-of-the-reader"


def costs(folder: Path, path: Path, *, calls: int, rounds: int) -> list[dict[str, Any]]:
    """A row a call, the lowest of the rounds: other work on the machine only ever adds to such times."""
    with ExitStack() as stack:
        space = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        server = stack.enter_context(
            skein(space / "lake", ingest_root=folder, cache=True, token=WRITER, reader=READER)
        )
        server.ingest(path, "lineitem")
        cases = {
            f"{title}, {way}, {who}": call
            for who, token in (("may write", WRITER), ("may only read", READER))
            for title, statements in STATEMENTS.items()
            for way, call in _calls(server, token, statements, stack).items()
        }
        found: dict[str, list[dict[str, Any]]] = {}
        for _ in range(rounds):
            for name, call in cases.items():
                found.setdefault(name, []).append({"case": name, **_cost(server, call, calls)})
        return [min(rows, key=lambda row: row["server_ms"] + row["guarded_ms"]) for rows in found.values()]


def _calls(
    server: Server, token: str, statements: list[str], stack: ExitStack
) -> dict[str, Callable[[int], object]]:
    client = stack.enter_context(fl.connect(server.flight))
    header = f"Bearer {token}"
    options = fl.FlightCallOptions(headers=[(b"authorization", header.encode())])
    login = {"adbc.flight.sql.authorization_header": header}
    connection = stack.enter_context(adbc.connect(server.flight, db_kwargs=login, autocommit=True))

    def plan(number: int) -> fl.Ticket:
        command = fl.FlightDescriptor.for_command(statements[number % len(statements)])
        return client.get_flight_info(command, options).endpoints[0].ticket

    tickets = [plan(number) for number in range(min(50, len(statements)))]

    def read(number: int) -> pa.Table:
        return client.do_get(tickets[number % len(tickets)], options).read_all()

    def dbapi(number: int) -> pa.Table:
        with connection.cursor() as cursor:
            cursor.execute(statements[number % len(statements)])
            return cursor.fetch_arrow_table()

    return {"GetFlightInfo": plan, "DoGet": read, "DBAPI": dbapi}


def _cost(server: Server, call: Callable[[int], object], calls: int) -> dict[str, float]:
    for number in range(20):
        call(number)
    spent, guarded, walls = cpu_s(server.process), _guarded_s(server), []
    for number in range(calls):
        start = time.perf_counter()
        call(number)
        walls.append(time.perf_counter() - start)
    return {
        "server_ms": round(1000 * (cpu_s(server.process) - spent) / calls, 2),
        "guarded_ms": round(1000 * (_guarded_s(server) - guarded) / calls, 2),
        "p50_ms": round(1000 * statistics.median(walls), 2),
        "least_ms": round(1000 * min(walls), 2),
    }


def _guarded_s(server: Server) -> float:
    return sum(map(cpu_s, server.process.children(recursive=True)))


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
    parser.add_argument("--calls", type=int, default=1000, help="of each kind, to tell what one costs")
    parser.add_argument("--costs-only", action="store_true", help="leave out the loads and the other servers")
    options = parser.parse_args()
    folder, rows, rounds = options.data.resolve(), options.rows, options.rounds
    spent = costs(folder, data.lineitem(folder, rows), calls=options.calls, rounds=rounds)
    show({"costs": spent})
    if options.costs_only:
        return
    result = run(folder, rows=rows, seconds=options.seconds, rounds=rounds)
    path = save("small", {"rows": rows, "statements": result, "costs": spent})
    plot(result, path.with_suffix(".png"))
    show(result)
    print(f"written: {path} and {path.with_suffix('.png').name}")


if __name__ == "__main__":
    main()
