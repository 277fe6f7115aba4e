"""Running an ingestion: fetch, parse, commit, publish."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio.from_thread
import anyio.to_thread

from flight_core.application.ingestion.ingestions import Sources, source_of
from flight_core.application.ingestion.source_memory import Recollection, RememberSources
from flight_core.application.ingestion.store_rows import ROWS_FORMAT, StoreRows
from flight_core.application.ports.sources import Fetched, FetchedFile, OwnedSource, Report
from flight_core.application.writes.checked_commit import (
    CHECKS,
    CheckedCommit,
    CheckedRows,
    Taken,
    keys_kept_changing,
)
from flight_core.domain.contract import CheckReport, report_in, report_of
from flight_core.domain.dataset import DatasetVersion
from flight_core.domain.errors import FlightCoreError
from flight_core.domain.ingestion import Ingestion, IngestionRequest, Reading
from flight_core.domain.job import Phase, Progress
from flight_core.domain.source_state import SourceState


@dataclass(frozen=True, slots=True)
class IngestionOutcome:
    """The outcome of a successful job.

    `version` is None if the source had nothing new. `reading` is None then, and if an earlier attempt
    committed.
    """

    version: DatasetVersion | None
    reading: Reading | None = None

    @property
    def check(self) -> CheckReport | None:
        """The report on the check of the rows, from the commit."""
        return None if self.version is None else report_in(self.version.commit_info)

    def onto(self, ingestion: Ingestion) -> Ingestion:
        return replace(ingestion, reading=self.reading, check=self.check)


@dataclass(frozen=True, slots=True)
class RunIngestion:
    """Fetch, parse, commit and publish the data of one job. `folder` is for temporary files.

    Safe to repeat: if an earlier attempt has committed, its version is returned. If it is cancelled before
    the commit begins, the dataset is unchanged.
    """

    commit: CheckedCommit
    sources: Sources
    memory: RememberSources
    store_rows: StoreRows

    async def __call__(self, ingestion: Ingestion, folder: Path, report: Report) -> IngestionOutcome:
        """Raises as `Source.fetch`, `Parser.parse`, `StoreRows`, `RememberSources`, `OpenWrite` and
        `StagedWrite`."""
        committed = await anyio.to_thread.run_sync(self.committed_before, ingestion)
        if committed is not None:
            return committed
        known = await anyio.to_thread.run_sync(self.memory.recall, ingestion)
        taken = await self._take(ingestion, _subfolder(folder, "fetched"), report, known.state)
        if taken.fetched.unchanged:
            return IngestionOutcome(None)
        for attempt in range(CHECKS):
            checked = await self.commit.check(ingestion, taken, folder / f"parsed-{attempt}", report)
            size_bytes = sum(file.size_bytes for file in taken.fetched.files)
            await report(Progress(Phase.COMMITTING, size_bytes, size_bytes, checked.parsed.row_count))
            # The thread is not abandoned on cancellation: it commits everything or nothing.
            version = await anyio.to_thread.run_sync(self._finish, checked, known)
            if version is not None:
                await anyio.to_thread.run_sync(self._let_go, ingestion.request)
                return IngestionOutcome(version, checked.parsed.reading)
        raise keys_kept_changing()

    async def _take(
        self, ingestion: Ingestion, folder: Path, report: Report, state: SourceState | None
    ) -> Taken:
        request = ingestion.request
        if request.source.kind in self.store_rows.sources:
            stored = await self.store_rows(ingestion, folder, report)
            return Taken(Fetched(stored.files), stored.label, ROWS_FORMAT, stored.row_count, stored.inputs)
        source = source_of(self.sources, request.source)
        fetched = await source.fetch(request.source, folder, report, state=state)
        return Taken(fetched, _describe(fetched.files))

    def _let_go(self, request: IngestionRequest) -> None:
        source = self.sources.get(request.source.kind)
        if isinstance(source, OwnedSource):
            source.spent(request.source)

    def committed_before(self, ingestion: Ingestion) -> IngestionOutcome | None:
        """The outcome of an earlier attempt that has committed, which is published now; None without one.

        Raises:
            DatasetExists: the commit would fail with it, too.
        """
        with self.commit.open(ingestion) as write:
            version = write.commit() if write.committed else None
        if version is None:
            return None
        self.commit.quarantine.settle(ingestion, version)
        return IngestionOutcome(version)

    def explained(self, ingestion: Ingestion, error: FlightCoreError) -> Ingestion:
        """The record of a failed job, with the report of the check, if there is one."""
        report = error.details.get("report")
        return replace(ingestion, check=report_of(report)) if isinstance(report, Mapping) else ingestion

    def _finish(self, checked: CheckedRows, known: Recollection) -> DatasetVersion | None:
        """Commit the rows and the state of their source; None: the check has to be repeated."""
        self.commit.judge(checked)
        ingestion, state = checked.ingestion, checked.taken.fetched.state
        memory = self.memory.prepare(known, state, ingestion) if state != SourceState() else None
        version = self.commit(checked, on_rows=lambda _: anyio.from_thread.check_cancelled())
        if version is not None:
            if memory is not None:
                self.memory.settle(memory, version)
            self.commit.quarantine.settle(ingestion, version)
        return version


def _subfolder(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    return path


def _describe(fetched: Sequence[FetchedFile]) -> str:
    if not fetched:
        return ""
    more = f" and {len(fetched) - 1} more" if len(fetched) > 1 else ""
    return f"{fetched[0].label}{more}"
