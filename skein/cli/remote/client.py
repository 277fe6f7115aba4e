"""Finding a server, and talking to its HTTP API."""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from flight_core.domain.errors import InvalidOption
from schemas.errors import PROBLEM_MEDIA_TYPE, Problem
from schemas.http import API
from schemas.system import About
from skein.cli.remote.failures import CliError
from skein.cli.remote.login import authorization, client_settings
from skein.directory import DataDirectory
from skein.runtime import RuntimeFile
from skein.settings import ClientSettings

_TIMEOUT_S = 60.0
_EXAMPLE = "http://127.0.0.1:8816"
_FLIGHT = ("grpc", "grpc+tcp", "grpc+tls", "flightsql")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

Model = TypeVar("Model", bound=BaseModel)
Item = TypeVar("Item", covariant=True)

_PAGE = 1000


class Listing(Protocol[Item]):
    """A page of a list: see `schemas.http.Page`."""

    @property
    def items(self) -> Sequence[Item]: ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. `local`: found by its runtime file, so no proxy is between. A door that is
    None is not open, or, where only the HTTP door was named, not known yet."""

    http: str | None
    flight: str | None
    local: bool


def find_server(settings: ClientSettings) -> Address:
    """The server that was named, else the one of the data directory.

    Raises:
        CliError: no server is running there.
        InvalidOption: what was named is no URL of an HTTP server.
    """
    if settings.server:
        return Address(_url(settings.server), None, local=False)
    data = settings.data
    running = RuntimeFile(DataDirectory(data).runtime_file).read()
    if not running:
        raise CliError(
            "no_server",
            f"no server is running on the data directory '{data}'; start one with"
            f" 'skein serve --data {data}', or name another with --data DIR or --server URL",
        )
    return Address(running.get("http"), running.get("flight"), local=True)


def _url(server: str) -> str:
    """`host:port` is short for `http://host:port`."""
    url = server if "://" in server else f"http://{server}"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidOption(f"'{server}' is not a URL, as {_EXAMPLE} is: {error}", option="server") from None
    if parts.scheme in _FLIGHT:
        raise InvalidOption(
            f"'{server}' is the URL of a Flight server; name the HTTP server, as in {_EXAMPLE}, which knows"
            " where Flight is",
            option="server",
        )
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host or host.isdigit() or parts.netloc.endswith(":"):
        raise InvalidOption(f"'{server}' is not the URL of an HTTP server, as {_EXAMPLE} is", option="server")
    return url.rstrip("/")


class Api:
    """The HTTP API of one server. Not thread-safe. `local`: on this machine, for sure."""

    def __init__(self, http: httpx.Client, *, local: bool) -> None:
        self.local = local
        self._http = http

    def get(self, model: type[Model], path: str, **parameters: object) -> Model:
        """Raises CliError, as all requests do: with the server's code, or where it does not answer."""
        given = {
            name: value if isinstance(value, list) else str(value)
            for name, value in parameters.items()
            if value is not None
        }
        return self._reply(model, self._send("GET", path, params=given or None))

    def items(self, model: type[Listing[Item]], path: str, **parameters: object) -> Iterator[Item]:
        """What is in a list, of all its pages."""
        pages: Any = model
        page = self.get(pages, path, **{"limit": _PAGE, **parameters})
        yield from page.items
        while page.next is not None:
            page = self.get(pages, page.next)
            yield from page.items

    def post(self, model: type[Model], path: str, body: object = None) -> Model:
        return self._reply(model, self._send("POST", path, json=body))

    def patch(self, model: type[Model], path: str, body: object) -> Model:
        return self._reply(model, self._send("PATCH", path, json=body))

    def put(self, model: type[Model], path: str, body: object) -> Model:
        return self._reply(model, self._send("PUT", path, json=body))

    def send(
        self, model: type[Model], method: str, path: str, *, headers: Mapping[str, str], content: bytes = b""
    ) -> Model:
        """Bytes, as they are."""
        return self._reply(model, self._send(method, path, headers=headers, content=content))

    def lines(self, path: str, parameters: Mapping[str, object]) -> Iterator[str]:
        """Of an answer that goes on and on, as they come; it ends where the server says so."""
        given: Any = dict(parameters)
        try:
            with self._http.stream("GET", path, params=given) as response:
                if not response.is_success:
                    response.read()
                    self._refuse_problem(response)
                yield from response.iter_lines()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def etag(self, path: str) -> str:
        """Of the state that the resource is in."""
        return str(self._send("HEAD", path).headers.get("etag", "*"))

    def delete(self, path: str) -> None:
        self.command("DELETE", path)

    def command(self, method: str, path: str, body: object = None) -> None:
        """What is answered without a word."""
        response = self._send(method, path, json=body)
        if not response.is_success:
            raise _unexpected(response)

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **content)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        self._refuse_problem(response)
        return response

    def _unreachable(self, error: httpx.HTTPError) -> CliError:
        return CliError(
            "server_unreachable",
            f"no answer from {self._http.base_url}: {str(error).rstrip('.') or type(error).__name__};"
            f" {_question(error)}",
        )

    def _refuse_problem(self, response: httpx.Response) -> None:
        if response.headers.get("content-type", "").startswith(PROBLEM_MEDIA_TYPE):
            problem = self._reply(Problem, response)
            raise CliError(problem.code, problem.detail)

    def _reply(self, model: type[Model], response: httpx.Response) -> Model:
        try:
            return model.model_validate_json(response.content)
        except ValidationError:
            raise _unexpected(response) from None


def _question(error: httpx.HTTPError) -> str:
    """What to look at first."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "does SKEIN_CA name the CA of its certificate?"
    if "SSL" in str(error):
        return "does it have a certificate? Without one its URL begins with http://"
    if isinstance(error, httpx.RemoteProtocolError):
        return "is this its HTTP port, and does its URL begin with https:// if it has a certificate?"
    return "is the server running?"


def _unexpected(response: httpx.Response) -> CliError:
    return CliError(
        "unexpected_answer",
        f"{response.url} answered {response.status_code} with something else than Skein's API does;"
        " check the URL",
    )


@contextmanager
def open_api(settings: ClientSettings, address: Address) -> Iterator[Api]:
    """
    Raises:
        CliError: the server has no HTTP door.
        InvalidOption: the URL or the CA file is not one, or a password is missing.
    """
    if address.http is None:
        raise CliError(
            "no_server",
            "only the Flight server is running; start the HTTP server with 'skein serve-control'",
        )
    shown = authorization(settings)
    try:
        http = httpx.Client(
            base_url=address.http,
            headers={"Authorization": shown} if shown else {},
            timeout=_TIMEOUT_S,
            trust_env=not address.local,
            verify=_verification(address.http, settings),
        )
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidOption(f"'{address.http}' is not a URL: {error}") from None
    with http:
        yield Api(http, local=address.local)


@contextmanager
def connect(server: str | None, data: Path | None) -> Iterator[Api]:
    """The API of the server that flags and environment name. Raises as `find_server` and `open_api`."""
    settings = client_settings(server, data)
    with open_api(settings, find_server(settings)) as api:
        yield api


def flight_uri(settings: ClientSettings, address: Address) -> str:
    """Where the server's Flight door is; asks its API if the address does not tell.

    Raises:
        CliError: it has none, or its API does not answer.
    """
    if address.flight is not None:
        return address.flight
    uri = None
    if not address.local:
        with open_api(settings, address) as api:
            uri = api.get(About, API).flight_uri
    if uri is None:
        raise CliError("no_server", "no Flight server is running; start one with 'skein serve-flight'")
    return seen_from_here(uri, str(address.http))


def path_of(*parts: str) -> str:
    """A path of the API, with each part quoted."""
    return "/".join((API, *(quote(part, safe="") for part in parts)))


def seen_from_here(uri: str, http: str) -> str:
    """A server that listens on every address calls itself by its own: use the name that reached it."""
    flight, host = urlsplit(uri), urlsplit(http).hostname or ""
    if flight.hostname not in _LOOPBACK or host in _LOOPBACK:
        return uri
    return f"{flight.scheme}://{f'[{host}]' if ':' in host else host}:{flight.port}"


def _verification(url: str, settings: ClientSettings) -> ssl.SSLContext | bool:
    ca, cert, key = settings.ca, settings.cert, settings.key
    if ca is None and cert is None:
        # Without TLS nobody is to be trusted; finding out whom the system trusts takes 25 ms.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http:") else True
    try:
        context = httpx.create_ssl_context() if ca is None else ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise InvalidOption(f"SKEIN_CA is '{ca}', which is no PEM certificate: {error.strerror}") from None
    if cert is not None:
        try:
            context.load_cert_chain(cert, key)
        except OSError as error:
            raise InvalidOption(
                f"SKEIN_CERT and SKEIN_KEY are '{cert}' and '{key}', which are no PEM certificate with its"
                f" key: {error.strerror or error}"
            ) from None
    return context
