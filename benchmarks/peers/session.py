"""One session: servers that run, and for each a client process that is asked in turn."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import psutil

from benchmarks.peers.client import check, duckdb_in_process
from benchmarks.peers.environments import python_with
from benchmarks.peers.servers import HERE, PEERS, Peer, Tables, available, cpu_s

_TOLERANCE = 1e-6  # of sums: clients add floating-point numbers in different orders


class Failed(Exception):
    """A peer could not answer; the text says why."""


@dataclass(slots=True)
class Subject:
    """One way of getting rows: a client process, and the server it talks to if there is one.

    `tables` are those it has, all if None; `limited` is where they hold the first rows only: their files.
    """

    name: str
    process: subprocess.Popen[str]
    server: psutil.Process | None = None
    tables: frozenset[str] | None = None
    limited: Tables | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, **request: object) -> dict[str, Any]:
        """
        Raises:
            Failed: the client answers with an error, or is gone.
        """
        before = cpu_s(self.server) if self.server else 0.0
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline() or '{"error": "the client ended"}')
        except BrokenPipeError:
            answer = {"error": "the client is gone"}
        if "error" in answer:
            raise Failed(answer["error"])
        return answer | {"server_cpu_s": (cpu_s(self.server) if self.server else 0.0) - before}

    def median(self, quantity: str) -> float:
        return statistics.median(run[quantity] for run in self.runs)


@contextmanager
def client(
    name: str, kind: str, address: str, *, python: Path | None = None, **facts: Any
) -> Iterator[Subject]:
    """`kind` is one of those in client.py."""
    command = [str(python or sys.executable), str(HERE / "client.py"), kind, address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Subject(name, process, **facts)
        finally:
            process.kill()


@contextmanager
def peers(tables: Tables, folder: Path, *, only: frozenset[str] = frozenset()) -> Iterator[list[Subject]]:
    """All that can run here, each with its server and its client."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        subjects = []
        for peer in PEERS:
            if available(peer) and (not only or peer.name in only):
                print(f"starting {peer.name}", file=sys.stderr, flush=True)
                subjects.append(_start(peer, tables, folder, stack))
        yield subjects


def _start(peer: Peer, tables: Tables, folder: Path, stack: ExitStack) -> Subject:
    python = python_with(peer.requirements, folder / "environments")
    home = Path(stack.enter_context(TemporaryDirectory(dir=folder)))
    limited = _limited(tables, peer.rows, home) if peer.rows else None
    running = stack.enter_context(contextmanager(peer.start)(python, limited or tables, home))
    facts = {"server": running.process, "limited": limited}
    return stack.enter_context(client(peer.name, peer.client, running.address, python=python, **facts))


def _limited(tables: Tables, rows: int, home: Path) -> dict[str, list[str]]:
    """The first rows of `lineitem`, which is all that slow peers are asked for."""
    path = home / f"lineitem-{rows}.parquet"
    duckdb.sql(f"FROM read_parquet({tables['lineitem']!r}) LIMIT {rows}").write_parquet(str(path))
    return {"lineitem": [str(path)]}


def verify(subject: Subject, sql: str, expected: dict[str, Any]) -> None:
    """
    Raises:
        SystemExit: the rows are not those that are expected.
        Failed: none came.
    """
    found = subject.ask(do="check", sql=sql)
    if subject.limited:
        expected = check(duckdb_in_process(json.dumps(subject.limited)), sql)
    same = found["rows"] == expected["rows"] and found["sums"].keys() == expected["sums"].keys()
    for column, total in expected["sums"].items():
        if subject.limited and column.endswith("date"):
            continue  # JSON has no dates
        same = same and abs(found["sums"][column] - total) <= _TOLERANCE * max(1.0, abs(total))
    if not same:
        raise SystemExit(f"{subject.name} received other rows: {found} instead of {expected}")
