"""Where the servers listen: whether ports can be had, and what addresses look like to clients."""

import errno
import os
import socket
from collections.abc import Set

from flight_core.domain.errors import Conflict, InvalidOption
from skein.directory import Role
from skein.settings import Settings

HTTP_FLAG = "--http-port"
METRICS_FLAG = "SKEIN_METRICS_PORT"


def bind(host: str, port: int, *, flag: str) -> socket.socket:
    """A socket that does not listen yet.

    Raises:
        Conflict: the port is taken; names the flag to change it.
        InvalidOption: the host is none of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise InvalidOption(
            f"--host is '{host}', which is not an address; use 127.0.0.1, for example"
        ) from None
    candidate = socket.socket(family, kind, protocol)
    try:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        candidate.bind(address)
    except OSError as error:
        candidate.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"the port {port} on {host} is taken; choose another with {flag}, or 0 for any free one"
            ) from None
        raise InvalidOption(
            f"cannot listen on {host}, port {port}: {os.strerror(error.errno or 0)};"
            f" choose others with --host and {flag}"
        ) from None
    return candidate


def check_ports(settings: Settings, roles: Set[Role]) -> None:
    """Fail early: raises as `bind`, and opens nothing."""
    if Role.FLIGHT in roles:
        bind(settings.host, settings.flight_port, flag="--flight-port").close()
        if settings.metrics_port is not None and Role.CONTROL not in roles:
            bind(settings.host, settings.metrics_port, flag=METRICS_FLAG).close()
    if Role.CONTROL in roles:
        bind(settings.host, settings.http_port, flag=HTTP_FLAG).close()


def _client_uri(scheme: str, host: str, port: int) -> str:
    """What a client on this machine connects to."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"{scheme}://{f'[{reachable}]' if ':' in reachable else reachable}:{port}"


def flight_uri(settings: Settings, port: int) -> str:
    return _client_uri("grpc+tls" if settings.tls_cert else "grpc", settings.host, port)


def http_uri(settings: Settings, port: int) -> str:
    return _client_uri("https" if settings.tls_cert else "http", settings.host, port)
