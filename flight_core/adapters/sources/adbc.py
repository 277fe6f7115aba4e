"""Rows of a database, through a driver of ADBC in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from flight_core.adapters.sources.adbc_drivers import check_reads, driver_of, sqlite_options
from flight_core.adapters.sources.addresses import checked_address
from flight_core.adapters.sources.fields import fields_of
from flight_core.adapters.sources.file import FileSource, FileSourceOptions
from flight_core.adapters.sources.running import RunningRows
from flight_core.adapters.sources.web import NoSecrets, check_value
from flight_core.application.ports.secrets import Secrets
from flight_core.application.ports.sources import Rows
from flight_core.domain.access import Actor
from flight_core.domain.errors import (
    Cancelled,
    FlightCoreError,
    InvalidSource,
    LimitExceeded,
    SourceNotAllowed,
    SourceUnavailable,
)
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.query import Pins
from flight_core.infrastructure.http_client import AddressPolicy

_WORKER = "flight_core.adapters.sources.adbc_worker"
_FAILED, _TOO_MUCH_MEMORY = 4, 5  # exit codes of the worker
_SQLITE = "sqlite"
_TOLD_BYTES = 64 << 10
_PATIENCE_S = 2.0
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class AdbcOptions:
    """`files` are what drivers of files may read, `memory_bytes` what one driver may hold."""

    drivers: tuple[str, ...] = ("flightsql", "sqlite", "postgresql")
    policy: AddressPolicy = field(default_factory=AddressPolicy)
    files: FileSourceOptions = field(default_factory=FileSourceOptions)
    memory_bytes: int = 3 << 30


@dataclass(frozen=True, slots=True)
class AdbcSource:
    """See `RowSource`. Fields: `driver`, `uri`, `sql` and `options` of the driver, with secrets by name.

    Every batch is validated in full. Memory is bounded: the driver waits while its rows are written.
    """

    options: AdbcOptions = field(default_factory=AdbcOptions)
    secrets: Secrets = field(default_factory=NoSecrets)
    _running: RunningRows = field(default_factory=RunningRows)

    def check(self, spec: SourceSpec, *, actor: Actor) -> None:
        wanted = self._wanted(spec)
        if wanted.driver == _SQLITE:
            check_reads(wanted.sql)
            self._file(wanted)
        else:
            driver_of(wanted.driver).server(wanted.uri, wanted.driver)

    def open(self, spec: SourceSpec, *, actor: Actor, run_id: str) -> Rows:
        self.check(spec, actor=actor)
        return self._running.start(run_id, _AdbcRows(*self._request(self._wanted(spec))))

    def cancel(self, run_id: str) -> None:
        self._running.cancel(run_id)

    def _wanted(self, spec: SourceSpec) -> "_Wanted":
        fields = fields_of(spec, "driver", "uri", "sql", "options")
        driver, uri, sql = (fields.get(name) for name in ("driver", "uri", "sql"))
        options = fields.get("options") or {}
        if not (isinstance(uri, str) and uri and isinstance(sql, str) and sql.strip()):
            raise InvalidSource("a source of kind 'adbc' needs 'driver', 'uri' and 'sql'")
        if not isinstance(driver, str) or driver not in self.options.drivers:
            raise SourceNotAllowed(
                f"'{str(driver)[:40]}' is not a driver that may be used; there are:"
                f" {', '.join(self.options.drivers)}; an operator can add it to SKEIN_INGEST_ADBC_DRIVERS"
            )
        if find_spec(f"adbc_driver_{driver}") is None:
            raise InvalidSource(
                f"the driver '{driver}' needs an extra on the server: pip install adbc-driver-{driver}",
                driver=driver,
            )
        if not isinstance(options, Mapping):
            raise InvalidSource("'options' has to be an object of names and values")
        self._check_options(driver, options)
        return _Wanted(driver, uri, sql, options)

    def _check_options(self, driver: str, options: Mapping[str, object]) -> None:
        for name, value in options.items():
            if driver == _SQLITE or not driver_of(driver).options.fullmatch(str(name)):
                raise InvalidSource(
                    f"the driver '{driver}' gets no option '{str(name)[:100]}' here; leave it out"
                )
            if not (isinstance(value, str) and "\0" not in value):  # certificates have line breaks
                check_value(value, f"the option '{name}'", self.secrets)

    def _file(self, wanted: "_Wanted") -> Any:
        files = FileSource(self.options.files).find_all(SourceSpec("file", {"path": wanted.uri}))
        if len(files) != 1:
            raise InvalidSource("'uri' has to name one file")
        return files[0]

    def _request(self, wanted: "_Wanted") -> tuple[dict[str, object], str, list[str]]:
        """What the process is told, what errors call the source, and what they must not show."""
        request: dict[str, object] = {
            "driver": wanted.driver,
            "sql": wanted.sql,
            "parts": False,
            "memory_bytes": self.options.memory_bytes,
        }
        if wanted.driver == _SQLITE:
            file = self._file(wanted)
            return request | {"options": sqlite_options(file.path)}, file.label, [str(file.path)]
        driver = driver_of(wanted.driver)
        server = driver.server(wanted.uri, wanted.driver)
        address = checked_address(server.host, server.port, self.options.policy)
        hidden: list[str] = []
        options = {name: self._value(value, server.host, hidden) for name, value in wanted.options.items()}
        request |= {"parts": driver.parts, "options": driver.connected(server, address, options)}
        return request, server.label, hidden

    def _value(self, value: object, host: str, hidden: list[str]) -> str:
        if not isinstance(value, Mapping):
            return str(value)
        hidden.append(self.secrets.value(str(value["secret"]), host=host))
        return f"{value.get('prefix', '')}{hidden[-1]}"


@dataclass(frozen=True, slots=True)
class _Wanted:
    driver: str
    uri: str
    sql: str
    options: Mapping[str, object]


class _AdbcRows:
    """See `Rows`."""

    def __init__(self, request: Mapping[str, object], label: str, hidden: list[str]) -> None:
        self._request = request
        self._label = label
        self._hidden = hidden
        self._lock = threading.Lock()  # of the process, whose number is another's once it was waited for
        self._cancelled = False
        self._errors: Any = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: Any = None

    @property
    def schema(self) -> pa.Schema:
        schema: pa.Schema = self._reader.schema
        return schema

    @property
    def pins(self) -> Pins:
        return {}

    def start(self) -> None:
        with self._lock:
            if self._cancelled:
                raise Cancelled("the reading was cancelled")
            process = self._process = subprocess.Popen(
                (sys.executable, "-P", "-m", _WORKER),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={"LC_ALL": "C.UTF-8", "HOME": "/nonexistent"},
                start_new_session=True,
            )
        assert process.stdin is not None
        stdout: Any = process.stdout
        with suppress(OSError):
            process.stdin.write(json.dumps(self._request).encode() + b"\n")
            process.stdin.flush()
        try:
            self._reader = pa.ipc.open_stream(stdout)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._failure() from error
        if not self.schema.names:
            raise InvalidSource(f"the statement gives no columns; {self._label} was asked for rows")

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while True:
            try:
                batch = self._reader.read_next_batch()
                batch.validate(full=True)
            except StopIteration:
                break
            except (pa.ArrowException, OSError, ValueError) as error:
                raise self._failure() from error
            yield batch
        if self._end():
            raise self._failure()

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            self._kill()

    def close(self) -> None:
        self.cancel()
        if self._process is not None:
            self._end()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                with suppress(OSError):
                    pipe.close()
        self._errors.close()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _end(self) -> int:
        """The exit code. What does not end by itself is made to."""
        assert self._process is not None
        try:
            return self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _failure(self) -> FlightCoreError:
        """Why the stream has ended early."""
        code = self._end()
        if self._cancelled:
            return Cancelled("the reading was cancelled")
        if code == _FAILED:
            return self._told()
        if code == _TOO_MUCH_MEMORY:
            limit = int(str(self._request["memory_bytes"]))
            return LimitExceeded(
                f"the driver needs more than {limit >> 20} MiB of memory for the rows of {self._label};"
                " select fewer columns, or raise SKEIN_INGEST_MEMORY_BYTES",
                limit=limit,
            )
        return InvalidSource(f"the driver '{self._request['driver']}' crashed while it read {self._label}")

    def _told(self) -> FlightCoreError:
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _TOLD_BYTES))
        told = json.loads(self._errors.read().splitlines()[-1])
        text = told["text"].splitlines()[0]
        for secret in self._hidden:
            text = text.replace(secret, "***")
        text = text[:_SHOWN]
        if told["kind"] == "moved":
            return SourceNotAllowed(
                f"{self._label} has its rows at {text}, where no driver is sent; use the kind 'flight'"
            )
        if told["kind"] == "unavailable" and self._request["driver"] != _SQLITE:
            return SourceUnavailable(f"{self._label} answered: {text}", url=self._label)
        return InvalidSource(f"{self._label} answered: {text}")
