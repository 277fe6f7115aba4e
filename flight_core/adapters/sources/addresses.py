"""Where clients that resolve names by themselves are sent: to addresses that were checked."""

import ipaddress
import socket

from flight_core.domain.errors import SourceNotAllowed, SourceUnavailable
from flight_core.infrastructure.http_client import AddressPolicy


def checked_address(host: str, port: int, policy: AddressPolicy) -> str:
    """An address of `host` that sources may reach. Connect to it, so that it is what was checked. Blocks.

    Raises:
        SourceNotAllowed: there is no such address.
        SourceUnavailable: the name has no address.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceUnavailable(f"the name {host} cannot be resolved", url=f"{host}:{port}") from None
    for entry in found:
        address = str(entry[4][0]).partition("%")[0]
        if policy.allows(ipaddress.ip_address(address)):
            return address
    raise SourceNotAllowed(
        f"'{host}' is an address of this machine or of a private network, which sources may not"
        " reach; an operator can allow it with SKEIN_INGEST_ALLOW_PRIVATE=true",
        host=host,
    )


def bracketed(address: str) -> str:
    """As URIs have it."""
    return f"[{address}]" if ":" in address else address
