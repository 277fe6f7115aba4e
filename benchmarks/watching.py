"""Time, processor time and memory of processes that work, and how long small queries take beside them."""

import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

_LOOK_S = 0.02


@dataclass(slots=True)
class Runs:
    """One way of doing it. Seconds, and bytes at the peak."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    def add(self, wall_s: float, cpu_s: float, peak_bytes: int) -> None:
        self.wall_s.append(wall_s)
        self.cpu_s.append(cpu_s)
        self.peak_bytes = max(self.peak_bytes, peak_bytes)

    def row(self) -> dict[str, Any]:
        return {
            "median_s": round(statistics.median(self.wall_s), 3),
            "median_cpu_s": round(statistics.median(self.cpu_s), 3),
            "peak_mb": round(self.peak_bytes / 1e6, 1),
            "runs_s": [round(each, 3) for each in self.wall_s],
            "runs_cpu_s": [round(each, 3) for each in self.cpu_s],
        }


class Watch:
    """Processor time, and at the peak the memory, of a process and all below it."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._cpu: dict[int, float] = {}
        self.peak_bytes = 0

    def look(self) -> None:
        try:
            processes = [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:  # it has ended
            return
        memory_bytes = 0
        for process in processes:
            try:
                times, memory = process.cpu_times(), process.memory_info()
            except psutil.Error:
                continue
            self._cpu[process.pid] = times.user + times.system
            memory_bytes += memory.rss - getattr(memory, "shared", 0)
        self.peak_bytes = max(self.peak_bytes, memory_bytes)

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu.values())

    @contextmanager
    def watching(self) -> Iterator[None]:
        ended = threading.Event()

        def keep_looking() -> None:
            while not ended.wait(_LOOK_S):
                self.look()

        thread = threading.Thread(target=keep_looking)
        self.look()
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.look()


def measured(process: psutil.Process, work: Callable[[], object]) -> tuple[float, float, int]:
    """Seconds, seconds of processors, bytes at the peak."""
    watch = Watch(process)
    watch.look()
    before, start = watch.cpu_s, time.perf_counter()
    with watch.watching():
        work()
        wall_s = time.perf_counter() - start
    return wall_s, watch.cpu_s - before, watch.peak_bytes


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def small_queries(http_url: str) -> Iterator[list[float]]:
    """How long each took, in seconds, one after the other while the block runs."""
    ended, times = threading.Event(), []

    def ask() -> None:
        with httpx.Client(base_url=http_url, timeout=60) as http:
            while not ended.is_set():
                start = time.perf_counter()
                sql = {"sql": "SELECT count(*), sum(price) FROM small WHERE id < 1000"}
                http.post("/api/v1/query", json=sql).raise_for_status()
                times.append(time.perf_counter() - start)
                ended.wait(0.05)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield times
    finally:
        ended.set()
        thread.join()


def percentiles(times: list[float]) -> dict[str, float]:
    ordered = sorted(times) or [0.0]
    return {
        "p50": round(ordered[len(ordered) // 2] * 1000, 1),
        "p99": round(ordered[int(len(ordered) * 0.99)] * 1000, 1),
    }
