"""Did a change make Skein slower? Ratios to what runs beside it, compared with those that are committed.

    python -P -m benchmarks.quick [--accept]

Takes less than two minutes. Each ratio is to in-process DuckDB, or to a Flight server that holds the result
in memory, in the same interleaved session, so that it says much the same on every machine that is not busy
with something else. A ratio that falls by more than the band, a quarter, fails. `--accept` writes the ratios
of this run as the new baseline, benchmarks/baseline.json.
"""

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.compare import files_of
from benchmarks.harness import arguments, skein
from benchmarks.peers.session import Subject, client, peers, verify

BASELINE = Path(__file__).parent / "baseline.json"
BAND = 0.25
ROUNDS = 9
AGAIN = "SELECT l_shipmode, count(*) AS n FROM lineitem GROUP BY l_shipmode ORDER BY l_shipmode"
WORKLOADS = {
    "all columns": "SELECT * FROM lineitem",
    "three columns": "SELECT l_orderkey, l_quantity, l_extendedprice FROM lineitem",
    "filter": "SELECT * FROM lineitem WHERE l_partkey <= 2000",
    "aggregate": "SELECT l_shipmode, sum(l_quantity) AS q FROM lineitem GROUP BY ALL ORDER BY ALL",
}


def ratios(folder: Path) -> dict[str, float]:
    """Speeds of Skein: scans to in-process DuckDB, kept results to the bare trip."""
    with ExitStack() as stack:
        space = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        server = stack.enter_context(skein(space / "lake", ingest_root=folder))
        cached = stack.enter_context(skein(space / "kept", ingest_root=folder, cache=True))
        for each in (server, cached):
            each.ingest(data.lineitem(folder, 1_000_000), "lineitem")
        tables = {"lineitem": files_of(server, "lineitem")}
        base = stack.enter_context(client("in process", "duckdb_in_process", json.dumps(tables)))
        ours = stack.enter_context(client("Skein", "flight", server.flight, server=server.process))
        kept = stack.enter_context(client("Skein, kept", "flight", cached.flight, server=cached.process))
        memory, *_ = stack.enter_context(peers(tables, space, only=frozenset({"Flight from memory"})))
        found = {}
        for title, sql in WORKLOADS.items():
            verify(ours, sql, base.ask(do="check", sql=sql))
            found[title] = _ratio(ours, base, sql)
        everything = WORKLOADS["all columns"]
        for way in (kept, memory):
            verify(way, everything, base.ask(do="check", sql=everything))
        found["kept result, to the bare trip"] = _ratio(kept, memory, everything)
        found["kept statements a second, to the bare trip"] = _load(kept) / _load(memory)
        return {title: round(ratio, 3) for title, ratio in found.items()}


def _ratio(ours: Subject, base: Subject, sql: str) -> float:
    ours.runs, base.runs = [], []
    for _ in range(ROUNDS):
        for way in (base, ours):
            way.runs.append(way.ask(do="drain", sql=sql))
    return base.median("total_s") / ours.median("total_s")


def _load(way: Subject) -> float:
    answer = way.ask(do="load", statements=[AGAIN], clients=4, seconds=3.0)
    return len(answer["latencies_s"]) / float(answer["seconds"])


def main() -> None:
    parser = arguments(__doc__, rounds=None)
    parser.add_argument("--accept", action="store_true", help="make these ratios the baseline")
    options = parser.parse_args()
    folder = options.data.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    found = ratios(folder)
    if options.accept:
        BASELINE.write_text(json.dumps(found, indent=2) + "\n")
    baseline = json.loads(BASELINE.read_text())
    slower = [title for title, ratio in found.items() if ratio < baseline[title] * (1 - BAND)]
    table = Table("ratio", "baseline", "now", "")
    for title, ratio in found.items():
        table.add_row(title, str(baseline[title]), str(ratio), "slower" if title in slower else "")
    Console().print(table)
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()
