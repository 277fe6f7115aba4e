"""WebSockets whose clients never read, and never leave."""

import json
import os
import socket

import psutil
import pytest

from tests.stack import skein_stack, until

HUGE = "SELECT i, repeat('x', 1000) AS s FROM range(1_000_000) t(i)"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with skein_stack(tmp_path_factory.mktemp("unread"), stall_timeout_s=0.5) as made:
        yield made


def text_frame(text: str) -> bytes:
    """As clients send it, masked with zeros."""
    assert len(text) < 126
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode()


def test_a_client_that_never_reads_after_the_handshake_is_cut_off(stack):
    port = int(stack.http_url.rpartition(":")[2])
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        mine = client.getsockname()

        def held() -> bool:
            """Whether the server still has its end."""
            ours = psutil.Process(os.getpid()).net_connections("tcp")
            return any(each.raddr == mine and each.laddr.port == port for each in ours)

        client.sendall(
            f"GET /api/v1/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += client.recv(1)
        client.sendall(text_frame(json.dumps({"subscribe": {"id": "a", "sql": HUGE}})))
        records = stack.skein.control.queries.log.list
        until(lambda: any(record.sql == HUGE for record in records()))
        assert held()
        until(lambda: not held(), deadline_s=30)
        assert all(record.finished_at is not None for record in records() if record.sql == HUGE)
