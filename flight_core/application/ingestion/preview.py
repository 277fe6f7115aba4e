"""Looking at a source before anything is written."""

import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pyarrow as pa

from flight_core.application.access.rights import require
from flight_core.application.ingestion.ingestions import RowSources, Sources, source_of
from flight_core.application.ingestion.rows import ROWS_FORMAT
from flight_core.application.ports.clock import NewId
from flight_core.application.ports.parsing import Preview, Previewer, WholeFilesNeeded
from flight_core.application.ports.sources import Fetched, OwnedSource, PeekSource, RowSource, Source
from flight_core.domain.access import Actor, Scope
from flight_core.domain.errors import DeadlineExceeded
from flight_core.domain.ingestion import Reading, SourceSpec
from flight_core.domain.job import Progress

_PEEK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class PreviewRequest:
    source: SourceSpec
    format: str | None
    options: Mapping[str, object]
    rows: int = 20


@dataclass(frozen=True, slots=True)
class PreviewIngestion:
    """What an ingestion would make of a source: its format, options and types, and the first rows.

    Fetches no more than is needed, where the source can tell. Takes `timeout_s` seconds at most.

    Raises:
        InvalidSource, SourceNotAllowed, UnknownFormat, InvalidOption, PermissionDenied, DeadlineExceeded,
        and as `Source.fetch` and `Previewer.preview`.
    """

    sources: Sources
    row_sources: RowSources
    previewer: Previewer
    scratch: Path
    new_id: NewId
    timeout_s: float = 60.0

    async def __call__(self, request: PreviewRequest, *, actor: Actor) -> Preview:
        require(actor, Scope.INGEST)
        if request.source.kind in self.row_sources:
            return await self._rows(self.row_sources[request.source.kind], request, actor)
        source = source_of(self.sources, request.source)
        folder = self.scratch / f"preview-{self.new_id()}"
        try:
            with anyio.fail_after(self.timeout_s):
                await anyio.to_thread.run_sync(self._prepare, source, request, folder, actor)
                return await self._preview(source, request, folder)
        except TimeoutError:
            raise self._late() from None
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))

    def _prepare(self, source: Source, request: PreviewRequest, folder: Path, actor: Actor) -> None:
        self.previewer.check(format=request.format, options=request.options)
        source.check(request.source)
        if isinstance(source, OwnedSource):
            source.check_owner(request.source, actor=actor)
        for name in ("peeked", "seen", "fetched", "looked-at"):
            (folder / name).mkdir(parents=True)

    async def _rows(self, source: RowSource, request: PreviewRequest, actor: Actor) -> Preview:
        await anyio.to_thread.run_sync(partial(source.check, request.source, actor=actor))
        run_id = self.new_id()
        read = partial(_first_rows, source, request, actor, run_id)
        try:
            with anyio.fail_after(self.timeout_s):
                table = await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
        except TimeoutError:
            raise self._late() from None
        finally:
            source.cancel(run_id)
        return Preview(table, Reading(ROWS_FORMAT), table.num_rows == request.rows, ())

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"there was no preview within {self.timeout_s:g} s; ingest the source instead"
        )

    async def _preview(self, source: Source, request: PreviewRequest, folder: Path) -> Preview:
        if isinstance(source, PeekSource):
            peeked = await source.peek(request.source, folder / "peeked", _ignore, max_bytes=_PEEK_BYTES)
            try:
                return await self._look(request, peeked, folder / "seen")
            except WholeFilesNeeded:
                pass
        fetched = await source.fetch(request.source, folder / "fetched", _ignore)
        return await self._look(request, fetched, folder / "looked-at")

    async def _look(self, request: PreviewRequest, fetched: Fetched, folder: Path) -> Preview:
        return await self.previewer.preview(
            fetched.files, folder, format=request.format, options=request.options, rows=request.rows
        )


def _first_rows(source: RowSource, request: PreviewRequest, actor: Actor, run_id: str) -> pa.Table:
    with closing(source.open(request.source, actor=actor, run_id=run_id)) as rows:
        batches, missing = [], request.rows
        for batch in rows:
            batches.append(batch.slice(0, missing))
            missing -= batches[-1].num_rows
            if missing <= 0:
                break
        return pa.Table.from_batches(batches, rows.schema)


async def _ignore(_progress: Progress) -> None:
    """Nobody watches."""
