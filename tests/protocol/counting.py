"""A TCP relay that counts what the server sends: clients cannot tell whether a stream is compressed."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress


@contextmanager
def counted(port: int) -> Iterator[tuple[int, Callable[[], int]]]:
    """A port that leads one connection to `port`, and the number of bytes that came back through it."""
    received = 0

    def forward(source: socket.socket, target: socket.socket, *, count: bool) -> None:
        nonlocal received
        with suppress(OSError):  # either side may hang up
            while data := source.recv(1 << 16):
                received += len(data) if count else 0
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def relay() -> None:
        with ExitStack() as stack:
            client = stack.enter_context(listener.accept()[0])
            server = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            sending = threading.Thread(target=forward, args=(client, server), kwargs={"count": False})
            sending.start()
            forward(server, client, count=True)
            sending.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=relay)
        thread.start()
        yield listener.getsockname()[1], lambda: received
        thread.join()
