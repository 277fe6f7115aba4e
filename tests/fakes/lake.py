"""A lake for engine tests: versions are lists of Parquet files, commits happen by hand."""

import secrets
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flight_core.application.ports.storage import TableFiles
from flight_core.domain.dataset import DatasetName, LakeEntry, LakeState, VersionRef
from flight_core.domain.errors import VersionNotFound


class FakeLake:
    """See `VersionFiles`, with the `LakeState` that goes with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[VersionRef, TableFiles] = {}
        self._times: dict[VersionRef, datetime] = {}
        self._entries: dict[str, LakeEntry] = {}
        self._revision = 0
        self._ids = 0

    def commit(
        self, name: str, table: pa.Table, *, append: bool = False, stored_as: pa.Schema | None = None
    ) -> VersionRef:
        entry = self._entries.get(name.lower())
        if entry is None:
            self._ids += 1
            ref = VersionRef(f"id{self._ids}", 0)
        else:
            ref = VersionRef(entry.ref.dataset_id, entry.ref.version + 1)
        path = self.folder / f"{ref.dataset_id}-{ref.version}.parquet"
        pq.write_table(table.cast(stored_as or table.schema), path, row_group_size=61_440)
        before = self._files[entry.ref] if append and entry else TableFiles(ref, (), table.schema, (), ())
        self._files[ref] = TableFiles(
            ref,
            (*before.uris, str(path)),
            table.schema,
            (*before.row_counts, table.num_rows),
            (*before.size_bytes, path.stat().st_size),
        )
        self._times[ref] = datetime.now(UTC)
        self._entries[name.lower()] = replace(entry, ref=ref) if entry else LakeEntry(DatasetName(name), ref)
        self._revision += 1
        return ref

    def tag(self, name: str, tag: str, version: int) -> None:
        entry = self._entries[name.lower()]
        tags = {**entry.version_tags, tag: version}
        self._entries[name.lower()] = replace(entry, version_tags=tags)
        self._revision += 1

    def expire(self, name: str, *, before: int) -> None:
        self._entries[name.lower()] = replace(self._entries[name.lower()], first_kept=before)
        self._revision += 1

    def drop(self, name: str) -> None:
        del self._entries[name.lower()]
        self._revision += 1

    @property
    def state(self) -> LakeState:
        return LakeState(self._revision, dict(self._entries))

    def files(self, ref: VersionRef) -> TableFiles:
        if ref not in self._files:
            raise VersionNotFound(f"version {ref.version} does not exist")
        return self._files[ref]

    def version_at(self, dataset_id: str, moment: datetime) -> int:
        found = [r.version for r, at in self._times.items() if r.dataset_id == dataset_id and at <= moment]
        if not found:
            raise VersionNotFound(f"there was no version at {moment.isoformat()}")
        return max(found)


def wide_rows(count: int) -> pa.Table:
    """Two kilobytes each, which compress badly."""
    return pa.table({"id": range(count), "text": [secrets.token_hex(1000) for _ in range(count)]})
