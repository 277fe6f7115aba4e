"""Rows from a separate process, which may crash, hang or use too much memory without affecting the server."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from flight_core.adapters.sources.row_worker import FAILED
from flight_core.domain.errors import Cancelled, FlightCoreError
from flight_core.domain.query import Pins

_TOLD_BYTES = 64 << 10
_PATIENCE_S = 2.0

# Makes the error for a worker that ended early, from its exit code and, for FAILED, its message.
Explain = Callable[[int, Mapping[str, str]], FlightCoreError]


class ProcessRows:
    """See `Rows`. `worker` is a module that answers `request` with an Arrow stream. `closed` is called after
    the process has ended."""

    def __init__(
        self,
        worker: str,
        request: Mapping[str, object],
        *,
        explain: Explain,
        pins: Pins = MappingProxyType({}),
        closed: Callable[[], object] = lambda: None,
    ) -> None:
        self._worker = worker
        self._request = request
        self._pins = pins
        self._explain = explain
        self._closed = closed
        self._lock = threading.Lock()  # after the process was waited for, its pid may belong to another one
        self._cancelled = False
        self._errors: Any = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: Any = None

    @property
    def schema(self) -> pa.Schema:
        schema: pa.Schema = self._reader.schema
        return schema

    @property
    def pins(self) -> Pins:
        return self._pins

    def start(self) -> None:
        """Start the process and wait for the schema."""
        with self._lock:
            if self._cancelled:
                raise Cancelled("the reading was cancelled")
            process = self._process = subprocess.Popen(
                (sys.executable, "-P", "-m", self._worker),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={"LC_ALL": "C.UTF-8", "HOME": "/nonexistent"},
                start_new_session=True,
            )
        assert process.stdin is not None
        stdout: Any = process.stdout
        with suppress(OSError):
            process.stdin.write(json.dumps(self._request).encode() + b"\n")
            process.stdin.flush()
        try:
            self._reader = pa.ipc.open_stream(stdout)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._failure() from error

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while True:
            try:
                batch = self._reader.read_next_batch()
                batch.validate(full=True)
            except StopIteration:
                break
            except (pa.ArrowException, OSError, ValueError) as error:
                raise self._failure() from error
            yield batch
        if self._end():
            raise self._failure()

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            self._kill()

    def close(self) -> None:
        self.cancel()
        if self._process is not None:
            self._end()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                with suppress(OSError):
                    pipe.close()
        self._errors.close()
        self._closed()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _end(self) -> int:
        """The exit code. Kills the process if it does not end by itself."""
        assert self._process is not None
        try:
            return self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _failure(self) -> FlightCoreError:
        """The error for a stream that ended early."""
        code = self._end()
        if self._cancelled:
            return Cancelled("the reading was cancelled")
        return self._explain(code, self._told() if code == FAILED else {})

    def _told(self) -> Mapping[str, str]:
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _TOLD_BYTES))
        told: Mapping[str, str] = json.loads(self._errors.read().splitlines()[-1])
        return told
