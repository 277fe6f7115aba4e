"""Rejected rows as a source: a Parquet file of their values as text, with the origin of each row."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from anyio import to_thread

from flight_core.application.ports.sources import Fetched, FetchedFile, Report
from flight_core.application.ports.storage import TableStore
from flight_core.domain.contract import RAGGED_MARK, RAGGED_RULE, RAGGED_TEXT, REJECT_MARKS
from flight_core.domain.dataset import VersionRef
from flight_core.domain.errors import Conflict, InvalidSource
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.source_state import SourceState


@dataclass(frozen=True, slots=True)
class RejectsSource:
    """See `Source`. The fields are `dataset_id` and `version` of a quarantine.

    Rows of jobs that committed nothing are left out, since the good rows of these jobs are not in the
    dataset.
    """

    store: TableStore

    def check(self, spec: SourceSpec) -> None:
        _ref(spec)

    async def fetch(
        self, spec: SourceSpec, folder: Path, report: Report, *, state: SourceState | None = None
    ) -> Fetched:
        path = folder / "rejects.parquet"
        ref = _ref(spec)
        await to_thread.run_sync(self._refuse_replayed, ref)
        await to_thread.run_sync(self._write, ref, path)
        return Fetched([FetchedFile(path, "rejected rows", path.stat().st_size, temporary=True)])

    def _refuse_replayed(self, ref: VersionRef) -> None:
        """
        Raises:
            Conflict: some of these rows were replayed since. (Replays are exclusive jobs.)
        """
        since = (
            version for version in self.store.history(ref.dataset_id) if version.ref.version > ref.version
        )
        if any(version.operation == "replace" for version in since):
            raise Conflict("another ingestion has replayed these rows meanwhile; ask for what is left")

    def _write(self, ref: VersionRef, path: Path) -> None:
        names = sorted({name for batch in self._rows(ref) for name in _names(batch)})
        schema = pa.schema([*_MARKS, *((name, pa.string()) for name in names), (RAGGED_MARK, pa.string())])
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in self._rows(ref):
                writer.write_batch(_flat(batch, names, schema))

    def _rows(self, ref: VersionRef) -> Iterator[pa.RecordBatch]:
        for batch in self.store.scan(ref):
            yield batch.filter(batch.column("committed"))


_MARKS: list[tuple[str, Any]] = list(zip(REJECT_MARKS, (pa.string(), pa.int64(), pa.string()), strict=True))


def _ref(spec: SourceSpec) -> VersionRef:
    dataset_id, version = spec.fields.get("dataset_id"), spec.fields.get("version")
    if not (isinstance(dataset_id, str) and isinstance(version, int)):
        raise InvalidSource("rejected rows are replayed with POST .../rejects/replay")
    return VersionRef(dataset_id, version)


def _names(batch: pa.RecordBatch) -> set[str]:
    raw: Any = batch.filter(pc.invert(_is_ragged(batch))).column("raw")
    return set(pc.unique(raw.keys).to_pylist())


def _flat(batch: pa.RecordBatch, names: list[str], schema: pa.Schema) -> pa.RecordBatch:
    ragged = _is_ragged(batch)
    nothing = pa.scalar(None, pa.string())
    values = [pc.if_else(ragged, nothing, _values(batch, name)) for name in names]
    lines = pc.if_else(ragged, _values(batch, RAGGED_TEXT), nothing)
    marks = [batch.column(name) for name in ("source", "row", "job")]
    return pa.RecordBatch.from_arrays([*marks, *values, lines], schema=schema)


def _is_ragged(batch: pa.RecordBatch) -> Any:
    """Which rows are lines that could not be parsed as rows; these break no other rule."""
    first = pc.call_function("list_element", [batch.column("rules"), 0])
    return pc.call_function("equal", [first, pa.scalar(RAGGED_RULE)])


def _values(batch: pa.RecordBatch, name: str) -> Any:
    options = pc.MapLookupOptions(pa.scalar(name), "first")
    return pc.call_function("map_lookup", [batch.column("raw")], options)
