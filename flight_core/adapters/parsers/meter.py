"""Messages of the parsing process to the server: one JSON object per line."""

import json
import threading
from typing import TextIO

_INTERVAL_S = 0.2


class Meter:
    """Counts bytes read and rows written. Thread-safe; never goes backwards.

    Bytes are estimates if a library reads the file itself. `working_on` names the current file, for the
    message after a crash.
    """

    def __init__(self, out: TextIO, total_bytes: int = 0) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._rows = 0
        self._told: tuple[int, int] | None = None

    @property
    def total_bytes(self) -> int:
        return self._total_bytes

    def working_on(self, label: str) -> None:
        self.say(label=label)

    def reached(self, done_bytes: float, rows: int = 0) -> None:
        """`done_bytes` of the total, and `rows` rows, have been processed."""
        with self._lock:
            self._done_bytes = max(self._done_bytes, min(int(done_bytes), self._total_bytes))
            self._rows = max(self._rows, rows)

    def say(self, **message: object) -> None:
        line = json.dumps(message) + "\n"
        with self._lock:
            self._out.write(line)
            self._out.flush()

    def tell(self) -> None:
        """Send the progress if it has changed."""
        now = (self._done_bytes, self._rows)
        if now != self._told:
            self._told = now
            self.say(done_bytes=now[0], total_bytes=self._total_bytes, rows=now[1])

    def tell_until(self, ended: threading.Event) -> None:
        """Send the progress a few times per second. Blocks until `ended`."""
        while not ended.wait(_INTERVAL_S):
            self.tell()
