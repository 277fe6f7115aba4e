"""Parsing processes: one for each job, forked from a template process, see `template`."""

import socket
import subprocess
import sys
import threading
from contextlib import suppress

LOG = "parser.log"  # the other output of a process, in the folder of its job

_COMMAND = (sys.executable, "-P", "-m", "flight_core.adapters.parsers.template")
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",  # a process that forks has one thread
    # Polars' allocator keeps freed pages for 5 s instead of 0.5 s, which saves a tenth of the time.
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:5000,muzzy_decay_ms:-1",
}


class ParsingProcesses:
    """Thread-safe. The first job starts the template, and so does the next one if it has died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._template: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None

    def start(self) -> socket.socket:
        """A connection to a new process, which takes one request and ends with the connection.

        If the connection ends without any message, the process did not start."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            if self._template is None or self._template.poll() is not None:
                self._start_template()
            assert self._requests is not None
            with suppress(OSError):  # the template died just now
                socket.send_fds(self._requests, [b"j"], [theirs.fileno()])
        return ours

    def close(self) -> None:
        """End the template. Idempotent. The processes of jobs end with their connections."""
        with self._lock:
            if self._requests is not None:
                self._requests.close()
            if self._template is not None:
                self._template.wait()
            self._template = self._requests = None

    def _start_template(self) -> None:
        if self._requests is not None:
            self._requests.close()
        self._requests, theirs = socket.socketpair()
        with theirs:
            self._template = subprocess.Popen(
                _COMMAND,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=ENVIRONMENT,
                start_new_session=True,
            )
