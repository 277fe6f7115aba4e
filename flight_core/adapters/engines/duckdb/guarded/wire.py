"""The protocol between the server and its guarded processes: frames on a Unix socket.

A frame is one byte for its kind, eight bytes for its length (big endian), and the content.
"""

import json
import math
import select
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from flight_core.domain.errors import FlightCoreError
from flight_core.domain.failure_documents import failure_document, failure_of

JSON = b"J"
ARROW = b"A"  # a piece of an Arrow IPC stream
ERROR = b"E"
PROGRESS = b"P"  # a double, see `Measured`; NaN if unknown
END = b"Z"

_HEADER = struct.Struct(">cQ")
_PROGRESS = struct.Struct(">d")


def frame(kind: bytes, payload: bytes | memoryview = b"") -> bytes:
    return _HEADER.pack(kind, len(payload)) + payload


def message(**content: Any) -> bytes:
    return frame(JSON, json.dumps(content).encode())


class Gone(Exception):
    """The other side has closed the connection, or its process has died."""


class Channel:
    """One end of a connection. Several threads may send at the same time."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._sending = threading.Lock()

    def send_frames(self, *frames: bytes) -> None:
        """Send small frames together, since each send wakes the other side."""
        with self._sending:
            try:
                self.connection.sendall(b"".join(frames))
            except OSError as error:
                raise Gone from error

    def send_pieces(self, kind: bytes, pieces: Sequence[bytes | memoryview]) -> None:
        """Send one frame without joining its pieces first."""
        with self._sending:
            self._send(kind, pieces)

    def offer_progress(self, progress: float | None) -> bool:
        """Send the progress, unless that would block; whether it was sent."""
        if not self._sending.acquire(blocking=False):
            return False
        try:
            if not select.select([], [self.connection], [], 0)[1]:
                return False
            self._send(PROGRESS, [_PROGRESS.pack(math.nan if progress is None else progress)])
            return True
        finally:
            self._sending.release()

    def _send(self, kind: bytes, pieces: Sequence[bytes | memoryview]) -> None:
        try:
            self.connection.sendall(_HEADER.pack(kind, sum(map(len, pieces))))
            for piece in pieces:
                self.connection.sendall(piece)
        except OSError as error:
            raise Gone from error

    def receive(self) -> tuple[bytes, memoryview]:
        kind, size = _HEADER.unpack(self._exactly(_HEADER.size))
        return kind, self._exactly(size)

    def receive_message(self) -> Mapping[str, Any]:
        """The next message.

        Raises:
            FlightCoreError: the failure of the other side.
        """
        message: dict[str, Any] = json.loads(bytes(self.expect(JSON)))
        return message

    def expect(self, kind: bytes) -> memoryview:
        """The content of the next frame, which must be of that kind.

        Raises:
            FlightCoreError: the failure of the other side.
        """
        found, payload = self.receive()
        if found == ERROR:
            raise failure_in(payload)
        assert found == kind
        return payload

    def fail(self, failure: FlightCoreError) -> None:
        self.send_frames(frame(ERROR, json.dumps(failure_document(failure), default=str).encode()))

    def close(self) -> None:
        self.connection.close()

    def _exactly(self, size: int) -> memoryview:
        buffer = memoryview(bytearray(size))
        filled = 0
        while filled < size:
            try:
                count = self.connection.recv_into(buffer[filled:])
            except TimeoutError:
                raise
            except OSError as error:
                raise Gone from error
            if not count:
                raise Gone
            filled += count
        return buffer


def progress_of(payload: memoryview) -> float | None:
    """The content of a PROGRESS frame."""
    (progress,) = _PROGRESS.unpack(payload)
    return None if math.isnan(progress) else progress


def failure_in(payload: memoryview) -> FlightCoreError:
    """The failure in an ERROR frame."""
    return failure_of(json.loads(bytes(payload)))
