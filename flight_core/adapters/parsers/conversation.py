"""The conversation with a parsing process: a request, its progress, and a result or a failure."""

import asyncio
import json
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import anyio
import psutil

from flight_core.application.ports.sources import Report
from flight_core.domain.errors import FlightCoreError, LimitExceeded, UnreadableData
from flight_core.domain.failure_documents import failure_of
from flight_core.domain.job import Phase, Progress

_POLL_S = 0.1
_END_S = 3.0
MAX_LINE_BYTES = 1 << 20


class NotStarted(Exception):
    """The parsing process did not start."""


class Conversation:
    """Sends one request to a parsing process, and watches its memory."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        memory_bytes: int,
        label: str,
        report: Report,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._memory_bytes = memory_bytes
        self._label = label
        self._report = report
        self._pid: int | None = None
        self._process: psutil.Process | None = None

    async def result(self, request: Mapping[str, object]) -> dict[str, Any]:
        try:
            self._writer.write(json.dumps(request).encode() + b"\n")
            await self._writer.drain()
            while True:
                message = await self._message()
                if "result" in message:
                    answer: dict[str, Any] = message["result"]
                    return answer
                await self._heard(message)
        except (EOFError, ConnectionError):
            raise NotStarted if self._pid is None else self._crash(-signal.SIGKILL) from None

    async def end(self) -> None:
        """Close the connection, and wait until the process has ended, for a few seconds at most."""
        with anyio.move_on_after(_END_S, shield=True):
            with suppress(OSError):
                if not self._writer.is_closing():  # after the connection broke, uvloop would raise
                    self._writer.write_eof()
                while await self._reader.read(MAX_LINE_BYTES):
                    pass
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _message(self) -> dict[str, Any]:
        while True:
            with anyio.move_on_after(_POLL_S):
                message: dict[str, Any] = json.loads(await self._reader.readuntil(b"\n"))
                return message
            self._check_memory()

    async def _heard(self, message: dict[str, Any]) -> None:
        self._check_memory()
        if "error" in message:
            raise _failure(message["error"])
        if "ended" in message:
            raise self._crash(message["ended"])
        if "pid" in message:
            self._pid = message["pid"]
        elif "label" in message:
            self._label = message["label"]
        else:
            await self._report(Progress(phase=Phase.PARSING, **message))

    def _check_memory(self) -> None:
        """Check the private memory: pages of mapped files do not count, since they can be dropped."""
        if self._pid is None:
            return
        with suppress(psutil.Error):
            self._process = self._process or psutil.Process(self._pid)
            memory = self._process.memory_info()
            if memory.rss - getattr(memory, "shared", 0) > self._memory_bytes:
                raise self._too_much_memory()

    def _crash(self, code: int) -> FlightCoreError:
        if code == -signal.SIGKILL:
            return LimitExceeded(
                f"the process that parsed {self._label} was killed, as the operating system does when memory"
                " runs out; split it, or let fewer jobs run at a time (SKEIN_INGEST_JOBS)"
            )
        return UnreadableData(
            f"{self._label} crashed the parser; the file is probably damaged, try to open it elsewhere"
        )

    def _too_much_memory(self) -> LimitExceeded:
        return LimitExceeded(
            f"{self._label} needs more than {self._memory_bytes >> 20} MiB of memory to parse;"
            " split it, or raise SKEIN_INGEST_MEMORY_BYTES",
            limit=self._memory_bytes,
        )


def _failure(document: Mapping[str, Any]) -> Exception:
    if document["code"] == FlightCoreError.code:
        return RuntimeError(f"the parsing process failed: {document['message']}")
    return failure_of(document)
