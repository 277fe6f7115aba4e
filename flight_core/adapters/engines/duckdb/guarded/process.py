"""Guarded processes: one for each principal, started in advance, and ended when they are idle or stuck."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flight_core.adapters.engines.duckdb.guarded.wire import Channel
from flight_core.application.ports.engine import Principal
from flight_core.domain.errors import EngineUnavailable, TooManyStreams

_MODULE = "flight_core.adapters.engines.duckdb.guarded.worker"
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",
    # Arrow's own allocator reserves a GiB of addresses, which is most of what a process may map.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
_START_S = 60.0
_IDLE_S = 300.0


@dataclass(frozen=True, slots=True)
class GuardedOptions:
    """The limits of each process. `memory_bytes` is for DuckDB's buffers; the whole process gets about twice
    that. `timeout_s` limits the time that DuckDB works on a query. `folders` maps folders of the server to
    the words that replace them in messages."""

    temp: Path
    folders: dict[str, str]
    memory_bytes: int = 512 << 20
    temp_bytes: int = 4 << 30
    threads: int = 2
    timeout_s: float = 60.0
    batch_bytes: int = 2 << 20
    max_processes: int = 8

    @property
    def address_bytes(self) -> int:
        """The limit of the address space: half a gigabyte more, for stacks and reserves of allocators."""
        return 2 * self.memory_bytes + (512 << 20)


class GuardedProcess:
    """A guarded process, which ends when it is killed, or when the server ends."""

    def __init__(self, options: GuardedOptions) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="guarded-", dir=options.temp))
        limits = {key: value for key, value in asdict(options).items() if key != "max_processes"}
        limits |= {"temp": str(self._folder), "address_bytes": options.address_bytes}
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), json.dumps(limits)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self._folder,
                env={**_ENVIRONMENT, "TMPDIR": str(self._folder)},
                start_new_session=True,
            )
        self._lock = threading.Lock()
        self._ready = False
        self._address_bytes = options.address_bytes
        self.open_queries = 0
        self.spent = False  # gets no further queries
        self.used_at = time.monotonic()

    def connect(self) -> Channel:
        """A connection for one query.

        Raises:
            EngineUnavailable: the process did not start, or has ended.
        """
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            try:
                self._await_start()
                socket.send_fds(self._control, [b"q"], [theirs.fileno()])
            except OSError:
                ours.close()
                self.spent = True
                raise EngineUnavailable("the engine for this user had to restart; try again") from None
        return Channel(ours)

    def _await_start(self) -> None:
        if not self._ready:
            self._control.settimeout(_START_S)
            if self._control.recv(1) != b"r":
                raise ConnectionError
            self._control.settimeout(None)
            self._ready = True

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def is_short_of_memory(self) -> bool:
        """Whether more than half of the address space is used although it is idle: allocators do not return
        all.

        Linux only, as the limit is.
        """
        with suppress(OSError, AttributeError):
            limit, _ = resource.prlimit(self._process.pid, resource.RLIMIT_AS)
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[0])
            return limit - pages * resource.getpagesize() < self._address_bytes // 2
        return False

    def kill(self) -> None:
        """Kill the process, if it has not ended, and delete its folder."""
        with self._lock:
            if self.alive:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._control.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class GuardedProcesses:
    """The processes of all principals. Thread-safe."""

    def __init__(self, options: GuardedOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._of: dict[Principal, GuardedProcess] = {}
        self._leaving: list[GuardedProcess] = []  # spent or dead, with queries that have not ended
        self._spare: GuardedProcess | None = None
        self._closed = False

    def take(self, principal: Principal) -> GuardedProcess:
        """The principal's process, for one query; call `give_back` afterwards.

        Raises:
            TooManyStreams: the maximal number of processes is running, and all are busy.
        """
        with self._lock:
            self._part_with_unfit()
            process = self._of.get(principal)
            if process is None:
                process = self._of[principal] = self._started(principal)
            process.open_queries += 1
            return process

    def give_back(self, process: GuardedProcess) -> None:
        with self._lock:
            process.open_queries -= 1
            process.used_at = time.monotonic()
            if not process.open_queries and process.is_short_of_memory:
                process.spent = True
            self._part_with_unfit()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            ended = [*self._of.values(), *self._leaving, *([self._spare] if self._spare else [])]
            self._of.clear()
            self._leaving.clear()
            self._spare = None
        for process in ended:
            process.kill()

    def _started(self, principal: Principal) -> GuardedProcess:
        if self._closed:
            raise EngineUnavailable("the engine is closed; the server is stopping")
        self._make_room()
        if principal.memory_bytes is not None:
            return GuardedProcess(replace(self._options, memory_bytes=principal.memory_bytes))
        spare, self._spare = self._spare, None
        process = spare if spare is not None and spare.alive else GuardedProcess(self._options)
        self._spare = GuardedProcess(self._options)  # for the next principal
        return process

    def _make_room(self) -> None:
        while len(self._of) + len(self._leaving) >= self._options.max_processes:
            idle = [name for name, process in self._of.items() if not process.open_queries]
            if not idle:
                raise TooManyStreams(
                    f"{self._options.max_processes} users read at the same time; try again,"
                    " or raise SKEIN_GUARDED_PROCESSES"
                )
            self._of.pop(min(idle, key=lambda name: self._of[name].used_at)).kill()

    def _part_with_unfit(self) -> None:
        """Retire processes that are dead, spent or idle for long; kill them when their queries have ended."""
        horizon = time.monotonic() - _IDLE_S
        for name, process in list(self._of.items()):
            idle = not process.open_queries and process.used_at < horizon
            if process.spent or idle or not process.alive:
                self._leaving.append(self._of.pop(name))
        for process in list(self._leaving):
            if not process.open_queries or not process.alive:
                self._leaving.remove(process)
                process.kill()
