"""Checked addresses, for client libraries that would resolve names themselves."""

import ipaddress
import socket

from flight_core.domain.errors import SourceUnavailable
from flight_core.infrastructure.http_client import AddressPolicy, address_not_allowed


def checked_address(host: str, port: int, policy: AddressPolicy) -> str:
    """An address of `host` that sources may connect to. Use it instead of the name. Blocks.

    Raises:
        SourceNotAllowed: none of the addresses is allowed.
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
    raise address_not_allowed(host)


def bracketed(address: str) -> str:
    """The address in the form for URIs."""
    return f"[{address}]" if ":" in address else address
