"""Reading the Delta log: the commits of a table, and the files of each version."""

import json
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import pyarrow as pa
from deltalake import Schema

from flight_core.domain.dataset import DatasetVersion, VersionRef
from flight_core.domain.errors import Unsupported

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOTE = "skein"  # the key in `commitInfo` under which we keep what Delta has no field for


@dataclass(frozen=True, slots=True)
class LiveFile:
    path: str  # below the table's folder
    row_count: int
    size_bytes: int

    @classmethod
    def of(cls, add: Mapping[str, Any]) -> Self:
        """From an `add` action."""
        return cls(unquote(add["path"]), json.loads(add["stats"])["numRecords"], add["size"])


@dataclass(frozen=True, slots=True)
class Commit:
    """A version, with the details that only the store needs."""

    version: DatasetVersion
    added: Sequence[LiveFile]
    removed: frozenset[str]  # paths
    order: Sequence[str] | None  # the paths of all files in row order; None: the added ones come last
    write_id: str | None  # the name of the folder with its files
    nan_columns: frozenset[str]  # columns with a NaN in the added files

    @property
    def job_id(self) -> str | None:
        return self.version.job_id


def log_file(folder: Path, version: int) -> Path:
    return folder / "_delta_log" / f"{version:020}.json"


class CommitLog:
    """The commits of every table below `root`. Thread-safe.

    Each log entry is read once and kept in memory: entries never change, and none is removed because
    tables are created with `delta.enableExpiredLogCleanup` off. Later calls only check for the next file.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._known: dict[str, list[Commit]] = {}
        # By dataset: a number of commits, and the live files after them.
        self._replayed: dict[str, tuple[int, Sequence[LiveFile]]] = {}

    def commits(self, dataset_id: str) -> Sequence[Commit]:
        """All commits, that of version n at index n; empty if there is no table."""
        with self._lock:
            known = self._known.get(dataset_id, [])
            while log_file(self._root / dataset_id, len(known)).exists():
                known.append(self._read(VersionRef(dataset_id, len(known)), known))
                self._known[dataset_id] = known
            return tuple(known)

    def files(self, ref: VersionRef) -> Sequence[LiveFile]:
        """The files of a version that exists, in the order of their rows."""
        commits = self.commits(ref.dataset_id)
        with self._lock:
            first, files = self._replayed.get(ref.dataset_id, (0, ()))
        if first > ref.version + 1:
            first, files = 0, ()
        live = {file.path: file for file in files}
        for commit in commits[first : ref.version + 1]:
            live = _after(commit, live)
        files = list(live.values())
        with self._lock:
            if ref.version + 1 == len(commits):
                self._replayed[ref.dataset_id] = (ref.version + 1, files)
        return files

    def additions(self, dataset_id: str, paths: Collection[str]) -> Mapping[str, dict[str, Any]]:
        """The latest `add` action of each of these files, by path."""
        wanted = set(paths)
        found: dict[str, dict[str, Any]] = {}
        for commit in reversed(self.commits(dataset_id)):
            if not wanted:
                break
            if not wanted.isdisjoint(file.path for file in commit.added):
                actions = self._actions(commit.version.ref)
                adds = {unquote(add["path"]): add for kind, add in actions if kind == "add"}
                found |= {path: adds[path] for path in wanted & adds.keys()}
                wanted -= adds.keys()
        return found

    def forget(self, dataset_id: str) -> None:
        with self._lock:
            self._known.pop(dataset_id, None)
            self._replayed.pop(dataset_id, None)

    def _actions(self, ref: VersionRef) -> Sequence[tuple[str, Any]]:
        lines = log_file(self._root / ref.dataset_id, ref.version).read_text(encoding="utf-8").splitlines()
        return [action for line in lines for action in json.loads(line).items()]

    def _read(self, ref: VersionRef, before: Sequence[Commit]) -> Commit:
        """A commit of another program (an `OPTIMIZE`, say) is assumed to leave the rows as they are."""
        actions = self._actions(ref)
        entry = dict(actions).get("commitInfo", {})
        note = entry.get(NOTE, {})
        old = before[-1].version if before else None
        version = DatasetVersion(
            ref=ref,
            schema=_schema(dict(actions).get("metaData"), old),
            row_count=note.get("row_count", old.row_count if old else 0),
            size_bytes=note.get("size_bytes", old.size_bytes if old else 0),
            committed_at=_EPOCH + timedelta(milliseconds=entry.get("timestamp", 0)),
            operation=note.get("operation", str(entry.get("operation", "unknown")).lower()),
            commit_info=note.get("info", {}),
            added_rows=note.get("added_rows", 0),
            removed_rows=note.get("removed_rows", 0),
            added_bytes=note.get("added_bytes", 0),
            job_id=note.get("job_id"),
        )
        return Commit(
            version=version,
            added=[_live_file(action) for kind, action in actions if kind == "add"],
            removed=frozenset(unquote(action["path"]) for kind, action in actions if kind == "remove"),
            order=note.get("order"),
            write_id=note.get("write_id"),
            nan_columns=frozenset(note.get("nan_columns", ())),
        )


def _live_file(add: Mapping[str, Any]) -> LiveFile:
    if add.get("deletionVector") is not None:
        raise Unsupported("another program has deleted single rows of the table; let it purge them")
    return LiveFile.of(add)


def _after(commit: Commit, live: dict[str, LiveFile]) -> dict[str, LiveFile]:
    """The live files after `commit`, in row order."""
    for path in commit.removed:
        live.pop(path, None)
    for file in commit.added:
        live.pop(file.path, None)
        live[file.path] = file
    return live if commit.order is None else {path: live[path] for path in commit.order}


def _schema(metadata: Mapping[str, Any] | None, old: DatasetVersion | None) -> pa.Schema:
    """Log entries without `metaData` leave the columns as they were."""
    if metadata is not None:
        arrow: Any = Schema.from_json(metadata["schemaString"]).to_arrow()
        return pa.schema(arrow)  # through Arrow's C interface
    assert old is not None, "the first entry of a Delta log has the columns"
    return old.schema
