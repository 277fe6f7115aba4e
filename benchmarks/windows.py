"""Windows of rows over HTTP, as a grid that is scrolled asks for them: anywhere in a dataset.

    python -P -m benchmarks.windows --rows 80000000

Prints the percentiles of the time from the request to the last byte, as JSON: of sorted and filtered views
without a result cache, and then where they are kept.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import pyarrow as pa

from benchmarks.harness import save, skein

WINDOW = 2_000
ARROW = {"Accept": "application/vnd.apache.arrow.stream"}


def measure(client: httpx.Client, rows: int, *, requests: int, **view: str) -> dict[str, object]:
    dice = random.Random(42)
    spent = []
    for number in range(-3, requests):  # the first few warm up
        if number == 0:
            _await_kept(client)
        offset = dice.randrange(max(1, rows - WINDOW))
        start = time.perf_counter()
        reply = client.get(
            "/api/v1/datasets/flights/rows", params={"offset": offset, "limit": WINDOW, **view}
        )
        elapsed = time.perf_counter() - start
        received = pa.ipc.open_stream(reply.raise_for_status().content).read_all().num_rows
        if received != min(WINDOW, rows) and not view:
            raise SystemExit(f"{received} rows came at {offset}")
        if number >= 0:
            spent.append(elapsed * 1000)
    cuts = statistics.quantiles(spent, n=100)
    return {
        "view": view or "as stored",
        "requests": requests,
        "p50_ms": round(cuts[49], 1),
        "p95_ms": round(cuts[94], 1),
        "max_ms": round(max(spent), 1),
    }


def _await_kept(client: httpx.Client) -> None:
    kept = {"door": "skein", "state": ["queued", "running"]}
    while client.get("/api/v1/queries", params=kept, headers={"Accept": "*/*"}).json()["items"]:
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--requests", type=int, default=100)
    options = parser.parse_args()
    os.environ.update(SKEIN_DEMO="true", SKEIN_DEMO_ROWS=str(options.rows))
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for kept in (False, True):
            with (
                skein(Path(folder), ingest_root=Path(folder), cache=kept) as server,
                httpx.Client(base_url=server.http, headers=ARROW, timeout=120.0) as client,
            ):
                rows = client.get("/api/v1/datasets/flights", headers={"Accept": "*/*"}).json()["rows"]
                few = max(10, options.requests // 5)
                measured = [
                    measure(client, rows, requests=options.requests),
                    measure(client, rows, requests=few, order_by="-delay"),
                    measure(client, rows // 100, requests=few, where="delay > 60"),
                ]
                results += [{"kept": kept, **each} for each in measured]
    print(json.dumps({"rows": rows, "window": WINDOW, "windows": results}, indent=2))
    print(f"written: {save('windows', {'rows': rows, 'window': WINDOW, 'windows': results})}")


if __name__ == "__main__":
    main()
