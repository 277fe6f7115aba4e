"""Cutting a server's connections, for clients that neither read nor leave."""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

_DESCRIPTORS = Path("/dev/fd")


def cut_connections(port: int) -> int:
    """Shut down every TCP connection that this process accepted on `port`; the number of them.

    Flight offers no way to abort a call. With its socket gone, gRPC ends the calls of a connection
    by itself.
    """
    cut = 0
    for connection in _accepted(port):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
            cut += 1
    return cut


def _accepted(port: int) -> Iterator[socket.socket]:
    for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208 - a listing of numbers, not of paths
        with contextlib.suppress(OSError):
            duplicate = os.dup(int(name))
            if not stat.S_ISSOCK(os.fstat(duplicate).st_mode):
                os.close(duplicate)
                continue
            with socket.socket(fileno=duplicate) as candidate:
                if (
                    candidate.family in (socket.AF_INET, socket.AF_INET6)
                    and candidate.getsockname()[1] == port
                ):
                    candidate.getpeername()  # a listening socket has none and raises
                    yield candidate
