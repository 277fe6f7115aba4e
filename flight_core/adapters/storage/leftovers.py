"""Finding files that no version needs, and recording the versions whose files are deleted.

    lake/<dataset id>/_vacuumed.json    versions that cannot be read any more, as pairs of first and last
    lake/<dataset id>/_vacuum.lock      held during a vacuum, and while a version is restored

The list is written before the first file is deleted: a version that is not in it has all its files.
"""

import fcntl
import json
import os
import threading
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from flight_core.adapters.storage.log import Commit, LiveFile
from flight_core.adapters.storage.parquet import sync
from flight_core.domain.system_errors import system_errors

_LIST = "_vacuumed.json"
_LOCK = "_vacuum.lock"


def needless_files(commits: Sequence[Commit], kept: Collection[int]) -> Sequence[LiveFile]:
    """Files of versions that are not `kept`, unless a kept version has them, too."""
    numbers = sorted(kept)
    since: dict[str, int] = {}  # for each live file, the version that added it
    seen: dict[str, LiveFile] = {}
    needed: set[str] = set()

    def live_until(path: str, last: int) -> None:
        place = bisect_left(numbers, since.pop(path))
        if place < len(numbers) and numbers[place] <= last:
            needed.add(path)

    for number, commit in enumerate(commits):
        for path in commit.removed & since.keys():
            live_until(path, number - 1)
        for file in commit.added:
            since.setdefault(file.path, number)
            seen[file.path] = file
    for path in list(since):
        live_until(path, len(commits) - 1)
    return [file for path, file in seen.items() if path not in needed]


class VacuumedVersions:
    """The versions of each dataset whose files are deleted. Thread-safe; other processes may add to them."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, frozenset[int]]] = {}  # by dataset: the file's time, its content

    def of(self, dataset_id: str) -> frozenset[int]:
        path = self._root / dataset_id / _LIST
        try:
            changed_ns = path.stat().st_mtime_ns
        except FileNotFoundError:
            return frozenset()
        with self._lock:
            known = self._known.get(dataset_id)
            if known is None or known[0] != changed_ns:
                pairs = json.loads(path.read_text(encoding="utf-8"))
                numbers = frozenset(number for first, last in pairs for number in range(first, last + 1))
                known = self._known[dataset_id] = (changed_ns, numbers)
            return known[1]

    def add(self, dataset_id: str, numbers: Collection[int]) -> None:
        """Synced to disk when this returns. Hold the lock (see `locked`)."""
        both = self.of(dataset_id) | frozenset(numbers)
        path = self._root / dataset_id / _LIST
        draft = path.with_suffix(".draft")
        with system_errors():
            draft.write_text(json.dumps(_pairs(both)), encoding="utf-8")
            sync(draft)
            draft.rename(path)
            sync(path.parent)

    def forget(self, dataset_id: str) -> None:
        with self._lock:
            self._known.pop(dataset_id, None)

    @contextmanager
    def locked(self, dataset_id: str) -> Iterator[None]:
        """Hold the dataset's vacuum lock, which excludes other threads and processes."""
        descriptor = os.open(self._root / dataset_id / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _pairs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    runs = groupby(enumerate(sorted(numbers)), key=lambda item: item[1] - item[0])
    found = [[number for _, number in run] for _, run in runs]
    return [(run[0], run[-1]) for run in found]
