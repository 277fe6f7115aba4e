"""Fetching over HTTP from servers that lead astray: redirects, and addresses that nobody may ask for."""

import ipaddress
import socket

import anyio
import pytest

from flight_core.domain.errors import InvalidSource, SourceNotAllowed
from flight_core.infrastructure.http_client import AddressPolicy
from tests.adapters.http_fetching import BODY
from tests.adapters.http_server import always, answer, serving


@pytest.mark.anyio
async def test_redirects_are_followed(fetch):
    async def handle(request, writer):
        if request.path == "/old":
            writer.write(answer(b"", "302 Found", Location="/new"))
        else:
            writer.write(answer(BODY))

    async with serving(handle) as server:
        assert await fetch(server.url + "/old", headers={"Authorization": "Bearer t"}) == BODY
        assert [request.path for request in server.requests] == ["/old", "/new"]
        assert server.requests[1].headers["authorization"] == "bearer t"


@pytest.mark.anyio
async def test_headers_stay_with_the_origin_they_were_meant_for(fetch):
    async with serving(always(answer(BODY))) as elsewhere:
        async with serving(always(answer(b"", "307 Moved", Location=elsewhere.url))) as server:
            assert await fetch(server.url, headers={"X-Api-Key": "k"}) == BODY
            assert server.requests[0].headers["x-api-key"] == "k"
        assert "x-api-key" not in elsewhere.requests[0].headers


@pytest.mark.anyio
async def test_endless_redirects_are_refused(fetch):
    async with serving(always(answer(b"", "302 Found", Location="/again"))) as server:
        with pytest.raises(InvalidSource, match="more than 10 times"):
            await fetch(server.url)


@pytest.mark.anyio
@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
async def test_a_redirect_to_another_scheme_is_refused(fetch, target):
    async with serving(always(answer(b"", "302 Found", Location=target))) as server:
        with pytest.raises(SourceNotAllowed, match="redirects to"):
            await fetch(server.url)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "http://[fe80::1]/"]
)
async def test_a_redirect_to_a_private_address_is_refused(fetch, target):
    async with serving(always(answer(b"", "302 Found", Location=target))) as server:
        with pytest.raises(SourceNotAllowed, match="SKEIN_INGEST_ALLOW_PRIVATE"):
            await fetch(server.url)
        assert len(server.requests) == 1


LOOPBACK_NAMES = [
    "127.0.0.1",
    "localhost",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "2130706433",
    "0x7f000001",
    "[::1]",
    "[::ffff:127.0.0.1]",
]


@pytest.mark.anyio
@pytest.mark.parametrize("host", [*LOOPBACK_NAMES, "0.0.0.0", "0"])
async def test_this_machine_is_refused_under_any_name(fetch, host):
    async with serving(always(answer(BODY))) as server:
        url = server.url.replace("127.0.0.1", host)
        with pytest.raises(SourceNotAllowed):
            await fetch(url, allow_loopback=False)
        assert server.requests == []


@pytest.mark.anyio
async def test_a_name_is_judged_by_where_it_leads(fetch, monkeypatch):
    """A public name that resolves to this machine, as rebinding names do."""

    async def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(anyio, "getaddrinfo", resolve)
    async with serving(always(answer(BODY))) as server:
        url = server.url.replace("127.0.0.1", "data.example.org")
        with pytest.raises(SourceNotAllowed, match=r"data\.example\.org"):
            await fetch(url, allow_loopback=False)
        assert await fetch(url) == BODY


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("::127.0.0.1", False),
        ("::10.0.0.1", False),
        ("::ffff:0:10.0.0.1", False),
        ("64:ff9b:1::a00:1", False),
        ("2001:0:a00:1::", False),
        ("2001:db8::1", False),
        ("fec0::1", False),
        ("198.18.0.1", False),
        ("192.0.0.170", False),
    ],
)
def test_addresses_that_are_not_public_need_permission(address, allowed):
    parsed = ipaddress.ip_address(address)
    assert AddressPolicy().allows(parsed) is allowed
    assert AddressPolicy(allow_private=True).allows(parsed)


def test_loopback_can_be_allowed_alone():
    policy = AddressPolicy(allow_loopback=True)
    assert policy.allows(ipaddress.ip_address("127.0.0.1"))
    assert not policy.allows(ipaddress.ip_address("10.0.0.1"))
