"""The result cache, in unnamed files that are mapped into memory: nothing can truncate a file while it is
read, and no files are left behind when the process ends."""

import logging
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

import pyarrow as pa

from flight_core.application.ports.results import CacheUsage, Recording

logger = logging.getLogger(__name__)

# Results are kept in memory up to this size; many do not exceed it.
_MEMORY_BYTES = 1 << 20
_MAX_ENTRIES = 4096
_REMEMBERED = 1024
_CHECK_S = 0.02
_PATIENCE_S = 0.25  # for a recording whose client does not read


@dataclass(frozen=True, slots=True)
class ResultCacheOptions:
    """Results that are larger than `max_entry_bytes`, or took the engine less than `min_run_s` seconds, are
    not kept. Results expire after `ttl_s` seconds. Scrolled results may take half of `max_bytes`."""

    max_bytes: int = 1 << 30
    max_entry_bytes: int = 64 << 20
    ttl_s: float = 3600.0
    min_run_s: float = 0.01


@dataclass(frozen=True, slots=True)
class _Entry:
    schema: pa.Schema
    batches: tuple[pa.RecordBatch, ...]  # in the mapped file
    rows: int
    size_bytes: int
    expires_at: float


class DiskResultCache:
    """Implements `ResultCache`. Evicts the least recently used results."""

    def __init__(
        self, folder: Path, options: ResultCacheOptions, clock: Callable[[], float] = time.monotonic
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size_bytes = 0
        self._too_large: OrderedDict[str, int] = OrderedDict()  # for that limit in bytes
        self._underway: dict[str, _Recording] = {}  # the first recording of each key

    def find(self, key: str) -> pa.RecordBatchReader | None:
        with self._lock:
            entry = self._fresh(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
        return pa.RecordBatchReader.from_batches(entry.schema, entry.batches)

    def rows(self, key: str) -> int | None:
        with self._lock:
            entry = self._fresh(key)
            return None if entry is None else entry.rows

    def wait(self, key: str, check: Callable[[], None]) -> bool:
        with self._lock:
            recording = self._underway.get(key)
        if recording is None:
            return False
        while not recording.ended.wait(_CHECK_S):
            check()
            if recording.idle_s() > _PATIENCE_S:
                return False
        return True

    def record(self, key: str, schema: pa.Schema, *, scrolled: bool = False) -> Recording | None:
        max_bytes = self.options.max_entry_bytes
        if scrolled:
            max_bytes = max(max_bytes, self.options.max_bytes // 2)
        with self._lock:
            if self._too_large.get(key, -1) >= max_bytes:
                return None
            recording = _Recording(self, key, schema, max_bytes)
            self._underway.setdefault(key, recording)
            return recording

    def end(self, key: str, recording: "_Recording") -> None:
        with self._lock:
            if self._underway.get(key) is recording:
                del self._underway[key]

    def usage(self) -> CacheUsage:
        with self._lock:
            for key in list(self._entries):
                self._fresh(key)
            return CacheUsage(len(self._entries), self._size_bytes)

    def reserve(self, size_bytes: int) -> bool:
        """Reserve room (or return it, if negative); False if even an empty cache has not enough."""
        with self._lock:
            while self._entries and self._size_bytes + size_bytes > self.options.max_bytes:
                self._drop(next(iter(self._entries)))
            if size_bytes > 0 and self._size_bytes + size_bytes > self.options.max_bytes:
                return False
            self._size_bytes += size_bytes
            return True

    def keep(self, key: str, content: pa.Buffer, rows: int) -> None:
        """Add a result, an Arrow IPC stream, for which room was reserved."""
        with pa.ipc.open_stream(content) as stream:
            schema, batches = stream.schema, tuple(stream)
        with self._lock:
            if key in self._entries:
                self._drop(key)
            expires_at = self._clock() + self.options.ttl_s
            self._entries[key] = _Entry(schema, batches, rows, content.size, expires_at)
            while len(self._entries) > _MAX_ENTRIES:
                self._drop(next(iter(self._entries)))

    def remember_too_large(self, key: str, max_bytes: int) -> None:
        with self._lock:
            self._too_large[key] = max_bytes
            while len(self._too_large) > _REMEMBERED:
                self._too_large.popitem(last=False)

    def _fresh(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and self._clock() >= entry.expires_at:
            self._drop(key)
            return None
        return entry

    def _drop(self, key: str) -> None:
        """Remove the entry. Its file is freed with the last reader."""
        self._size_bytes -= self._entries.pop(key).size_bytes


class _Recording:
    """Implements `Recording`: in memory at first, then in a file."""

    def __init__(self, cache: DiskResultCache, key: str, schema: pa.Schema, max_bytes: int) -> None:
        self._cache = cache
        self._key = key
        self._schema = schema
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._over = False
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._file: BufferedRandom | None = None
        self._writer: pa.RecordBatchStreamWriter | None = None
        self._reserved = 0
        self._rows = 0
        self._idle_since: float | None = time.monotonic()  # None: the engine works
        self.ended = threading.Event()

    @property
    def over(self) -> bool:
        return self._over

    def idle_s(self) -> float:
        """For how long the engine has been waiting for the client."""
        since = self._idle_since
        return 0.0 if since is None else time.monotonic() - since

    def asked(self) -> None:
        self._idle_since = None

    def write(self, batch: pa.RecordBatch) -> None:
        self._idle_since = time.monotonic()
        with self._lock:
            if self._over:
                return
            self._waiting.append(batch)
            self._waiting_bytes += batch.nbytes
            self._rows += batch.num_rows
            if self._file is not None or self._waiting_bytes > _MEMORY_BYTES:
                self._unless_it_fails(self._store)

    def finish(self, *, run_s: float) -> None:
        with self._lock:
            if not self._over and run_s >= self._cache.options.min_run_s:
                self._unless_it_fails(self._complete)
            self._end()

    def discard(self) -> None:
        with self._lock:
            self._end()

    def _store(self) -> None:
        """Write the pending batches to the file."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._cache.folder)  # noqa: SIM115 - see _end
            self._writer = pa.ipc.new_stream(self._file, self._schema)
        assert self._writer is not None
        if self._make_room(self._file.tell() + self._waiting_bytes):
            for batch in self._waiting:
                self._writer.write_batch(batch)
            self._waiting.clear()
            self._waiting_bytes = 0

    def _make_room(self, size_bytes: int) -> bool:
        if size_bytes > self._max_bytes:
            self._cache.remember_too_large(self._key, self._max_bytes)
        elif self._cache.reserve(size_bytes - self._reserved):
            self._reserved = size_bytes
            return True
        self._end()
        return False

    def _complete(self) -> None:
        self._store()
        if self._over:
            return
        assert self._file is not None
        assert self._writer is not None
        self._writer.close()
        self._file.flush()
        if self._make_room(self._file.tell()):
            with pa.memory_map(f"/dev/fd/{self._file.fileno()}") as mapped:
                content = mapped.read_buffer()  # of which no file is open, as `mmap` would have one
            self._cache.keep(self._key, content, self._rows)
            self._reserved = 0  # belongs to the cache entry now

    def _unless_it_fails(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (OSError, pa.ArrowException) as error:
            logger.warning("a result could not be cached", extra={"error": str(error)})
            self._end()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._cache.end(self._key, self)
        self.ended.set()
        self._waiting.clear()
        self._writer = None
        self._cache.reserve(-self._reserved)
        if self._file is not None:
            try:
                self._file.close()
            except OSError:  # if the disk is full, flushing fails
                self._file.raw.close()
