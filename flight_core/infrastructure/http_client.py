"""An HTTP client for URLs from users, which cannot reach the server's private network."""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import anyio
import httpcore
import httpx

from flight_core.domain.errors import SourceNotAllowed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Not public, although `is_global` may say so in this version of Python: deprecated IPv4-compatible addresses,
# local NAT64, Teredo, documentation, segment routing, site-local.
_CLOSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "::/96",
        "::ffff:0:0:0/96",
        "64:ff9b:1::/48",
        "2001::/32",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Which addresses may be connected to. `allow_private` allows every address."""

    allow_private: bool = False
    allow_loopback: bool = False

    def allows(self, address: Address) -> bool:
        if self.allow_private:
            return True
        address = _meant(address)
        if address.is_loopback:
            return self.allow_loopback
        closed = any(address in network for network in _CLOSED)  # False for the other IP version
        return address.is_global and not address.is_multicast and not closed


def address_not_allowed(host: str) -> SourceNotAllowed:
    return SourceNotAllowed(
        f"'{host}' is an address of this machine or of a private network, which sources may not"
        " reach; an operator can allow it with SKEIN_INGEST_ALLOW_PRIVATE=true",
        host=host,
    )


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 address embeds, if it is mapped, 6to4 or NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves names itself, checks the addresses, and connects to these, so that DNS cannot change between
    the check and the connection. Redirects are checked, too."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """
        Raises:
            SourceNotAllowed: none of the host's addresses is allowed.
            httpcore.ConnectError, httpcore.ConnectTimeout
        """
        allowed = [
            address for address in await _addresses(host, port, timeout) if self._policy.allows(address)
        ]
        if not allowed:
            raise address_not_allowed(host)
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in allowed:
            try:
                return await self._backend.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = failure or error
        assert failure is not None
        raise failure

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


async def _addresses(host: str, port: int, timeout: float | None) -> list[Address]:
    try:
        with anyio.fail_after(timeout):
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise httpcore.ConnectTimeout(f"the name {host} could not be resolved in time") from None
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"the name {host} cannot be resolved") from error
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


def build_client(
    policy: AddressPolicy, *, connect_timeout_s: float, read_timeout_s: float
) -> httpx.AsyncClient:
    """A client without automatic redirects, proxies and compression. The caller closes it.

    `read_timeout_s` is for a single read, not for a whole transfer.
    """
    transport = httpx.AsyncHTTPTransport(trust_env=False)
    transport._pool = httpcore.AsyncConnectionPool(  # httpx has no argument for it
        ssl_context=httpx.create_ssl_context(trust_env=False),
        network_backend=GuardedBackend(policy),
        http1=True,
    )
    return httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(read_timeout_s, connect=connect_timeout_s),
        headers={"Accept-Encoding": "identity", "User-Agent": "skein"},
    )
