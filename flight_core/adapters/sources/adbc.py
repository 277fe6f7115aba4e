"""Rows from a database, through an ADBC driver in a separate process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from flight_core.adapters.sources.adbc_drivers import check_reads, driver_of, sqlite_options
from flight_core.adapters.sources.addresses import checked_address
from flight_core.adapters.sources.fields import fields_of
from flight_core.adapters.sources.file import FileSource, FileSourceOptions
from flight_core.adapters.sources.process_rows import ProcessRows
from flight_core.adapters.sources.row_worker import FAILED, TOO_MUCH_MEMORY
from flight_core.adapters.sources.running import RunningRows
from flight_core.adapters.sources.web import NoSecrets, check_value
from flight_core.application.ports.secrets import Secrets
from flight_core.application.ports.sources import Rows
from flight_core.domain.access import Actor
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import (
    FlightCoreError,
    InvalidSource,
    LimitExceeded,
    SourceNotAllowed,
    SourceUnavailable,
)
from flight_core.domain.ingestion import SourceSpec
from flight_core.infrastructure.http_client import AddressPolicy

_WORKER = "flight_core.adapters.sources.adbc_worker"
_SQLITE = "sqlite"
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class AdbcOptions:
    """`files` says which files SQLite may read; `memory_bytes` limits the memory of a driver's process."""

    drivers: tuple[str, ...] = ("flightsql", "sqlite", "postgresql")
    policy: AddressPolicy = field(default_factory=AddressPolicy)
    files: FileSourceOptions = field(default_factory=FileSourceOptions)
    memory_bytes: int = 3 << 30


@dataclass(frozen=True, slots=True)
class AdbcSource:
    """See `RowSource`. Fields: `driver`, `uri`, `sql`, and `options` of the driver, which may be secrets.

    Every batch is validated in full. Memory is bounded: the driver waits while its rows are written.
    """

    options: AdbcOptions = field(default_factory=AdbcOptions)
    secrets: Secrets = field(default_factory=NoSecrets)
    _running: RunningRows = field(default_factory=RunningRows)

    def check(self, spec: SourceSpec, *, actor: Actor) -> frozenset[DatasetName]:
        wanted = self._wanted(spec)
        if wanted.driver == _SQLITE:
            check_reads(wanted.sql)
            self._file(wanted)
        else:
            driver_of(wanted.driver).server(wanted.uri, wanted.driver)
        return frozenset()

    def open(self, spec: SourceSpec, *, actor: Actor, run_id: str) -> Rows:
        self.check(spec, actor=actor)
        wanted = self._wanted(spec)
        request, label, hidden = self._request(wanted)
        failure = _Failure(wanted.driver, label, hidden, self.options.memory_bytes)
        rows = self._running.start(run_id, ProcessRows(_WORKER, request, explain=failure))
        if not rows.schema.names:
            rows.close()
            raise InvalidSource(f"the statement gives no columns; {label} was asked for rows")
        return rows

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
        """The request for the process, the name of the source in error messages, and texts to hide in
        these."""
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
        if self.options.policy.allow_private and not driver.knows_hosts:
            address = server.host  # any address is allowed, so the driver may resolve the name
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


@dataclass(frozen=True, slots=True)
class _Failure:
    """The error for a driver that ended early. The texts in `hidden` are removed from its message."""

    driver: str
    label: str
    hidden: Sequence[str]
    memory_bytes: int

    def __call__(self, code: int, told: Mapping[str, str]) -> FlightCoreError:
        if code == FAILED:
            return self._told(told)
        if code == TOO_MUCH_MEMORY:
            return LimitExceeded(
                f"the driver needs more than {self.memory_bytes >> 20} MiB of memory for the rows of"
                f" {self.label}; select fewer columns, or raise SKEIN_INGEST_MEMORY_BYTES",
                limit=self.memory_bytes,
            )
        return InvalidSource(f"the driver '{self.driver}' crashed while it read {self.label}")

    def _told(self, told: Mapping[str, str]) -> FlightCoreError:
        text = told["text"].splitlines()[0]
        for secret in self.hidden:
            text = text.replace(secret, "***")
        text = text[:_SHOWN]
        if told["kind"] == "moved":
            return SourceNotAllowed(
                f"{self.label} has its rows at {text}, where no driver is sent; use the kind 'flight'"
            )
        if told["kind"] == "unavailable" and self.driver != _SQLITE:
            return SourceUnavailable(f"{self.label} answered: {text}", url=self.label)
        return InvalidSource(f"{self.label} answered: {text}")
