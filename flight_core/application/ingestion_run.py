"""One ingestion from its source to a committed version: fetch, parse, commit, publish."""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from flight_core.application.catalog import DatasetWrite, OpenWrite
from flight_core.application.ingestion import Sources, source_of
from flight_core.application.ports.parsing import ParsedFiles, Parser
from flight_core.application.ports.sources import Fetched, FetchedFile, Report
from flight_core.application.source_memory import Recollection, RememberSources
from flight_core.domain.access import Actor
from flight_core.domain.dataset import DatasetVersion
from flight_core.domain.errors import CommitConflict
from flight_core.domain.ingestion import Ingestion, Phase, Progress, Reading
from flight_core.domain.source_state import SourceState

_COMMIT_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job that succeeded ended.

    `version` is None if the source had nothing new, `reading` also if an earlier attempt committed.
    """

    version: DatasetVersion | None
    reading: Reading | None = None


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

    async def __call__(self, ingestion: Ingestion, folder: Path, report: Report) -> Outcome:
        """Raises as `Source.fetch`, `Parser.parse`, `RememberSources`, `OpenWrite` and `StagedWrite`."""
        request = ingestion.request
        committed = await anyio.to_thread.run_sync(self.committed_before, ingestion)
        if committed is not None:
            return Outcome(committed)
        known = await anyio.to_thread.run_sync(self.memory.recall, ingestion)
        fetched = await source_of(self.sources, request).fetch(
            request.source, _subfolder(folder, "fetched"), report, state=known.state
        )
        if fetched.unchanged:
            return Outcome(None)
        parsed = await self.parser.parse(
            fetched.files,
            _subfolder(folder, "parsed"),
            report,
            format=request.format,
            options=request.options,
        )
        size_bytes = sum(file.size_bytes for file in fetched.files)
        await report(Progress(Phase.COMMITTING, size_bytes, size_bytes, parsed.row_count))
        # A thread that has begun is waited for, cancelled or not: it commits all or nothing.
        version = await anyio.to_thread.run_sync(self._finish, ingestion, parsed, fetched, known)
        return Outcome(version, parsed.reading)

    def committed_before(self, ingestion: Ingestion) -> DatasetVersion | None:
        """What an earlier attempt committed, published by now.

        Raises:
            DatasetExists: what the commit would refuse as well.
        """
        with self._open(ingestion, "") as write:
            return write.commit() if write.committed else None

    def _finish(
        self, ingestion: Ingestion, parsed: ParsedFiles, fetched: Fetched, known: Recollection
    ) -> DatasetVersion:
        """Commit the rows, and with them the state of their source."""
        if fetched.state == SourceState():
            return self._commit(ingestion, parsed, _describe(fetched.files))
        memory = self.memory.prepare(known, fetched.state, ingestion)
        version = self._commit(ingestion, parsed, _describe(fetched.files))
        self.memory.settle(memory, version)
        return version

    def _commit(self, ingestion: Ingestion, parsed: ParsedFiles, source: str) -> DatasetVersion:
        for _ in range(_COMMIT_ATTEMPTS - 1):
            with suppress(CommitConflict):
                return self._commit_once(ingestion, parsed, source)
        return self._commit_once(ingestion, parsed, source)

    def _commit_once(self, ingestion: Ingestion, parsed: ParsedFiles, source: str) -> DatasetVersion:
        with self._open(ingestion, source) as write:
            if not write.committed:
                write.staged.adopt([_placed(file, write.staged.folder) for file in parsed.files])
            return write.commit()

    def _open(self, ingestion: Ingestion, source: str) -> DatasetWrite:
        request = ingestion.request
        return self.open_write(
            request.dataset,
            None,
            request.mode,
            actor=Actor(ingestion.actor),
            source=source,
            allow_lossy=bool(request.options.get("allow_lossy")),
            job_id=ingestion.id,
        )


def _subfolder(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    return path


def _placed(file: Path, folder: Path) -> Path:
    """Put a parsed file where storage can take it, so that a lost race for the commit can be re-run."""
    target = folder / file.name
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, target)
    return target


def _describe(fetched: Sequence[FetchedFile]) -> str:
    more = f" and {len(fetched) - 1} more" if len(fetched) > 1 else ""
    return f"{fetched[0].label}{more}"
