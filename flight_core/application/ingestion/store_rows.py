"""Reading the rows of a source into Parquet files: the first half of an ingestion from a `RowSource`."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread

from flight_core.application.access.owners import ActAsOwner
from flight_core.application.ingestion.ingestions import RowSources
from flight_core.application.ports.clock import NewId
from flight_core.application.ports.sources import FetchedFile, Report, Rows, RowSource
from flight_core.application.ports.storage import RowStore
from flight_core.application.queries.admission import patiently
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.access import Actor
from flight_core.domain.errors import DatasetNotFound, DeadlineExceeded, PermissionDenied
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.job import Phase, Progress
from flight_core.domain.lineage import inputs_of
from flight_core.domain.query import Pins

ROWS_FORMAT = "parquet"  # the format of the stored rows

Tell = Callable[[Progress], object]

_REPORT_S = 0.1
_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Parquet files with the storage types, and the versions that the rows were made from."""

    files: Sequence[FetchedFile]
    row_count: int
    label: str
    inputs: Pins


@dataclass(frozen=True, slots=True)
class StoreRows:
    """Read the rows of a source into Parquet files in `folder`.

    Memory is bounded. A query takes one of the server's streams, and waits until one is free: however long
    that takes, since no client waits for a job.

    Raises as `ActAsOwner`, `RowSource.open`, `RowStore.open_rows`, `RowWriter.write`; and DeadlineExceeded.
    """

    sources: RowSources
    store: RowStore
    new_id: NewId
    act_as_owner: ActAsOwner
    timeout_s: float = 3600.0

    async def __call__(self, ingestion: Ingestion, folder: Path, report: Report) -> StoredRows:
        actors = await anyio.to_thread.run_sync(self.act_as_owner, ingestion)
        source = self.sources[ingestion.request.source.kind]
        run = _Run(source, self.store, ingestion, actors, folder, self.new_id())

        async def note(progress: Progress) -> None:
            await report(progress)

        def tell(progress: Progress) -> None:
            anyio.from_thread.run(note, progress)

        try:
            with anyio.fail_after(self.timeout_s):
                return await anyio.to_thread.run_sync(run.work, tell, abandon_on_cancel=True)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the rows were not read within {self.timeout_s:g} s; select fewer,"
                " or raise SKEIN_INGEST_FETCH_TIMEOUT_S"
            ) from None
        finally:
            run.cancellation.request()
            with anyio.move_on_after(_STOP_S, shield=True):
                await anyio.to_thread.run_sync(run.ended, abandon_on_cancel=True)


@dataclass(slots=True)
class _Run:
    source: RowSource
    store: RowStore
    ingestion: Ingestion
    actors: Sequence[Actor]
    folder: Path
    run_id: str
    cancellation: Cancellation = field(default_factory=Cancellation)
    _idle: threading.Lock = field(default_factory=threading.Lock)  # held while the thread works

    def work(self, tell: Tell) -> StoredRows:
        stop = partial(self.source.cancel, self.run_id)
        with self._idle, self.cancellation.interrupting(stop), closing(self._open()) as rows:
            return self._stored(rows, tell)

    def ended(self) -> None:
        """Blocks until nothing is written any more."""
        with self._idle:
            pass

    def _open(self) -> Rows:
        """Open the source as the first of the actors that may read it."""
        *some, last = self.actors
        for actor in some:
            with suppress(DatasetNotFound, PermissionDenied):
                return self._open_as(actor)
        return self._open_as(last)

    def _open_as(self, actor: Actor) -> Rows:
        opening = partial(self.source.open, self.ingestion.request.source, actor=actor, run_id=self.run_id)
        return patiently(opening, self.cancellation.check)

    def _stored(self, rows: Rows, tell: Tell) -> StoredRows:
        lossy = bool(self.ingestion.request.options.get("allow_lossy"))
        row_count = size_bytes = 0
        told_at = 0.0
        with closing(self.store.open_rows(self.folder, rows.schema, allow_lossy=lossy)) as writer:
            for batch in rows:
                writer.write(batch)
                row_count += batch.num_rows
                size_bytes += batch.get_total_buffer_size()
                if time.monotonic() - told_at > _REPORT_S:
                    tell(Progress(Phase.FETCHING, size_bytes, rows=row_count))
                    told_at = time.monotonic()
            paths = writer.finish()
        tell(Progress(Phase.FETCHING, size_bytes, size_bytes, row_count))
        kind = self.ingestion.request.source.kind
        read = ", ".join(map(str, inputs_of(rows.pins)))
        label = f"{kind} over {read}" if read else kind
        files = [FetchedFile(path, kind, path.stat().st_size, temporary=True) for path in paths]
        return StoredRows(files, row_count, label, rows.pins)
