"""One ingestion from its source to a committed version: fetch, parse, commit, publish."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio.from_thread
import anyio.to_thread

from flight_core.application.catalog import DatasetWrite, OpenWrite
from flight_core.application.checksums import checksum_of
from flight_core.application.contracts import PrepareCheck, PreparedCheck
from flight_core.application.ingestion import Sources, source_of
from flight_core.application.ports.parsing import ParsedFiles, Parser
from flight_core.application.ports.sources import Fetched, FetchedFile, OwnedSource, Report
from flight_core.application.quarantine import Quarantine, placed
from flight_core.application.row_ingestion import ROWS_FORMAT, StoreRows
from flight_core.application.source_memory import Recollection, RememberSources
from flight_core.domain.access import Actor
from flight_core.domain.contract import CheckReport, report_document, report_of
from flight_core.domain.dataset import DatasetVersion
from flight_core.domain.errors import CommitConflict, ContractViolated, FlightCoreError
from flight_core.domain.ingestion import Ingestion, IngestionRequest, Reading
from flight_core.domain.job import Phase, Progress
from flight_core.domain.query import Pins
from flight_core.domain.source_state import SourceState

_COMMIT_ATTEMPTS = 5
_CHECK = "check"  # of the information in a commit: the report, as JSON


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job that succeeded ended.

    `version` is None if the source had nothing new, `reading` also if an earlier attempt committed.
    """

    version: DatasetVersion | None
    reading: Reading | None = None

    @property
    def check(self) -> CheckReport | None:
        """What the commit says of the rows that were not in it."""
        text = None if self.version is None else self.version.commit_info.get(_CHECK)
        return report_of(json.loads(text)) if text else None

    def onto(self, ingestion: Ingestion) -> Ingestion:
        return replace(ingestion, reading=self.reading, check=self.check)


@dataclass(frozen=True, slots=True)
class RunIngestion:
    """Fetch, parse, commit and publish one job, using `folder` for scratch.

    Safe to repeat: a job that has committed already answers with that version. Cancelling it leaves
    the dataset as it was, up to the moment the commit begins.
    """

    open_write: OpenWrite
    sources: Sources
    parser: Parser
    memory: RememberSources
    prepare_check: PrepareCheck
    quarantine: Quarantine
    store_rows: StoreRows

    async def __call__(self, ingestion: Ingestion, folder: Path, report: Report) -> Outcome:
        """Raises as `Source.fetch`, `Parser.parse`, `StoreRows`, `RememberSources`, `OpenWrite` and
        `StagedWrite`."""
        committed = await anyio.to_thread.run_sync(self.committed_before, ingestion)
        if committed is not None:
            return committed
        known = await anyio.to_thread.run_sync(self.memory.recall, ingestion)
        taken = await self._take(ingestion, _subfolder(folder, "fetched"), report, known.state)
        if taken.fetched.unchanged:
            return Outcome(None)
        for attempt in range(_COMMIT_ATTEMPTS):
            prepared = await anyio.to_thread.run_sync(self.prepare_check, ingestion)
            parsed = await self._parse(ingestion, taken, folder / f"parsed-{attempt}", report, prepared)
            size_bytes = sum(file.size_bytes for file in taken.fetched.files)
            await report(Progress(Phase.COMMITTING, size_bytes, size_bytes, parsed.row_count))
            work = _Work(ingestion, parsed, taken, known, prepared)
            # A thread that has begun is waited for, cancelled or not: it commits all or nothing.
            version = await anyio.to_thread.run_sync(self._finish, work)
            if version is not None:
                await anyio.to_thread.run_sync(self._let_go, ingestion.request)
                return Outcome(version, parsed.reading)
        raise CommitConflict("others kept committing to the dataset while its keys were checked; try again")

    async def _take(
        self, ingestion: Ingestion, folder: Path, report: Report, state: SourceState | None
    ) -> "_Taken":
        request = ingestion.request
        if request.source.kind in self.store_rows.sources:
            stored = await self.store_rows(ingestion, folder, report)
            return _Taken(Fetched(stored.files), stored.label, stored.row_count, stored.inputs)
        source = source_of(self.sources, request.source)
        fetched = await source.fetch(request.source, folder, report, state=state)
        return _Taken(fetched, _describe(fetched.files))

    async def _parse(
        self, ingestion: Ingestion, taken: "_Taken", folder: Path, report: Report, prepared: PreparedCheck
    ) -> ParsedFiles:
        request = ingestion.request
        if taken.row_count is not None and prepared.check is None:
            files = tuple(file.path for file in taken.fetched.files)
            return ParsedFiles(files, taken.row_count, Reading(ROWS_FORMAT))
        folder.mkdir()
        return await self.parser.parse(
            taken.fetched.files,
            folder,
            report,
            format=request.format if taken.row_count is None else ROWS_FORMAT,
            options=request.options,
            check=prepared.check,
        )

    def _let_go(self, request: IngestionRequest) -> None:
        source = self.sources.get(request.source.kind)
        if isinstance(source, OwnedSource):
            source.spent(request.source)

    def committed_before(self, ingestion: Ingestion) -> Outcome | None:
        """What an earlier attempt committed, published by now.

        Raises:
            DatasetExists: what the commit would refuse as well.
        """
        with self._open(ingestion, "", {}) as write:
            version = write.commit() if write.committed else None
        if version is None:
            return None
        self.quarantine.settle(ingestion, version)
        return Outcome(version)

    def explained(self, ingestion: Ingestion, error: FlightCoreError) -> Ingestion:
        """The record of a job that failed, with what a check has found."""
        report = error.details.get("report")
        return replace(ingestion, check=report_of(report)) if isinstance(report, Mapping) else ingestion

    def _finish(self, work: "_Work") -> DatasetVersion | None:
        """Commit the rows, and with them the state of their source; None: the check has to be repeated."""
        self._judge(work)
        state = work.taken.fetched.state
        memory = None
        if state != SourceState():
            memory = self.memory.prepare(work.known, state, work.ingestion)
        version = self._commit(work)
        if version is not None:
            if memory is not None:
                self.memory.settle(memory, version)
            self.quarantine.settle(work.ingestion, version)
        return version

    def _judge(self, work: "_Work") -> None:
        """
        Raises:
            ContractViolated: nothing may be committed. What was rejected is kept.
        """
        checked = work.parsed.checked
        if checked is not None and checked.violation is not None:
            if checked.rejects is not None:
                self.quarantine.refuse(work.ingestion, checked.rejects)
            raise ContractViolated(checked.violation, report=report_document(checked.report))

    def _commit(self, work: "_Work") -> DatasetVersion | None:
        if work.prepared.base_version is not None:
            with suppress(CommitConflict):
                return self._commit_once(work)
            return None
        for _ in range(_COMMIT_ATTEMPTS - 1):
            with suppress(CommitConflict):
                return self._commit_once(work)
        return self._commit_once(work)

    def _commit_once(self, work: "_Work") -> DatasetVersion:
        checked = work.parsed.checked
        with self._open(work.ingestion, work.taken.label, work.taken.inputs) as write:
            if not write.committed:
                write.staged.adopt([placed(file, write.staged.folder) for file in work.parsed.files])
                if checked is not None and checked.rejects is not None:
                    write.staged.attach(checked.rejects)
            info = {} if checked is None else {_CHECK: json.dumps(report_document(checked.report))}
            if work.taken.row_count is None and (checksum := checksum_of(work.taken.fetched.files)):
                info["checksum"] = checksum
            return write.commit(
                info,
                base_version=work.prepared.base_version,
                on_rows=lambda _: anyio.from_thread.check_cancelled(),
            )

    def _open(self, ingestion: Ingestion, source: str, inputs: Pins) -> DatasetWrite:
        request = ingestion.request
        return self.open_write(
            request.dataset,
            None,
            request.mode,
            actor=Actor(ingestion.actor),
            keys=request.keys,
            schema_policy=request.schema_policy,
            source=source,
            inputs=inputs,
            message=request.message,
            allow_lossy=bool(request.options.get("allow_lossy")),
            job_id=ingestion.id,
        )


@dataclass(frozen=True, slots=True)
class _Work:
    """A job whose source was parsed: all that its commit needs."""

    ingestion: Ingestion
    parsed: ParsedFiles
    taken: "_Taken"
    known: Recollection
    prepared: PreparedCheck


@dataclass(frozen=True, slots=True)
class _Taken:
    """What the source brought, and what the history is to say of it.

    `row_count` is that of rows which are stored already; None where there are files to parse.
    `inputs` are the versions that the rows were made from.
    """

    fetched: Fetched
    label: str
    row_count: int | None = None
    inputs: Pins = field(default_factory=dict)


def _subfolder(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    return path


def _describe(fetched: Sequence[FetchedFile]) -> str:
    if not fetched:
        return ""
    more = f" and {len(fetched) - 1} more" if len(fetched) > 1 else ""
    return f"{fetched[0].label}{more}"
