"""Deleting the files of expired versions and of abandoned writes."""

import math
import os
import re
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from flight_core.adapters.storage.leftovers import VacuumedVersions, needless_files
from flight_core.adapters.storage.log import CommitLog
from flight_core.adapters.storage.staged import ATTACHMENT
from flight_core.application.ports.storage import Leftovers, OnStep

STAGING = "_staging"
_WRITE_ID = re.compile(r"[0-9a-f]{32}")  # folders with other names are left alone


class Vacuum:
    """Vacuums and sweeps the tables below `root`."""

    def __init__(self, root: Path, log: CommitLog, vacuumed: VacuumedVersions) -> None:
        self._root = root
        self._log = log
        self._vacuumed = vacuumed

    def run(
        self, dataset_id: str, expired: Collection[int], *, before: datetime, dry_run: bool, on_file: OnStep
    ) -> Leftovers:
        """See `TableStore.vacuum`."""
        table = self._root / dataset_id
        if not table.is_dir():
            return Leftovers()
        with self._vacuumed.locked(dataset_id):
            found = self._expired(table, expired, dry_run=dry_run, on_file=on_file)
            for folder in self._unfinished(table, before):
                for path in _inside(folder):
                    found += _deleted(path, dry_run=dry_run)
                if not dry_run:
                    shutil.rmtree(folder, ignore_errors=True)
        return found

    def sweep(self, *, before: datetime) -> None:
        """See `TableStore.sweep`."""
        for table in _subfolders(self._root):
            for folder in self._unfinished(table, before):
                shutil.rmtree(folder, ignore_errors=True)

    def _expired(self, table: Path, expired: Collection[int], *, dry_run: bool, on_file: OnStep) -> Leftovers:
        commits = self._log.commits(table.name)
        given_up = (self._vacuumed.of(table.name) | set(expired)) - {len(commits) - 1}
        if given_up and not dry_run:
            self._vacuumed.add(table.name, given_up)
        kept = [number for number in range(len(commits)) if number not in given_up]
        found = Leftovers()
        for file in needless_files(commits, kept):
            found += _deleted(table / file.path, dry_run=dry_run)
            on_file(1)
        for number in given_up:
            if write_id := commits[number].write_id:
                found += _deleted(table / write_id / ATTACHMENT, dry_run=dry_run)
        return found

    def _unfinished(self, table: Path, before: datetime) -> Sequence[Path]:
        """Folders of writes that were not committed, and in which nothing has changed since `before`."""
        staged = _subfolders(table / STAGING)
        abandoned = [
            folder for folder in staged if _changed_at(folder, *_inside(folder)) < before.timestamp()
        ]
        return [*abandoned, *self._uncommitted(table, before)]

    def _uncommitted(self, table: Path, before: datetime) -> Sequence[Path]:
        """Folders whose writer died between the rename and the log entry."""
        old = [
            part
            for part in _subfolders(table)
            if _WRITE_ID.fullmatch(part.name) and _changed_at(part) < before.timestamp()
        ]
        if not old:
            return []
        # The folders were listed before the log is read, so a commit that came between is in the log.
        committed = {commit.write_id for commit in self._log.commits(table.name)}
        return [part for part in old if part.name not in committed]


def _deleted(path: Path, *, dry_run: bool) -> Leftovers:
    """Delete the file (unless it is a dry run); what that freed."""
    try:
        size_bytes = path.stat().st_size
        if path.is_dir():
            return Leftovers()
        if not dry_run:
            path.unlink()
            with suppress(OSError):  # not empty
                path.parent.rmdir()
    except FileNotFoundError:
        return Leftovers()
    return Leftovers(1, size_bytes)


def _subfolders(folder: Path) -> Sequence[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _inside(folder: Path) -> Sequence[Path]:
    """All files and folders below it, listed in advance, so that they may be deleted meanwhile."""
    return [Path(parent, name) for parent, folders, files in os.walk(folder) for name in (*folders, *files)]


def _changed_at(*paths: Path) -> float:
    """The latest modification time in seconds since 1970; infinity if one is gone, since it is in use."""
    try:
        return max(path.stat().st_mtime for path in paths)
    except FileNotFoundError:
        return math.inf
