"""What ADBC drivers may connect to, and with which options.

Drivers are given a checked address instead of a name, so that DNS cannot change before they connect.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

from flight_core.adapters.sources.addresses import bracketed
from flight_core.domain.errors import InvalidSource

Options = Mapping[str, str]

_FLIGHT = "adbc.flight.sql."
_FLIGHT_OPTIONS = re.compile(
    r"username|password|adbc\.flight\.sql\.(authorization_header|rpc\.call_header\.[a-z0-9_-]+"
    r"|rpc\.timeout_seconds\.(fetch|query|update)"
    r"|client_option\.(tls_override_hostname|tls_root_certs|tls_skip_verify|mtls_cert_chain|mtls_private_key"
    r"|authority|with_max_msg_size|with_cookie_middleware))"
)
_POSTGRES_PARAMETERS = frozenset(
    {"application_name", "connect_timeout", "keepalives", "options", "sslmode", "target_session_attrs"}
)
_READ_ONLY = "-c default_transaction_read_only=on"
_WHERE = re.compile("pragma_database_list", re.IGNORECASE)
_READS = re.compile(r"\s*(?:(?:--[^\n]*\n|/\*.*?\*/)\s*)*(?:select|with|values)\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Server:
    """The server to connect to. `label` is its name in error messages."""

    uri: SplitResult
    host: str
    port: int

    @property
    def label(self) -> str:
        return f"{self.host}:{self.port}"

    def uri_at(self, address: str, query: str = "", scheme: str | None = None) -> str:
        place = f"{bracketed(address)}:{self.port}"
        return urlunsplit((scheme or self.uri.scheme, place, self.uri.path, query or self.uri.query, ""))


@dataclass(frozen=True, slots=True)
class Driver:
    """What is known about a driver.

    `connected` makes all options of the driver, for a checked address.
    `schemes` are the allowed schemes of URIs with their default ports; empty: all schemes.
    `options` are the allowed options; others could read files or open further connections.
    `parts`: results are read part by part, so that the server cannot redirect the driver to another one.
    `knows_hosts`: the driver takes the address and the host name separately, which TLS needs.
    """

    connected: Callable[[Server, str, Options], Options]
    schemes: Mapping[str, int | None]
    options: re.Pattern[str]
    parts: bool = False
    knows_hosts: bool = True

    def server(self, given: str, name: str) -> Server:
        """
        Raises:
            InvalidSource
        """
        try:
            uri = urlsplit(given)
            port = uri.port or self.schemes.get(uri.scheme)
        except ValueError:
            raise self._no_uri(name) from None
        if self.schemes and uri.scheme not in self.schemes:
            raise self._no_uri(name)
        if not uri.hostname or not port or "," in uri.netloc:
            raise self._no_uri(name)
        if uri.username or uri.password:
            raise InvalidSource(
                "'uri' has a user or a password in it, which would be kept with the job; use the options"
                " 'username' and 'password', which may be secrets"
            )
        return Server(uri, uri.hostname, port)

    def _no_uri(self, name: str) -> InvalidSource:
        scheme = next(iter(self.schemes), "scheme")
        return InvalidSource(
            f"the driver '{name}' needs 'uri' to name one host and its port, as {scheme}://host:1234 does"
        )


def _flightsql(server: Server, address: str, options: Options) -> Options:
    own: dict[str, str] = {}
    if server.uri.scheme == "grpc+tls":
        own[f"{_FLIGHT}client_option.tls_override_hostname"] = server.host
    else:
        own[f"{_FLIGHT}client_option.authority"] = server.label
    return {**own, **options, "uri": server.uri_at(address)}


def _postgresql(server: Server, address: str, options: Options) -> Options:
    """User and password go into the URI. libpq connects to `hostaddr`; `host` is for TLS. Of repeated
    settings the last one counts: transactions are read-only, since a job may run again."""
    parameters = dict(parse_qsl(server.uri.query, keep_blank_values=True))
    unknown = sorted(set(parameters) - _POSTGRES_PARAMETERS)
    if unknown:
        raise InvalidSource(
            f"'uri' has the parameter '{unknown[0][:40]}', which cannot be set here; there are:"
            f" {', '.join(sorted(_POSTGRES_PARAMETERS))}"
        )
    parameters |= {"hostaddr": address, "passfile": "/dev/null"}
    parameters["options"] = f"{parameters.get('options', '')} {_READ_ONLY}".lstrip()
    names = {"username": "user", "password": "password"}
    parameters |= {names[name]: value for name, value in options.items()}
    return {"uri": server.uri_at(server.host, urlencode(parameters, quote_via=quote), "postgresql")}


def _other(server: Server, address: str, options: Options) -> Options:
    return {**options, "uri": server.uri_at(address)}


_KNOWN = {
    "flightsql": Driver(
        _flightsql, {"grpc": None, "grpc+tcp": None, "grpc+tls": None}, _FLIGHT_OPTIONS, parts=True
    ),
    "postgresql": Driver(
        _postgresql, {"postgresql": 5432, "postgres": 5432}, re.compile("username|password")
    ),
}
_OTHER = Driver(_other, {}, re.compile("(?!uri$).+"), knows_hosts=False)


def driver_of(name: str) -> Driver:
    """The driver of a server. Other drivers, which an operator allowed, get their options unchanged, and a
    URI with the address."""
    return _KNOWN.get(name, _OTHER)


def sqlite_options(path: Path) -> Options:
    """The options for reading that file."""
    return {"uri": f"{path.as_uri()}?mode=ro"}


def check_reads(sql: str) -> None:
    """Refuse SQLite statements that may write files or attach others, by their first word, and those that
    would reveal where on the server the file is (`_WHERE`).

    Raises:
        InvalidSource
    """
    if not _READS.match(sql):
        raise InvalidSource("'sql' has to be one statement that reads, and begin with SELECT, WITH or VALUES")
    if _WHERE.search(sql):
        raise InvalidSource("'sql' names 'pragma_database_list', which is not available; leave it out")
