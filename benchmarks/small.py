"""Small statements, many a second: 1 to 32 clients at a time, Skein next to other servers.

    python -P -m benchmarks.small [--rows 6000000] [--seconds 1] [--rounds 2] [--calls 200]
        [--peers "Mosaic,Flight from memory"] [--costs-only] [--data FOLDER]

Takes four minutes or so, once the other servers are installed and the data is made.

Each client is a thread with a connection of its own, in one process for each server. "point" asks for the
rows of one order, of another one each time; "again" asks for an aggregate, the same each time, which Skein
keeps; "select 1" is the trip. "Flight from memory" sends batches that lie ready: what pyarrow can do at most.
"costs" is what one call of one client costs: processor time of the server and of its guarded processes, by
the clock too, for who may write and for who may only read.

Tells which targets are met. Writes benchmarks/results/small.json as results come, and small.png at the end.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count, islice, product
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
from benchmarks.peers.session import Failed, Subject, client, peers, verify

CLIENTS = (1, 2, 4, 8, 16, 32)
PEERS = "Mosaic,Flight from memory"
AGAIN = "SELECT l_returnflag, count(*) AS n FROM lineitem GROUP BY l_returnflag ORDER BY l_returnflag"
TITLES = ("point", "again", "select 1")

_POINTS = 2000  # a run: more than any server answers

_NUMBERS = frozenset(
    {"clients", "per_s", "p50_ms", "p99_ms", "cpu_ms", "server_ms", "guarded_ms", "least_ms"}
)

WRITER, READER = "token-of-the-writer", "token-of-the-reader"


def statements(title: str, rows: int, run: int = 0) -> list[str]:
    """What the clients of one run ask, one after the other; points are others in each run."""
    if title == "point":
        orders = [key * 977 % (rows // 4) for key in range(run * _POINTS, (run + 1) * _POINTS)]
        return [f"SELECT * FROM lineitem WHERE l_orderkey = {4 * order + 1}" for order in orders]
    return [AGAIN if title == "again" else "SELECT 1 AS one"]


def costs(folder: Path, rows: int, *, calls: int, rounds: int) -> list[dict[str, Any]]:
    """A row a call, the lowest of the rounds: other work on the machine only ever adds to such times."""
    with ExitStack() as stack:
        space = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        server = stack.enter_context(
            skein(space / "lake", ingest_root=folder, cache=True, token=WRITER, reader=READER)
        )
        server.ingest(data.lineitem(folder, rows), "lineitem")
        cases = {
            f"{title}, {way}, {who}": call
            for who, token in (("may write", WRITER), ("may only read", READER))
            for title in TITLES
            for way, call in _calls(server, token, statements(title, rows), stack).items()
        }
        found: dict[str, list[dict[str, Any]]] = {}
        numbers = count()  # so that each call is about another point
        for _ in range(rounds):
            for name, call in cases.items():
                found.setdefault(name, []).append({"case": name, **_cost(server, call, calls, numbers)})
        return [min(rows, key=lambda row: row["server_ms"] + row["guarded_ms"]) for rows in found.values()]


def _calls(
    server: Server, token: str, asked: list[str], stack: ExitStack
) -> dict[str, Callable[[int], object]]:
    client = stack.enter_context(fl.connect(server.flight))
    header = f"Bearer {token}"
    options = fl.FlightCallOptions(headers=[(b"authorization", header.encode())])
    login = {"adbc.flight.sql.authorization_header": header}
    connection = stack.enter_context(adbc.connect(server.flight, db_kwargs=login, autocommit=True))

    def plan(number: int) -> fl.Ticket:
        command = fl.FlightDescriptor.for_command(asked[number % len(asked)])
        return client.get_flight_info(command, options).endpoints[0].ticket

    tickets = [plan(number) for number in range(min(50, len(asked)))]

    def read(number: int) -> pa.Table:
        return client.do_get(tickets[number % len(tickets)], options).read_all()

    def dbapi(number: int) -> pa.Table:
        with connection.cursor() as cursor:
            cursor.execute(asked[number % len(asked)])
            return cursor.fetch_arrow_table()

    return {"GetFlightInfo": plan, "DoGet": read, "DBAPI": dbapi}


def _cost(
    server: Server, call: Callable[[int], object], calls: int, numbers: Iterator[int]
) -> dict[str, float]:
    for number in islice(numbers, 20):
        call(number)
    spent, guarded, walls = cpu_s(server.process), _guarded_s(server), []
    for number in islice(numbers, calls):
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


def measure(ways: list[Subject], rows: int, *, seconds: float, rounds: int) -> Iterator[dict[str, Any]]:
    """A row for each number of clients, statement and way: interleaved, the latencies of all rounds together.

    Nobody is asked for a point twice: what Skein's doors have in common would know it.
    """
    fresh = count()
    for clients, title in product(CLIENTS, TITLES):
        runs: dict[str, list[dict[str, Any]]] = {}
        for _, way in product(range(rounds), ways):
            asked = statements(title, rows, next(fresh))
            try:
                answer = way.ask(do="load", statements=asked, clients=clients, seconds=seconds)
                runs.setdefault(way.name, []).append(answer)
            except Failed as failure:
                print(f"{way.name} with {clients} clients: {failure}")
        for name, many in runs.items():
            yield {"statement": title, **_row(name, clients, many)}


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


@contextmanager
def ways_to(folder: Path, rows: int, others: frozenset[str]) -> Iterator[list[Subject]]:
    """Skein's doors and the other servers, which all bring the same rows."""
    with ExitStack() as stack:
        space = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        server = stack.enter_context(skein(space / "lake", ingest_root=folder, cache=True))
        server.ingest(data.lineitem(folder, rows), "lineitem")
        doors = {
            "Skein, Flight": ("flight", server.flight),
            "Skein, Flight SQL": ("adbc", server.flight),
            "Skein, HTTP": ("skein_http", server.http.removeprefix("http://")),
        }
        ways = [
            stack.enter_context(client(name, kind, address, server=server.process))
            for name, (kind, address) in doors.items()
        ]
        tables = {"lineitem": files_of(server, "lineitem")}
        ways += stack.enter_context(peers(tables, folder / "peers", only=others))
        for title in TITLES:
            sql = statements(title, rows)[0]
            expected = ways[0].ask(do="check", sql=sql)
            for way in ways[1:]:
                verify(way, sql, expected)
        yield ways


def targets(found: list[dict[str, Any]], spent: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Each target with what was measured; those that need a server that did not run are left out."""
    cost = {row["case"]: row for row in spent}
    at = {(row["statement"], row["case"], row["clients"]): row for row in found}
    told = []

    def tell(target: str, measured: str, *, met: bool) -> None:
        told.append({"target": target, "measured": measured, "": "met" if met else "missed"})

    dbapi, get = (cost[f"select 1, {way}, may write"]["p50_ms"] for way in ("DBAPI", "DoGet"))
    tell(
        "select 1: the DBAPI at most 3 times a DoGet",
        f"{dbapi} ms and {get} ms: {dbapi / get:.1f}",
        met=dbapi <= 3 * get,
    )
    kept, most = (
        max((at[key]["per_s"] for key in at if key[:2] == ("again", name)), default=0.0)
        for name in ("Skein, Flight", "Flight from memory")
    )
    if kept:
        bound = min(1000.0, most or 1000.0)
        tell("again: 1,000/s, or what pyarrow can", f"{kept}/s, pyarrow {most}/s", met=kept >= bound)
    ours, theirs = (at.get(("point", name, 8)) for name in ("Skein, Flight", "Mosaic"))
    if ours and theirs:
        times = ours["per_s"] / theirs["per_s"]
        measured = f"{ours['per_s']}/s and {theirs['per_s']}/s: {times:.1f}"
        tell("point, 8 clients: 3 times Mosaic", measured, met=times >= 3)
    if ours:
        tail = ours["p99_ms"] / ours["p50_ms"]
        measured = f"{ours['p50_ms']} ms and {ours['p99_ms']} ms: {tail:.1f}"
        tell("point, 8 clients: p99 below 5 times p50", measured, met=tail < 5)
    return told


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title)
    for heading in rows[0]:
        table.add_column(heading, justify="right" if heading in _NUMBERS else "left")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=120).print(table)


def plot(found: list[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(TITLES), figsize=(15, 8), layout="constrained", sharex=True)
    for column, title in enumerate(TITLES):
        for name in dict.fromkeys(row["case"] for row in found):
            mine = [row for row in found if (row["statement"], row["case"]) == (title, name)]
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
    parser = arguments(__doc__, rounds=2)
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run")
    parser.add_argument("--calls", type=int, default=200, help="of each kind, to tell what one costs")
    parser.add_argument("--peers", default=PEERS, help="names from benchmarks/peers/servers.py, with commas")
    parser.add_argument("--costs-only", action="store_true", help="leave out the loads and the other servers")
    options = parser.parse_args()
    folder, rows, rounds = options.data.resolve(), options.rows, options.rounds
    spent = costs(folder, rows, calls=options.calls, rounds=rounds)
    show("costs", spent)
    found: list[dict[str, Any]] = []
    path = save("small", {"rows": rows, "costs": spent})
    if options.costs_only:
        return
    with ways_to(folder, rows, frozenset(options.peers.split(","))) as ways:
        for row in measure(ways, rows, seconds=options.seconds, rounds=rounds):
            print(" ".join(f"{value:>18}" for value in row.values()), flush=True)
            found.append(row)
            save("small", {"rows": rows, "costs": spent, "statements": found})
    told = targets(found, spent)
    save("small", {"rows": rows, "costs": spent, "statements": found, "targets": told})
    plot(found, path.with_suffix(".png"))
    for title in TITLES:
        show(title, [row for row in found if row["statement"] == title])
    show("targets", told)
    print(f"written: {path} and {path.with_suffix('.png').name}")


if __name__ == "__main__":
    main()
