"""Previewing a source without writing anything."""

import shutil
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pyarrow as pa

from flight_core.application.access.rights import require, require_granted
from flight_core.application.contracts.prepare import PrepareCheck, PreparedCheck
from flight_core.application.ingestion.ingestions import RowSources, Sources, source_of
from flight_core.application.ingestion.store_rows import ROWS_FORMAT
from flight_core.application.ports.clock import NewId
from flight_core.application.ports.parsing import Parser, ParseRequest, Preview, WholeFilesNeeded
from flight_core.application.ports.sources import (
    Fetched,
    FetchedFile,
    OwnedSource,
    PeekSource,
    RowSource,
    Source,
    unreported,
)
from flight_core.application.ports.storage import RowStore
from flight_core.domain.access import Actor, Scope
from flight_core.domain.contract import Contract
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import DeadlineExceeded
from flight_core.domain.ingestion import Reading, SourceSpec

_PEEK_BYTES = 8 << 20

_Look = Callable[..., Awaitable[Preview]]  # takes fetched files, and a folder for temporary files


@dataclass(frozen=True, slots=True)
class PreviewRequest:
    source: SourceSpec
    format: str | None
    options: Mapping[str, object]
    rows: int = 20
    dataset: DatasetName | None = None  # that the rows would be added to
    contract: Contract | None = None  # to try out, instead of that of the dataset


@dataclass(frozen=True, slots=True)
class PreviewIngestion:
    """Shows how an ingestion would read a source: format, options, types and the first rows, and which of
    them the contract would reject, if there is one.

    Fetches no more than necessary, if the source supports that. Takes at most `timeout_s` seconds.

    Raises:
        InvalidContract, InvalidSource, SourceNotAllowed, UnknownFormat, InvalidOption, PermissionDenied,
        DeadlineExceeded, and as `Source.fetch` and `Parser.preview`.
    """

    sources: Sources
    row_sources: RowSources
    parser: Parser
    prepare: PrepareCheck
    store: RowStore
    scratch: Path
    new_id: NewId
    timeout_s: float = 60.0

    async def __call__(self, request: PreviewRequest, *, actor: Actor) -> Preview:
        require(actor, Scope.INGEST)
        if request.dataset is not None:
            require_granted(request.dataset, actor)
        if request.contract is not None:
            self.parser.check_contract(request.contract)
        folder = self.scratch / f"preview-{self.new_id()}"
        try:
            with anyio.fail_after(self.timeout_s):
                prepared = await anyio.to_thread.run_sync(self._prepare, request, folder)
                look = partial(self._look, request, prepared)
                if (rows := self.row_sources.get(request.source.kind)) is not None:
                    return await self._rows(rows, request, actor, folder, look if prepared.check else None)
                source = source_of(self.sources, request.source)
                await anyio.to_thread.run_sync(self._check, source, request, actor)
                return await self._preview(source, request, folder, look)
        except TimeoutError:
            raise self._late() from None
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))

    def _prepare(self, request: PreviewRequest, folder: Path) -> PreparedCheck:
        for name in ("peeked", "seen", "fetched", "looked-at"):
            (folder / name).mkdir(parents=True)
        return self.prepare.tried(request.dataset, request.contract)

    def _check(self, source: Source, request: PreviewRequest, actor: Actor) -> None:
        self.parser.check(format=request.format, options=request.options)
        source.check(request.source)
        if isinstance(source, OwnedSource):
            source.check_owner(request.source, actor=actor)

    async def _rows(
        self, source: RowSource, request: PreviewRequest, actor: Actor, folder: Path, check: _Look | None
    ) -> Preview:
        await anyio.to_thread.run_sync(partial(source.check, request.source, actor=actor))
        run_id = self.new_id()
        read = partial(_first_rows, source, request, actor, run_id)
        try:
            table = await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
        finally:
            source.cancel(run_id)
        preview = Preview(table, Reading(ROWS_FORMAT), table.num_rows == request.rows, ())
        if check is None:
            return preview
        file = await anyio.to_thread.run_sync(self._stored, table, folder / "fetched", request.source.kind)
        checked = await check(Fetched([file]), folder / "looked-at", format=ROWS_FORMAT)
        return replace(preview, rows=checked.rows, trial=checked.trial)

    def _stored(self, table: pa.Table, folder: Path, label: str) -> FetchedFile:
        with closing(self.store.open_rows(folder, table.schema, allow_lossy=True)) as writer:
            for batch in table.to_batches():
                writer.write(batch)
            (path,) = writer.finish()
        return FetchedFile(path, label, path.stat().st_size, temporary=True)

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"there was no preview within {self.timeout_s:g} s; ingest the source instead"
        )

    async def _preview(self, source: Source, request: PreviewRequest, folder: Path, look: _Look) -> Preview:
        if isinstance(source, PeekSource):
            peeked = await source.peek(request.source, folder / "peeked", unreported, max_bytes=_PEEK_BYTES)
            try:
                return await look(peeked, folder / "seen")
            except WholeFilesNeeded:
                pass
        fetched = await source.fetch(request.source, folder / "fetched", unreported)
        return await look(fetched, folder / "looked-at")

    async def _look(
        self,
        request: PreviewRequest,
        prepared: PreparedCheck,
        fetched: Fetched,
        folder: Path,
        *,
        format: str | None = None,
    ) -> Preview:
        wanted = ParseRequest(
            fetched.files,
            folder,
            format or request.format,
            request.options,
            prepared.check,
            prepared.stored,
        )
        return await self.parser.preview(wanted, request.rows)


def _first_rows(source: RowSource, request: PreviewRequest, actor: Actor, run_id: str) -> pa.Table:
    with closing(source.open(request.source, actor=actor, run_id=run_id)) as rows:
        batches, missing = [], request.rows
        for batch in rows:
            batches.append(batch.slice(0, missing))
            missing -= batches[-1].num_rows
            if missing <= 0:
                break
        return pa.Table.from_batches(batches, rows.schema)
