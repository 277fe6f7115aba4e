"""Interleaved runs, medians, and what they ran on."""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import psutil
import pyarrow as pa
import pyarrow.compute as pc

RESULTS = Path(__file__).parent / "results"
_ATTEMPTS = 3  # a round, until other processes leave the machine alone
_LIBRARIES = ("duckdb", "pyarrow", "polars", "deltalake", "adbc-driver-flightsql", "fastapi", "uvicorn")


@dataclass(frozen=True, slots=True)
class Run:
    """One drain of one result. Times in seconds; `size_bytes` is what the batches held.

    `others_cpu_s` is the processor time that neither the client nor the server of the case used.
    """

    total_s: float
    first_batch_s: float
    rows: int
    size_bytes: int
    client_cpu_s: float
    server_cpu_s: float
    others_cpu_s: float

    @property
    def cpu_s(self) -> float:
        """Of client and server together."""
        return self.client_cpu_s + self.server_cpu_s

    @property
    def quiet(self) -> bool:
        """Whether others had less than a tenth of the cores. The system counts in steps of 10 ms."""
        return self.others_cpu_s <= 0.1 * (os.cpu_count() or 1) * self.total_s + 0.03


@dataclass(slots=True)
class Case:
    """A way of getting the rows of a workload. All cases of a workload must bring the same rows."""

    name: str
    batches: Callable[[], Iterable[pa.RecordBatch]]
    server: psutil.Process | None = None
    runs: list[Run] = field(default_factory=list)

    @property
    def quiet_runs(self) -> list[Run]:
        return [run for run in self.runs if run.quiet]

    def median(self, quantity: str) -> float:
        """Of a quantity of `Run`, over the quiet runs if there are any."""
        return statistics.median(getattr(run, quantity) for run in self.quiet_runs or self.runs)


def interleave(cases: list[Case], *, rounds: int) -> None:
    """A B C A B C ...: a busy moment of the machine hits all alike. Runs that others disturb are repeated.

    A round that is not timed comes first: it warms up, and checks that all cases bring the same values.
    """
    sums = {case.name: checksum(case.batches()) for case in cases}
    if len(set(sums.values())) != 1:
        raise SystemExit(f"the cases disagree on the rows they received: {sums}")
    for _ in range(rounds * _ATTEMPTS):
        for case in cases:
            if len(case.quiet_runs) < rounds:
                case.runs.append(drain(case))
    if len({run.rows for case in cases for run in case.runs}) != 1:
        raise SystemExit("the number of rows changed between runs")


def drain(case: Case) -> Run:
    busy, client, server = _busy_s(), time.process_time(), cpu_s(case.server)
    start = time.perf_counter()
    first, rows, size_bytes = 0.0, 0, 0
    for batch in case.batches():
        first = first or time.perf_counter() - start
        rows += batch.num_rows
        size_bytes += batch.nbytes
    total = time.perf_counter() - start
    busy, client, server = _busy_s() - busy, time.process_time() - client, cpu_s(case.server) - server
    return Run(total, first, rows, size_bytes, client, server, max(busy - client - server, 0.0))


class PeakMemory:
    """The most resident memory a process had while the block ran, above what it had before."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.growth_bytes = 0

    def __enter__(self) -> "PeakMemory":
        self._start = self._process.memory_info().rss
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.growth_bytes = max(self.growth_bytes, self._process.memory_info().rss - self._start)


def cpu_s(process: psutil.Process | None) -> float:
    """Processor time a process has used so far."""
    if process is None:
        return 0.0
    times = process.cpu_times()
    return times.user + times.system


def _busy_s() -> float:
    """Processor time all processes have used so far."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0)


def checksum(batches: Iterable[pa.RecordBatch]) -> tuple[int, ...]:
    """Rows, and for each column the exact sum of its values (of the lengths of texts)."""
    rows, sums = 0, Counter[int]()
    for batch in batches:
        rows += batch.num_rows
        for index, column in enumerate(batch.columns):
            sums[index] += _sum(column)
    return (rows, *(sums[index] for index in sorted(sums)))


def _sum(column: pa.Array) -> int:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    type_ = column.type
    if pa.types.is_string(type_):
        return pc.sum(pc.binary_length(column)).as_py() or 0
    if pa.types.is_date32(type_):
        return pc.sum(column.cast(pa.int32()).cast(pa.int64())).as_py() or 0
    if pa.types.is_decimal(type_):
        return int((pc.sum(column.cast(pa.decimal128(38, type_.scale))).as_py() or 0) * 10**type_.scale)
    if pa.types.is_floating(type_):
        return pc.sum(pc.round(pc.multiply(column, 1000.0)).cast(pa.int64())).as_py() or 0
    return pc.sum(column).as_py() or 0


def arguments(about: str | None, *, rounds: int | None = 5) -> argparse.ArgumentParser:
    """What benchmarks take: `--data`, and `--rounds` unless None; a benchmark adds its own."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=RESULTS / "data", help="the folder of the test data")
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds)
    return parser


def machine() -> dict[str, object]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "load_before": os.getloadavg()[0],
    }


def save(name: str, result: Mapping[str, object]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
    return path


def as_rows(cases: list[Case], *, base: str) -> list[dict[str, object]]:
    reference = next(case for case in cases if case.name == base)
    base_cpu_s = reference.median("cpu_s")
    return [
        {
            "case": case.name,
            "median_s": round(case.median("total_s"), 4),
            "best_s": round(min(run.total_s for run in case.runs), 4),
            "speed_of_base": round(reference.median("total_s") / case.median("total_s"), 3),
            "cpu_speed_of_base": round(base_cpu_s / case.median("cpu_s"), 3)
            if case.median("cpu_s")
            else None,
            "first_batch_ms": round(case.median("first_batch_s") * 1000, 1),
            "client_cpu_s": round(case.median("client_cpu_s"), 2),
            "server_cpu_s": round(case.median("server_cpu_s"), 2),
            "quiet_runs": f"{len(case.quiet_runs)} of {len(case.runs)}",
            "rows": case.runs[0].rows,
            "mb_per_s": round(case.runs[0].size_bytes / case.median("total_s") / 1e6, 1),
            "runs": [asdict(run) for run in case.runs],
        }
        for case in cases
    ]


@dataclass(frozen=True, slots=True)
class Server:
    flight: str
    http: str
    process: psutil.Process
    data: Path
    token: str = ""  # of somebody who may write; nothing where nobody needs one

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def ingest(self, path: Path, name: str) -> None:
        request = {"dataset": name, "source": {"kind": "file", "path": str(path)}, "mode": "replace"}
        with httpx.Client(base_url=self.http, timeout=60, headers=self.headers) as client:
            job = client.post("/api/v1/ingestions", json=request)
            job.raise_for_status()
            location = job.headers["location"]
            while True:
                state = client.get(location).raise_for_status().json()
                if state["state"] in ("succeeded", "failed", "cancelled"):
                    break
                time.sleep(0.1)
        if state["state"] != "succeeded":
            raise SystemExit(f"ingesting {name} failed: {state}")


@contextmanager
def skein(
    data: Path,
    *,
    ingest_root: Path,
    cache: bool = False,
    token: str = "",
    reader: str = "",
    settings: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A server in a process of its own, on free ports, stopped at the end; its result cache is off or on.

    With the API tokens of somebody who may write and of somebody who may only read it is closed to others.
    `settings` are further variables of its environment.
    """
    environment = os.environ | {"SKEIN_INGEST_ROOTS": str(ingest_root), "SKEIN_LOG_LEVEL": "warning"}
    environment["SKEIN_CACHE_BYTES"] = "8GiB" if cache else "0"
    environment["SKEIN_CACHE_ENTRY_BYTES"] = "4GiB"
    environment |= settings or {}
    if token:
        environment["SKEIN_TOKENS"] = f"writer={token},reader/read={reader}"
    command = [str(Path(sys.executable).parent / "skein"), "serve", "--data", str(data)]
    process = subprocess.Popen(
        [*command, "--flight-port", "0", "--http-port", "0"], env=environment, stdout=subprocess.DEVNULL
    )
    runtime = data / "skein.json"
    try:
        deadline = time.monotonic() + 60
        while not runtime.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the server did not start")
            time.sleep(0.05)
        facts = json.loads(runtime.read_text())
        yield Server(facts["flight"], facts["http"], psutil.Process(process.pid), data, token)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
