"""Statements over Flight: the result as it comes, with Ctrl-C heard while the server works."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.domain.errors import InvalidOption
from schemas.flight import InfoMetadata, SqlCommand
from skein.cli.remote.client import find_server, flight_uri
from skein.cli.remote.failures import CliError
from skein.cli.remote.login import authorization
from skein.settings import ClientSettings

T = TypeVar("T")

# What Arrow and gRPC put around a message, and the message as the server wrote it.
_WRAPPING = re.compile(
    r"^.*?with message: |(\. Detail: [\w :]+)?(\. gRPC client debug context: .*)?$", re.DOTALL
)
_CODED = re.compile(r"\[(?P<code>[a-z_]+)\] (?P<message>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Result:
    """`batches` can be iterated once. `changes`: the statement was no read, and has been carried out;
    `affected_rows` is how many rows it changed, where that is known."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    changes: bool
    affected_rows: int | None


@contextmanager
def run_statement(settings: ClientSettings, command: SqlCommand) -> Iterator[Result]:
    """The server stops what is still running when the context ends.

    Raises:
        CliError: the server's failure, or that it does not answer; also while iterating.
    """
    address = find_server(settings)
    door = _Door(flight_uri(settings, address))
    client = _connected(door.uri, settings, local=address.local)
    options = _options(settings)
    descriptor = fl.FlightDescriptor.for_command(command.model_dump_json())
    info = door.wait(client.get_flight_info, descriptor, options)
    reader = door.wait(client.do_get, info.endpoints[0].ticket, options)
    metadata = InfoMetadata.model_validate_json(info.app_metadata)
    batches = door.ahead(partial(_next, reader))
    try:
        yield Result(reader.schema, batches, metadata.query_id is None, metadata.affected_rows)
    finally:
        reader.cancel()


class _Door:
    """Python hears no Ctrl-C in a thread that waits inside Arrow: another one does the waiting."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._thread = ThreadPoolExecutor(max_workers=1)

    def wait(self, call: Callable[..., T], *arguments: object) -> T:
        """What the call returns; raises CliError."""
        return self._outcome(self._thread.submit(call, *arguments))

    def ahead(self, fetch: Callable[[], T | None]) -> Iterator[T]:
        """All that `fetch` returns before None; it gets the next one while the caller uses the one before."""
        coming = self._thread.submit(fetch)
        while (item := self._outcome(coming)) is not None:
            coming = self._thread.submit(fetch)
            yield item

    def _outcome(self, future: Future[T]) -> T:
        try:
            return future.result()
        except (pa.ArrowException, fl.FlightError, OSError) as error:
            raise failure_of(str(error), self.uri) from None


def _next(reader: fl.FlightStreamReader) -> pa.RecordBatch | None:
    try:
        return reader.read_chunk().data
    except StopIteration:
        return None


def _connected(uri: str, settings: ClientSettings, *, local: bool) -> fl.FlightClient:
    proxy: list[tuple[str, int | str]] = [("grpc.enable_http_proxy", 0)] if local else []
    return fl.connect(
        uri,
        tls_root_certs=_pem("SKEIN_CA", settings.ca),  # type: ignore[arg-type] # the stubs are wrong
        cert_chain=_pem("SKEIN_CERT", settings.cert),  # type: ignore[arg-type]
        private_key=_pem("SKEIN_KEY", settings.key),  # type: ignore[arg-type]
        generic_options=proxy,
    )


def _pem(name: str, path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise InvalidOption(f"{name} is '{path}', which cannot be read: {error.strerror}") from None


def _options(settings: ClientSettings) -> fl.FlightCallOptions:
    shown = authorization(settings)
    headers = [(b"authorization", shown.encode())] if shown else []
    return fl.FlightCallOptions(headers=headers)  # type: ignore[arg-type] # the stubs are wrong


def failure_of(text: str, uri: str) -> CliError:
    message = _WRAPPING.sub("", text)
    coded = _CODED.search(message)
    if coded:
        return CliError(coded["code"], coded["message"])
    return CliError("server_unreachable", f"no answer from {uri}: {message}; is the server running?")
