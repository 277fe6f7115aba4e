"""A whole Skein for tests: in this process, or in one of its own; free ports, temporary folder.

with skein_stack(tmp_path) as stack:
    fl.connect(stack.flight_uri) ... httpx.get(stack.http_url + "/healthz")
"""

import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import anyio
import httpx
import pyarrow as pa
import pyarrow.flight as fl
from anyio.from_thread import start_blocking_portal

from flight_core.application.writes.rows import NewRows
from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, DatasetVersion, WriteMode, WriteRule
from skein.directory import DataDirectory, Role
from skein.lifecycle import Servers
from skein.runtime import RuntimeFile
from skein.settings import load_settings
from skein.wiring.process import Skein, open_skein
from tests.catalogs import prepare_catalog
from tests.forks import Fork
from tests.protocol.raw_flight_sql import RawFlightSql

BOTH = frozenset(Role)
_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading whom the system trusts takes 25 ms
COMMAND = Path(sys.executable).parent / "skein"


@dataclass(frozen=True)
class Stack:
    """`flight_uri` and `http_url` are empty where the role was not asked for."""

    flight_uri: str
    http_url: str
    skein: Skein
    data: Path

    def flight(self, **options) -> fl.FlightClient:
        return fl.connect(self.flight_uri, **options)

    @contextmanager
    def raw(self, **headers: str) -> Iterator[RawFlightSql]:
        """pyarrow.flight with Flight SQL messages made by hand."""
        with self.flight() as client:
            yield RawFlightSql(client, headers)

    @contextmanager
    def adbc(self, *, autocommit: bool = True, **options: str) -> Iterator[Any]:
        """A DBAPI connection over Flight SQL."""
        from adbc_driver_flightsql import dbapi

        with dbapi.connect(self.flight_uri, db_kwargs=options, autocommit=autocommit) as connection:
            yield connection

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        with self.adbc() as connection, connection.cursor() as made:
            yield made

    def http(self, **options) -> httpx.Client:
        return httpx.Client(**{"base_url": self.http_url, "verify": _NOBODY, "timeout": 60, **options})

    def write(self, name: str, table: pa.Table, mode: WriteMode = WriteMode.APPEND) -> DatasetVersion:
        return self.skein.flight.write_dataset(
            DatasetName(name), NewRows(table.schema, table.to_batches()), WriteRule(mode), actor=LOCAL
        )


@contextmanager
def skein_stack(data: Path, *, roles: Set[Role] = BOTH, **settings) -> Iterator[Stack]:
    """Serve from threads of this process. `settings` are those of `Settings`."""
    defaults = {"flight_port": 0, "http_port": 0, "drain_timeout_s": 1.0, "memory_limit": "1GB"}
    loaded = load_settings(**{**defaults, **settings, "data": data})
    directory = DataDirectory(data)
    directory.prepare()
    if loaded.catalog_url is None:
        prepare_catalog(data)
    with (
        directory.claimed(roles),
        open_skein(loaded, directory, roles) as skein,
        start_blocking_portal() as portal,
    ):
        skein.reconcile()
        if Role.FLIGHT in roles:
            skein.recover_rejects()
        stop = portal.call(anyio.Event)
        running, ends = portal.start_task(Servers(skein, roles).run, stop)
        try:
            yield Stack(ends.flight or "", ends.http or "", skein, data)
        finally:
            portal.call(stop.set)
            running.result(30)


class SkeinProcess:
    """`skein serve` and its relatives as a process of their own, from the moment it is ready."""

    def __init__(
        self, data: Path, *arguments: str, command: str = "serve", installed: bool = False, **environment: str
    ) -> None:
        """A fork, or with `installed` the command as it is installed."""
        self.data = data
        flags = ["--data", str(data)]
        flags += ["--flight-port", "0"] if command != "serve-control" else []
        flags += ["--http-port", "0"] if command != "serve-flight" else []
        self.process, self._stdout, self._stderr = _launched(
            [command, *flags, *arguments],
            {**os.environ, "COLUMNS": "160", "SKEIN_MEMORY_LIMIT": "1GB", **environment},
            installed=installed,
        )
        self.output: list[str] = []
        self.errors: list[str] = []
        self._ready = threading.Event()
        self._readers = [
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def wait_ready(self, timeout_s: float = 60.0) -> "SkeinProcess":
        assert self._ready.wait(timeout_s), "not ready in time"
        assert self.endpoints, "".join(self.errors)
        return self

    @property
    def endpoints(self) -> dict:
        return dict(RuntimeFile(self.data / "skein.json").read())

    def stop(self, number: int | None = None, timeout_s: float = 30.0) -> int:
        """Send a signal (SIGTERM) and wait; the exit code."""
        if number is None:
            self.process.terminate()
        else:
            self.process.send_signal(number)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 30.0) -> int:
        code = self.process.wait(timeout_s)
        for reader in self._readers:
            reader.join(timeout_s)
        self._stdout.close()
        self._stderr.close()
        return code

    def _read_output(self) -> None:
        for line in self._stdout:
            self.output.append(line)
            if line.startswith("Stop it with"):
                self._ready.set()
        self._ready.set()

    def _read_errors(self) -> None:
        self.errors.extend(self._stderr)


def _launched(
    arguments: list[str], environment: dict[str, str], *, installed: bool
) -> tuple[subprocess.Popen[bytes] | Fork, TextIO, TextIO]:
    """The process, and what it writes to its standard output and error."""
    (output, stdout), (errors, stderr) = os.pipe(), os.pipe()
    with Path(os.devnull).open() as nothing:
        files = (nothing.fileno(), stdout, stderr)
        process = (
            subprocess.Popen(
                [COMMAND, *arguments], env=environment, stdin=files[0], stdout=stdout, stderr=stderr
            )
            if installed
            else Fork(arguments, env=environment, cwd=Path.cwd(), files=files)
        )
    os.close(stdout)
    os.close(stderr)
    return process, os.fdopen(output), os.fdopen(errors)


@contextmanager
def skein_process(data: Path, *arguments: str, **options: Any) -> Iterator[SkeinProcess]:
    """`options` are those of `SkeinProcess`."""
    server = SkeinProcess(data, *arguments, **options)
    try:
        yield server.wait_ready()
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.wait()


def until(condition: Callable[[], object], *, deadline_s: float = 60.0) -> None:
    """Wait for something that happens in another thread and tells nobody."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)
