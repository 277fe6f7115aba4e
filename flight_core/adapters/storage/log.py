"""What the Delta log says about the commits of a table, and what we write into it."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from flight_core.domain.dataset import DatasetVersion, VersionRef

_KEY = "skein"  # in the commit's own metadata


@dataclass(frozen=True, slots=True)
class Commit:
    """One version, with what only the store needs to know of it."""

    version: DatasetVersion
    write_id: str | None  # the folder that its files are in
    job_id: str | None
    nan_columns: frozenset[str]  # in this commit's files


@dataclass(frozen=True, slots=True)
class CommitNote:
    """What a commit says about itself. The totals are those of the table after it."""

    operation: str
    row_count: int
    size_bytes: int
    added_rows: int
    write_id: str
    job_id: str | None
    nan_columns: Sequence[str]
    info: Mapping[str, str]

    def metadata(self) -> dict[str, Any]:
        return {
            _KEY: {
                "operation": self.operation,
                "row_count": self.row_count,
                "size_bytes": self.size_bytes,
                "added_rows": self.added_rows,
                "write_id": self.write_id,
                "job_id": self.job_id,
                "nan_columns": list(self.nan_columns),
                "info": dict(self.info),
            }
        }


def open_table(folder: Path, version: int | None = None) -> DeltaTable | None:
    """The table as of that version (None: the newest); None where there is none."""
    if version is not None and not log_file(folder, version).exists():
        return None
    try:
        return DeltaTable(folder, version=version)
    except TableNotFoundError:
        return None


def log_file(folder: Path, version: int) -> Path:
    return folder / "_delta_log" / f"{version:020}.json"


def table_schema(table: DeltaTable) -> pa.Schema:
    arrow: Any = table.schema().to_arrow()  # offers itself through Arrow's C interface
    return pa.schema(arrow)


class CommitLog:
    """The commits of every table below `root`, read once. Thread-safe.

    The log is never cleaned: tables are made with `delta.enableExpiredLogCleanup` off.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._known: dict[str, dict[int, Commit]] = {}

    def commits(self, dataset_id: str) -> Mapping[int, Commit]:
        """By version, oldest first; empty if there is no table."""
        table = open_table(self._root / dataset_id)
        if table is None:
            return {}
        with self._lock:
            known = self._known.setdefault(dataset_id, {})
            missing = table.version() - max(known, default=-1)
            if missing > 0:
                for entry in reversed(table.history(missing)):
                    number = int(entry["version"])
                    known[number] = self._commit(dataset_id, entry, known.get(number - 1))
            return dict(known)

    def forget(self, dataset_id: str) -> None:
        with self._lock:
            self._known.pop(dataset_id, None)

    def _commit(self, dataset_id: str, entry: Mapping[str, Any], before: Commit | None) -> Commit:
        """A commit that is not ours (an optimisation, say) keeps the rows, or so we believe."""
        number = int(entry["version"])
        note = entry.get(_KEY, {})
        old = before.version if before is not None else None
        version = DatasetVersion(
            ref=VersionRef(dataset_id, number),
            schema=old.schema
            if old and note.get("operation") == "append"
            else self._schema(dataset_id, number),
            row_count=note.get("row_count", old.row_count if old else 0),
            size_bytes=note.get("size_bytes", old.size_bytes if old else 0),
            committed_at=datetime.fromtimestamp(entry["timestamp"] / 1000, UTC),
            operation=note.get("operation", str(entry["operation"]).lower()),
            commit_info=note.get("info", {}),
            added_rows=note.get("added_rows", 0),
        )
        nan_columns = frozenset(note.get("nan_columns", ()))
        return Commit(version, note.get("write_id"), note.get("job_id"), nan_columns)

    def _schema(self, dataset_id: str, number: int) -> pa.Schema:
        table = open_table(self._root / dataset_id, number)
        assert table is not None
        return table_schema(table)
