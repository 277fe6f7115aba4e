"""Committing rows after checking them against the contract of their dataset, if it has one.

All writes end here: ingestions, DoPut, bulk ingest, SQL.
"""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio.to_thread

from flight_core.application.contracts.prepare import PrepareCheck, PreparedCheck
from flight_core.application.ingestion.checksums import checksum_of
from flight_core.application.ingestion.store_rows import ROWS_FORMAT
from flight_core.application.ports.parsing import ParsedFiles, Parser, ParseRequest
from flight_core.application.ports.sources import Fetched, Report
from flight_core.application.ports.storage import OnStep
from flight_core.application.writes.conflicts import despite_conflicts
from flight_core.application.writes.open_write import DatasetWrite, OpenWrite, Replaced
from flight_core.application.writes.quarantine import Quarantine, placed
from flight_core.domain.access import Actor
from flight_core.domain.contract import CHECK_INFO, report_document, told
from flight_core.domain.dataset import DatasetVersion
from flight_core.domain.errors import CommitConflict, ContractViolated
from flight_core.domain.ingestion import Ingestion, Reading
from flight_core.domain.query import Pins

CHECKS = 10  # the number of checks, repeated if others commit meanwhile
_COMMIT_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Taken:
    """What the source brought, and what the history is to say of it.

    `written` is the format of files that we wrote ourselves, with `row_count` rows; None: the source's own.
    `inputs` are the versions that the rows were made from, `replaced` are rows that go.
    """

    fetched: Fetched
    label: str
    written: str | None = None
    row_count: int = 0
    inputs: Pins = field(default_factory=dict)
    replaced: Replaced | None = None


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """Parsed and checked rows, with all that their commit needs."""

    ingestion: Ingestion
    taken: Taken
    prepared: PreparedCheck
    parsed: ParsedFiles
    checksum: Future[str | None]


@dataclass(frozen=True, slots=True)
class CheckedCommit:
    """Call `check`, `judge`, the object itself to commit, and then `quarantine.settle`."""

    open_write: OpenWrite
    parser: Parser
    prepare_check: PrepareCheck
    quarantine: Quarantine

    async def check(self, ingestion: Ingestion, taken: Taken, folder: Path, report: Report) -> CheckedRows:
        """Parse into `folder`, which is made. Raises as `Parser.parse`."""
        prepared = await anyio.to_thread.run_sync(self.prepare_check, ingestion, taken.replaced)
        checksum = _checksum(taken)
        parsed = await self._parsed(ingestion, taken, folder, report, prepared)
        return CheckedRows(ingestion, taken, prepared, parsed, checksum)

    async def _parsed(
        self, ingestion: Ingestion, taken: Taken, folder: Path, report: Report, prepared: PreparedCheck
    ) -> ParsedFiles:
        request = ingestion.request
        if taken.written == ROWS_FORMAT and prepared.check is None:
            files = tuple(file.path for file in taken.fetched.files)
            return ParsedFiles(files, taken.row_count, Reading(ROWS_FORMAT))
        folder.mkdir()
        format = taken.written or request.format or taken.fetched.format
        wanted = ParseRequest(
            taken.fetched.files, folder, format, request.options, prepared.check, prepared.stored
        )
        return await self.parser.parse(wanted, report)

    def judge(self, rows: CheckedRows) -> None:
        """
        Raises:
            ContractViolated: nothing may be committed. Rejected rows are stored in the quarantine.
        """
        checked = rows.parsed.checked
        if checked is not None and checked.violation is not None:
            if checked.rejects is not None and rows.taken.replaced is None:  # those would be there still
                self.quarantine.refuse(rows.ingestion, checked.rejects)
            message = f"{checked.violation} ({told(checked.report.rules)})"
            raise ContractViolated(message, report=report_document(checked.report))

    def __call__(self, rows: CheckedRows, *, on_rows: OnStep = lambda _: None) -> DatasetVersion | None:
        """Commit the rows; None if another commit has invalidated the check, so that it has to be
        repeated."""
        if rows.prepared.base_version is not None:
            with suppress(CommitConflict):
                return self._commit(rows, on_rows)
            return None
        return despite_conflicts(
            lambda: self._commit(rows, on_rows),
            attempts=_COMMIT_ATTEMPTS,
            turn=partial(self.open_write.turns.of, rows.ingestion.request.dataset),
        )

    def _commit(self, rows: CheckedRows, on_rows: OnStep) -> DatasetVersion:
        parsed, taken = rows.parsed, rows.taken
        checked = parsed.checked
        with self.open(rows.ingestion, taken) as write:
            if not write.committed:
                files = [placed(file, write.staged.folder) for file in parsed.files]
                write.staged.adopt(files, nan_columns=parsed.nan_columns)
                if checked is not None and checked.rejects is not None:
                    write.staged.attach(checked.rejects)
            info = {} if checked is None else {CHECK_INFO: json.dumps(report_document(checked.report))}
            if checksum := rows.checksum.result():
                info["checksum"] = checksum
            return write.commit(info, base_version=rows.prepared.base_version, on_rows=on_rows)

    def open(self, ingestion: Ingestion, taken: Taken | None = None) -> DatasetWrite:
        """The write of the job, also to learn what it would be refused for. Raises as `OpenWrite`."""
        request = ingestion.request
        return self.open_write(
            request.dataset,
            None,
            request.rule,
            actor=Actor(ingestion.actor),
            source="" if taken is None else taken.label,
            inputs={} if taken is None else taken.inputs,
            message=request.message,
            job_id=ingestion.id,
            replaced=None if taken is None else taken.replaced,
        )


def _checksum(taken: Taken) -> Future[str | None]:
    """Computes the checksum while the files are parsed; that takes about a tenth of the time."""
    pool = ThreadPoolExecutor(1)
    checksum = pool.submit(checksum_of, taken.fetched.files if taken.written is None else ())
    pool.shutdown(wait=False)
    return checksum


def keys_kept_changing() -> CommitConflict:
    return CommitConflict("others kept committing to the dataset while its keys were checked; try again")
