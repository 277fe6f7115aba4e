"""The logs of jobs. Any code that runs within a job can call `note(...)`."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from flight_core.application.ports.clock import Clock
from flight_core.domain.job import LogLevel, LogLine, Phase

MAX_LINES = 1000  # per attempt; errors are always logged
MAX_MESSAGE_CHARS = 2000

# A path with at least one folder, but not that of a URL.
_PATH = re.compile(r"(?<![\w:/.])/(?:[^\s/'\":,]+/)+([^\s/'\":,]*)")


class JobLog:
    """The lines of an attempt that are not stored yet. Thread-safe."""

    def __init__(self, clock: Clock, *, attempt: int) -> None:
        self.phase: Phase | None = None
        self._clock = clock
        self._attempt = attempt
        self._lock = threading.Lock()
        self._waiting: list[LogLine] = []
        self._count = 0

    def add(self, message: str, level: LogLevel = LogLevel.INFO) -> None:
        with self._lock:
            self._count += 1
            if self._count == MAX_LINES:
                message, level = "there is more to say than is kept", LogLevel.WARNING
            if self._count <= MAX_LINES or level is LogLevel.ERROR:
                text = without_paths(message)[:MAX_MESSAGE_CHARS]
                self._waiting.append(LogLine(self._clock(), text, level, self.phase, self._attempt))

    def take(self) -> list[LogLine]:
        """The lines since the last call."""
        with self._lock:
            lines, self._waiting = self._waiting, []
        return lines

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Collect what is noted within the block, including its tasks and worker threads."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[JobLog | None] = ContextVar("job_log", default=None)


def note(message: str, level: LogLevel = LogLevel.INFO) -> None:
    """Add a line to the log of the current job; does nothing outside of jobs.

    Users read it, so it must not contain secrets. Folders are removed from paths.
    """
    log = _current.get()
    if log is not None:
        log.add(message, level)


def without_paths(text: str) -> str:
    """The text, with absolute paths reduced to their file names."""
    return _PATH.sub(r"\1", text)
