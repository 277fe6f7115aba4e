"""`skein.json` in the data directory: where the servers are, written while they are ready."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the servers of this process listen; None where it does not run one."""

    flight: str | None
    http: str | None


class RuntimeFile:
    """Two processes may share it, one a server; each adds and removes its own entries.

        {"flight": "grpc://127.0.0.1:8815", "http": "http://127.0.0.1:8816", "pid": 4711,
         "version": "0.1.0", "started_at": "2026-01-31T12:00:00+00:00",
         "pids": {"flight": 4711, "http": 4711}, "marks": {"flight": 815, "http": 815}}

    `pid`, `version` and `started_at` are those of the process that became ready last. A mark tells a process
    from others that had or will have its number, whatever is done to the clock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Mapping[str, Any]:
        """What is running now; empty if nothing is. Entries of processes that died are left out."""
        try:
            content = json.loads(self._path.read_text())
            marks = content["marks"]
            alive = {server: pid for server, pid in content["pids"].items() if _mark(pid) == marks[server]}
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or not ours
            return {}
        if not alive:
            return {}
        dead = content["pids"].keys() - alive.keys()
        return {key: value for key, value in content.items() if key not in dead} | {"pids": alive}

    def add(self, endpoints: Endpoints, version: str) -> None:
        """Say that this process is ready."""
        ours = {name: uri for name, uri in (("flight", endpoints.flight), ("http", endpoints.http)) if uri}
        pid = os.getpid()
        with self._updating():
            others = self.read()
            self._write(
                {
                    **others,
                    **ours,
                    "pid": pid,
                    "version": version,
                    "started_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "pids": {**others.get("pids", {}), **dict.fromkeys(ours, pid)},
                    "marks": {**others.get("marks", {}), **dict.fromkeys(ours, _mark(pid))},
                }
            )

    def remove(self) -> None:
        """Take back what `add` of this process wrote."""
        with self._updating():
            content = self.read()
            pids = content.get("pids", {})
            ours = {name for name, pid in pids.items() if pid == os.getpid()}
            others = {name: pid for name, pid in pids.items() if name not in ours}
            if others:
                kept = {key: value for key, value in content.items() if key not in ours}
                self._write({**kept, "pid": next(iter(others.values())), "pids": others})
            else:
                self._path.unlink(missing_ok=True)

    def _write(self, content: Mapping[str, Any]) -> None:
        draft = self._path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(content, indent=2) + "\n")
        draft.replace(self._path)

    @contextmanager
    def _updating(self) -> Iterator[None]:
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _mark(pid: int) -> int | None:
    """psutil's identity of a process, made of its number and of when it began after the machine did; None if
    there is none."""
    try:
        return hash(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return None
