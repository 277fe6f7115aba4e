"""Parsing with Polars in a separate process, so that a file that crashes it or needs too much memory harms
nothing."""

import asyncio
import base64
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa

from flight_core.adapters.parsers.conversation import MAX_LINE_BYTES, Conversation, NotStarted
from flight_core.adapters.parsers.options import check_for_any, known_format, options_for
from flight_core.adapters.parsers.processes import LOG, ParsingProcesses
from flight_core.adapters.parsers.sniffing import needs_whole_file
from flight_core.adapters.parsers.unpacking import UnpackLimits
from flight_core.application.jobs.log import note
from flight_core.application.ports.parsing import (
    Check,
    Checked,
    ParsedFiles,
    ParseRequest,
    Preview,
    Trial,
    WholeFilesNeeded,
)
from flight_core.application.ports.sources import Report, unreported
from flight_core.domain.contract import Contract, contract_document, report_of
from flight_core.domain.errors import DeadlineExceeded, DependencyFailed
from flight_core.domain.ingestion import Reading
from flight_core.domain.job import LogLevel

logger = logging.getLogger(__name__)

_STARTS = 3
_LOG_TAIL_BYTES = 16 << 10
_LOG_TAIL_LINES = 100


@dataclass(frozen=True, slots=True)
class ParserOptions:
    """The limits of a parsing process. `max_bytes` and `max_ratio` limit the size of decompressed data."""

    memory_bytes: int = 3 << 30
    timeout_s: float = 3600.0
    max_bytes: int = 64 << 30
    max_ratio: int = 250


@dataclass(frozen=True, slots=True)
class PolarsParser:
    """See `Parser`. Cancelling a parse kills its process."""

    options: ParserOptions
    processes: ParsingProcesses = field(default_factory=ParsingProcesses)

    def close(self) -> None:
        self.processes.close()

    def check(self, *, format: str | None, options: Mapping[str, object]) -> None:
        if format is None:
            check_for_any(options)
        else:
            options_for(known_format(format), options)

    def check_contract(self, contract: Contract) -> None:
        # Loads Polars, so only when it is needed.
        from flight_core.adapters.parsers.checks.contract_rules import check_contract

        check_contract(contract)

    async def parse(self, request: ParseRequest, report: Report) -> ParsedFiles:
        self.check(format=request.format, options=request.options)
        label, folder = request.files[0].label, request.folder
        try:
            answer = await self._ask(self._message(request), label, report)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{label} was not parsed within {self.options.timeout_s:g} s;"
                " split it, or raise SKEIN_INGEST_PARSE_TIMEOUT_S"
            ) from None
        finally:
            _log_tail(request)
        for warning in answer["warnings"]:
            note(warning, LogLevel.WARNING)
        parts = tuple(folder / name for name in answer["files"])
        checked = None if answer["checked"] is None else _checked(answer["checked"], folder)
        nan_columns = frozenset(answer["nan_columns"])
        return ParsedFiles(parts, answer["row_count"], Reading(**answer["reading"]), checked, nan_columns)

    async def preview(self, request: ParseRequest, rows: int) -> Preview:
        self.check(format=request.format, options=request.options)
        files, folder = request.files, request.folder
        whole = all(file.whole for file in files)
        if not whole and needs_whole_file(files[0].path):
            raise WholeFilesNeeded
        message = {**self._message(request), "preview": {"rows": rows, "whole": whole}}
        try:
            answer = await self._ask(message, files[0].label, unreported)
        finally:
            _log_tail(request)
        table = _read_arrow(folder / answer["rows"])
        trial = None if answer["checked"] is None else _trial(answer["checked"], folder)
        return Preview(table, Reading(**answer["reading"]), answer["sampled"], answer["warnings"], trial)

    def _message(self, request: ParseRequest) -> Mapping[str, object]:
        """The request for the parsing process."""
        return {
            "files": [(str(file.path), file.label) for file in request.files],
            "folder": str(request.folder),
            "format": request.format,
            "options": dict(request.options),
            "stored": None if request.stored is None else _encoded(request.stored),
            "limits": asdict(UnpackLimits(self.options.max_bytes, self.options.max_ratio)),
            "check": None if request.check is None else _check_message(request.check, request.folder),
        }

    async def _ask(self, message: Mapping[str, object], label: str, report: Report) -> dict[str, Any]:
        with anyio.fail_after(self.options.timeout_s):
            for _ in range(_STARTS):
                stream = await asyncio.open_unix_connection(sock=self.processes.start(), limit=MAX_LINE_BYTES)
                conversation = Conversation(*stream, self.options.memory_bytes, label, report)
                try:
                    return await conversation.result(message)
                except NotStarted:
                    logger.warning("a parsing process did not start")
                finally:
                    await conversation.end()
        raise DependencyFailed(
            f"the process that parses {label} ended {_STARTS} times before it began; see the server's log,"
            " and whether the machine has memory and processes left"
        )


def _check_message(check: Check, folder: Path) -> dict[str, object]:
    return {
        "contract": contract_document(check.contract.contract),
        "version": check.contract.version,
        "job": check.job_id,
        "at": check.at.isoformat(),
        "newest": None if check.newest is None else check.newest.isoformat(),
        "keeps_rows": check.keeps_rows,
        "present": [str(path) for path in check.present],
        "gone": _written(check.gone, folder / "gone.arrow") if check.gone else None,
    }


def _written(batches: Sequence[pa.RecordBatch], path: Path) -> str:
    with pa.ipc.new_file(str(path), batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return str(path)


def _encoded(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def _checked(answer: Mapping[str, Any], folder: Path) -> Checked:
    rejects = None if answer["rejects"] is None else folder / answer["rejects"]
    return Checked(report_of(answer["report"]), rejects, answer["violation"])


def _trial(answer: Mapping[str, Any], folder: Path) -> Trial:
    return Trial(report_of(answer["report"]), answer["violation"], _read_arrow(folder / answer["rejected"]))


def _read_arrow(path: Path) -> pa.Table:
    with pa.OSFile(str(path), "r") as source, pa.ipc.open_stream(source) as reader:
        return reader.read_all()


def _log_tail(request: ParseRequest) -> None:
    """Copy the end of the process's log to the server's log and to that of the job, where labels replace
    paths."""
    with suppress(OSError), (request.folder / LOG).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
        text = file.read().decode(errors="replace").strip()
        if text:
            logger.info("the parsing process said", extra={"output": text})
            for each in request.files:
                text = text.replace(str(each.path), each.label)
            for line in text.splitlines()[-_LOG_TAIL_LINES:]:
                note(f"parser: {line}", LogLevel.WARNING)
