"""Rows of another Arrow Flight server."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.adapters.sources.addresses import bracketed, checked_address
from flight_core.adapters.sources.fields import fields_of
from flight_core.adapters.sources.running import RunningRows
from flight_core.adapters.sources.web import NoSecrets, checked_headers, with_secrets
from flight_core.application.ports.secrets import Secrets
from flight_core.application.ports.sources import Rows
from flight_core.domain.access import Actor
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import Cancelled, InvalidSource, SourceNotAllowed, SourceUnavailable
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.query import Pins
from flight_core.infrastructure.http_client import AddressPolicy

_SCHEMES = {"grpc": "grpc+tcp", "grpc+tcp": "grpc+tcp", "grpc+tls": "grpc+tls"}
_CALL_TIMEOUT_S = 60.0
_SHOWN = 300

Headers = list[Any]  # pairs of bytes; the stubs expect strings
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Target:
    scheme: str
    host: str
    port: int

    @property
    def label(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class FlightSource:
    """See `RowSource`. Fields: `uri`; `path` or `command` for the flight descriptor; `headers`.

    Every batch is validated in full. Endpoints on other servers must have an allowed address, too.
    """

    policy: AddressPolicy
    secrets: Secrets = field(default_factory=NoSecrets)
    _running: RunningRows = field(default_factory=RunningRows)

    def check(self, spec: SourceSpec, *, actor: Actor) -> frozenset[DatasetName]:
        _descriptor(spec)
        _target(spec.fields.get("uri"))
        checked_headers(spec.fields.get("headers"), self.secrets)
        return frozenset()

    def open(self, spec: SourceSpec, *, actor: Actor, run_id: str) -> Rows:
        target = _target(spec.fields.get("uri"))
        given = checked_headers(spec.fields.get("headers"), self.secrets)
        revealed = with_secrets(given, self.secrets, target.host)
        headers = [(name.lower().encode(), value.encode()) for name, value in revealed.items()]
        rows = _FlightRows(self.policy, target, headers, _descriptor(spec))
        return self._running.start(run_id, rows)

    def cancel(self, run_id: str) -> None:
        self._running.cancel(run_id)


class _FlightRows:
    """See `Rows`."""

    def __init__(
        self,
        policy: AddressPolicy,
        target: _Target,
        headers: Headers,
        descriptor: fl.FlightDescriptor,
    ) -> None:
        self._policy = policy
        self._target = target
        self._headers = headers
        self._descriptor = descriptor
        self._clients: dict[_Target, fl.FlightClient] = {}
        self._endpoints: list[fl.FlightEndpoint] = []
        self._reader: fl.FlightStreamReader | None = None
        self._schema: pa.Schema | None = None
        self._cancelled = False
        self._answer: Future[Any] = Future()  # to the latest call

    @property
    def schema(self) -> pa.Schema:
        assert self._schema is not None
        return self._schema

    @property
    def pins(self) -> Pins:
        return {}

    def start(self) -> None:
        """Get the flight info, and start to read the first endpoint."""
        with self._translated():
            options = fl.FlightCallOptions(timeout=_CALL_TIMEOUT_S, headers=self._headers)
            asking = partial(self._client(self._target).get_flight_info, self._descriptor, options)
            info = self._unless_cancelled(asking)
            self._endpoints = list(info.endpoints)
            if not self._endpoints:
                raise InvalidSource(f"{self._target.label} has no rows for that; check 'path' or 'command'")
            self._reader = self._next_reader()
            self._schema = self._reader.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while self._reader is not None:
            with self._translated():
                for chunk in self._reader:
                    if chunk.data is not None:
                        chunk.data.validate(full=True)
                        yield chunk.data
                self._reader = self._next_reader() if self._endpoints else None

    def cancel(self) -> None:
        self._cancelled = True
        with suppress(InvalidStateError):
            self._answer.set_exception(_cancelled())
        reader = self._reader
        if reader is not None:
            with suppress(pa.ArrowException):
                reader.cancel()

    def close(self) -> None:
        self.cancel()
        self._reader = None
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _unless_cancelled(self, asking: Callable[[], T]) -> T:
        """The answer to a call, which gRPC offers no way to interrupt: if it is cancelled, its thread goes on
        alone until the server answers."""
        answer: Future[T] = Future()
        self._answer = answer
        if self._cancelled:
            raise _cancelled()
        threading.Thread(target=_settle, args=(answer, asking), daemon=True).start()
        return answer.result()

    def _next_reader(self) -> fl.FlightStreamReader:
        endpoint = self._endpoints.pop(0)
        options = fl.FlightCallOptions(headers=self._headers)
        asking = partial(self._client(self._where(endpoint)).do_get, endpoint.ticket, options)
        reader = self._unless_cancelled(asking)
        if self._schema is not None and reader.schema != self._schema:
            raise InvalidSource(f"{self._target.label} sends parts of different columns")
        return reader

    def _where(self, endpoint: fl.FlightEndpoint) -> _Target:
        """The server of an endpoint, by default the one that was asked. Headers are sent to no other."""
        uris = [location.uri.decode() for location in endpoint.locations]
        own = (self._target.host, self._target.port)
        for uri in uris:
            found = urlsplit(uri)
            if found.scheme == "arrow-flight-reuse-connection" or (found.hostname, found.port) == own:
                return self._target
        if not uris:
            return self._target
        target = _target(uris[0])
        if target != self._target and self._headers:
            raise SourceNotAllowed(
                f"{self._target.label} has its rows at {target.label}, which must not see the headers"
            )
        return target

    def _client(self, target: _Target) -> fl.FlightClient:
        if self._cancelled:
            raise _cancelled()
        if target not in self._clients:
            address = checked_address(target.host, target.port, self._policy)
            self._clients[target] = fl.FlightClient(
                f"{target.scheme}://{bracketed(address)}:{target.port}",
                override_hostname=target.host if target.scheme == "grpc+tls" else None,
            )
        return self._clients[target]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        label = self._target.label
        try:
            yield
        except (fl.FlightUnavailableError, fl.FlightTimedOutError):
            raise SourceUnavailable(f"{label} does not answer; try again later", url=label) from None
        except (fl.FlightError, pa.ArrowException, KeyError, NotImplementedError) as error:
            if self._cancelled:
                raise _cancelled() from None
            text = str(error).partition(". Detail:")[0].splitlines()[0][:_SHOWN]
            raise InvalidSource(f"{label} answered: {text}") from None


def _settle(answer: Future[T], asking: Callable[[], T]) -> None:
    with suppress(InvalidStateError):  # cancelled meanwhile
        try:
            answer.set_result(asking())
        except Exception as error:
            answer.set_exception(error)


def _cancelled() -> Cancelled:
    return Cancelled("the reading was cancelled")


def _target(given: object) -> _Target:
    """
    Raises:
        InvalidSource: it is not the URI of a Flight server.
    """
    try:
        uri = urlsplit(given) if isinstance(given, str) else None
        if uri is not None and uri.scheme in _SCHEMES and uri.hostname and uri.port and not uri.username:
            return _Target(_SCHEMES[uri.scheme], uri.hostname, uri.port)
    except ValueError:
        pass
    raise InvalidSource(
        "a source of kind 'flight' needs 'uri', such as grpc://host:8815 or grpc+tls://host:8815"
    )


def _descriptor(spec: SourceSpec) -> fl.FlightDescriptor:
    match fields_of(spec, "uri", "path", "command", "headers"):
        case {"path": str(path), **rest} if path and not rest.get("command"):
            return fl.FlightDescriptor.for_path(path)
        case {"path": [*parts], **rest} if (
            parts and all(isinstance(part, str) for part in parts) and not rest.get("command")
        ):
            return fl.FlightDescriptor.for_path(*map(str, parts))
        case {"command": str(command), **rest} if command and not rest.get("path"):
            return fl.FlightDescriptor.for_command(command.encode())
    raise InvalidSource("a source of kind 'flight' needs either 'path' or 'command'")
