"""The server's memory: while 1 to 200 results are open that nobody reads on, and while large ones are sent.

    python -P -m benchmarks.memory [--quick] [--data FOLDER]

Open results: each has a connection of its own, reads its first batch, and then nothing. "rss_mb" is what
the server has of the machine's memory once that is steady, "duckdb_mb" what DuckDB counts of it against
SKEIN_MEMORY_LIMIT, which is the default. In the end all of 200 slots are taken: one query more has to be
refused, a kept result has to come all the same, and an aggregate once a slot is free. No more are opened
where the server gets to 12 GB.
Large results: 80M x 6 numbers, read as fast as they come, and by clients that pause for 100 ms after each
piece.
Writes benchmarks/results/memory.json and memory.png.
"""

import http.client
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pyarrow as pa
import pyarrow.flight as fl
from rich.console import Console
from rich.table import Table
from websockets.sync.client import connect

from benchmarks import data
from benchmarks.harness import PeakMemory, Server, arguments, save, skein
from skein.settings import machine_memory_bytes

COUNTS = (1, 10, 50, 100, 200)
UNREAD = {
    "lineitem, 16 columns": "SELECT * FROM lineitem",
    "numbers, 6 columns": "SELECT * FROM numbers",
    "lineitem, 3 columns": "SELECT l_orderkey, l_extendedprice, l_shipdate FROM lineitem",
}
LARGE = "SELECT * FROM numbers"
AGGREGATE = "SELECT {column}, sum(l_quantity) AS q FROM lineitem GROUP BY ALL ORDER BY ALL"
_MOST_BYTES = 12 << 30
_STEADY_S, _WAIT_S = 3.0, 60.0
_PAUSE_S = 0.1


class Stream:
    """One result over Flight, over a connection of its own, whose first batch was read."""

    def __init__(self, address: str, sql: str) -> None:
        self._client = fl.FlightClient(address, generic_options=[("grpc.use_local_subchannel_pool", 1)])
        info = self._client.get_flight_info(fl.FlightDescriptor.for_command(sql))
        self._reader = self._client.do_get(info.endpoints[0].ticket)
        try:
            self._first = self._reader.read_chunk().data
        except BaseException:
            self.close()
            raise

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield self._first
        for chunk in self._reader:
            yield chunk.data

    def close(self) -> None:
        self._reader.cancel()
        self._client.close()


def over_flight(server: Server) -> Iterator[object]:
    with closing(Stream(server.flight, LARGE)) as stream:
        yield from stream.batches()


def over_http(server: Server) -> Iterator[object]:
    headers = {"Accept": "application/vnd.apache.arrow.stream", "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection(urlsplit(server.http).netloc)) as connection:
        connection.request("POST", "/api/v1/queries", json.dumps({"sql": LARGE}), headers)
        reply = connection.getresponse()
        while chunk := reply.read(2 << 20):
            yield chunk


def over_websocket(server: Server) -> Iterator[object]:
    url = server.http.replace("http", "ws", 1) + "/api/v1/live"
    with connect(url, max_size=None, max_queue=1, compression=None, close_timeout=1) as socket:
        socket.send(json.dumps({"subscribe": {"sql": LARGE}}))
        for frame in socket:
            if isinstance(frame, str) and json.loads(frame)["type"] in ("end", "error"):
                return
            yield frame


DOORS: dict[str, Callable[[Server], Iterator[object]]] = {
    "Flight": over_flight,
    "HTTP": over_http,
    "live query": over_websocket,
}


def growth_mb(server: Server, pieces: Iterator[object], *, pause_s: float, most_s: float) -> tuple[int, int]:
    """What the server grew by at the most while `pieces` were read, and how many came."""
    deadline = time.monotonic() + most_s
    steady_rss(server.process)
    count = 0
    with PeakMemory(server.process) as memory:
        for _ in pieces:
            count += 1
            time.sleep(pause_s)
            if time.monotonic() > deadline:
                break
    pieces.close()  # type: ignore[attr-defined] # they are generators
    return round(memory.growth_bytes / 1e6), count


def steady_rss(process: psutil.Process) -> int:
    """Resident bytes once they have kept within 1% for `_STEADY_S`; the latest after `_WAIT_S`."""
    deadline = time.monotonic() + _WAIT_S
    since, level = time.monotonic(), process.memory_info().rss
    while time.monotonic() < min(deadline, since + _STEADY_S):
        time.sleep(0.1)
        rss = process.memory_info().rss
        if abs(rss - level) > level // 100:
            since, level = time.monotonic(), rss
    return process.memory_info().rss


def duckdb_mb(server: Server) -> int | None:
    """None while there is no slot to ask with."""
    sql = "SELECT sum(memory_usage_bytes)::BIGINT AS used FROM duckdb_memory()"
    reply = httpx.post(f"{server.http}/api/v1/queries", json={"sql": sql}, timeout=60)
    return round(reply.json()["rows"][0]["used"] / 1e6) if reply.is_success else None


def refusal(server: Server, sql: str) -> str | None:
    """The code with which one stream more is refused; None where it comes."""
    try:
        with closing(Stream(server.flight, sql)) as stream:
            sum(batch.num_rows for batch in stream.batches())
    except fl.FlightError as failure:
        return str(failure).partition("]")[0].removeprefix("[")
    return None


def unread(server: Server, sql: str, counts: tuple[int, ...]) -> dict[str, Any]:
    """What so many open streams hold, and what is answered when all slots are taken."""
    refusal(server, AGGREGATE.format(column="l_shipmode"))  # its result is kept
    before = steady_rss(server.process)
    streams: list[Stream] = []
    found: dict[str, Any] = {"before_mb": round(before / 1e6), "open": []}
    for wanted in counts:
        while len(streams) < wanted and server.process.memory_info().rss < _MOST_BYTES:
            streams.append(Stream(server.flight, sql))
        rss, count = steady_rss(server.process), len(streams)  # fewer where memory ended it
        if count == counts[-1]:
            found |= {
                "one_more": refusal(server, sql),
                "kept_result": refusal(server, AGGREGATE.format(column="l_shipmode")),
                "aggregate": refusal(server, AGGREGATE.format(column="l_linestatus")),
            }
            streams.pop().close()
            found["aggregate_when_one_is_closed"] = refusal(server, AGGREGATE.format(column="l_linestatus"))
        found["open"].append(
            {
                "streams": count,
                "rss_mb": round(rss / 1e6),
                "mb_a_stream": round((rss - before) / count / 1e6, 1),
                "duckdb_mb": duckdb_mb(server),
            }
        )
    for stream in streams:
        stream.close()
    time.sleep(_STEADY_S)  # freed memory goes back after a while
    return found | {"after_mb": round(steady_rss(server.process) / 1e6)}


def sent(lake: Path, folder: Path, seconds: float) -> list[dict[str, Any]]:
    """Large results through each door, each from a server that has just been started."""
    found = []
    for door, read in DOORS.items():
        for client, pause_s, most_s in (("fast", 0.0, 600.0), ("slow", _PAUSE_S, seconds)):
            with skein(lake, ingest_root=folder) as server:
                refusal(server, "SELECT count(*) AS n FROM numbers")  # all that is loaded once is loaded
                grown, pieces = growth_mb(server, read(server), pause_s=pause_s, most_s=most_s)
            found.append({"door": door, "client": client, "growth_mb": grown, "pieces": pieces})
    return found


def run(folder: Path, *, quick: bool) -> dict[str, Any]:
    scale = 20 if quick else 1
    counts = COUNTS[:3] if quick else COUNTS
    files = {
        "lineitem": data.lineitem(folder, 6_000_000 // scale),
        "numbers": data.numbers(folder, 80_000_000 // scale),
    }
    settings = {"SKEIN_MAX_STREAMS": str(counts[-1]), "SKEIN_QUEUE_TIMEOUT_S": "0.2"}
    with tempfile.TemporaryDirectory(dir=folder) as space:
        lake = Path(space)
        with skein(lake, ingest_root=folder) as server:
            for name, path in files.items():
                server.ingest(path, name)
        found: dict[str, Any] = {"limit_mb": round(machine_memory_bytes() / 2e6), "unread": {}}
        for title, sql in UNREAD.items():
            with skein(lake, ingest_root=folder, cache=True, settings=settings) as server:
                found["unread"][title] = unread(server, sql, counts)
        found["sent"] = sent(lake, folder, seconds=5 if quick else 20)
    return found


def show(result: dict[str, Any]) -> None:
    console = Console(width=120)
    for title, found in result["unread"].items():
        console.print(_table(f"{title}: open and unread", found["open"]))
        console.print({key: value for key, value in found.items() if key != "open"})
    console.print(_table("sent", result["sent"]), f"SKEIN_MEMORY_LIMIT is {result['limit_mb']:,} MB")


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*map(str, row.values()))
    return table


def plot(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for title, found in result["unread"].items():
        counts = [0, *(row["streams"] for row in found["open"])]
        sizes = [found["before_mb"], *(row["rss_mb"] for row in found["open"])]
        axes.plot(counts, [size / 1000 for size in sizes], marker="o", label=title)
    axes.axhline(result["limit_mb"] / 1000, color="grey", linestyle="--", label="SKEIN_MEMORY_LIMIT")
    axes.set(xlabel="open results that nobody reads", ylabel="GB of the server", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = arguments(__doc__, rounds=None)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the rows, 50 streams")
    options = parser.parse_args()
    folder = options.data.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    result = run(folder, quick=options.quick)
    path = save("memory", result)
    plot(result, path.with_suffix(".png"))
    show(result)
    print(f"written: {path} and {path.with_suffix('.png').name}")


if __name__ == "__main__":
    main()
