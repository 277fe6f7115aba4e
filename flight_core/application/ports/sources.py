"""Sources of data."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa

from flight_core.domain.access import Actor
from flight_core.domain.dataset import DatasetName
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.job import Progress
from flight_core.domain.query import Pins
from flight_core.domain.source_state import SourceState

# Reports progress. Cheap, so call it often. Raises Cancelled if the job is to stop.
Report = Callable[[Progress], Awaitable[None]]


async def unreported(_progress: Progress) -> None:
    """A `Report` that does nothing."""


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A local file with data of the source. `label` is its name in error messages, never a server path."""

    path: Path
    label: str
    size_bytes: int
    temporary: bool  # it is in the job's folder, and deleted with it
    whole: bool = True  # False: it is only the beginning of the file
    sha256: str | None = None  # hexadecimal; None if it was not computed


@dataclass(frozen=True, slots=True)
class Fetched:
    """The result of a fetch, and the state of the source once these files have been committed.

    Without files there is nothing new since the state that the fetch was given. `format` is set if the source
    has written the files itself.
    """

    files: Sequence[FetchedFile]
    state: SourceState = field(default_factory=SourceState)
    format: str | None = None

    @property
    def unchanged(self) -> bool:
        return not self.files


class Source(Protocol):
    def check(self, spec: SourceSpec) -> None:
        """Refuse specs that can never work, whatever the source contains. Does not access the network.

        Raises:
            InvalidSource, SourceNotAllowed.
        """

    async def fetch(
        self, spec: SourceSpec, folder: Path, report: Report, *, state: SourceState | None = None
    ) -> Fetched:
        """Fetch all data of the source. Files that are not local are streamed to `folder`.

        `state` is the state after the latest fetch of the same spec that was committed. A source that can
        tell what is new since then fetches only that, or nothing.

        Raises:
            InvalidSource, SourceNotAllowed, SourceUnavailable, LimitExceeded, DeadlineExceeded,
            OutOfDisk, Cancelled.
        """


@runtime_checkable
class OwnedSource(Source, Protocol):
    """A source whose data belongs to an actor, and is not needed any more once it was ingested."""

    def check_owner(self, spec: SourceSpec, *, actor: Actor) -> None:
        """
        Raises:
            PermissionDenied: the data belongs to somebody else.
            InvalidSource
        """

    def spent(self, spec: SourceSpec) -> None:
        """Called after the commit, at most once per job, and not at all if the process dies."""


@runtime_checkable
class PeekSource(Source, Protocol):
    """A source that can fetch only the beginning of a file."""

    async def peek(self, spec: SourceSpec, folder: Path, report: Report, *, max_bytes: int) -> Fetched:
        """Fetch about `max_bytes` of the first file, or all of it if it is smaller. Raises as `fetch`."""


class Rows(Protocol):
    """A stream of record batches, for one thread. Iterating may block. `close` is idempotent and stops it."""

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def pins(self) -> Pins:
        """The dataset versions that the rows are made from."""

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...

    def close(self) -> None: ...


class RowSource(Protocol):
    """A source of Arrow record batches, which need no parsing."""

    def check(self, spec: SourceSpec, *, actor: Actor) -> frozenset[DatasetName]:
        """Refuse specs that can never work, or that the actor may not read; returns the datasets of this
        server that it reads.

        Raises:
            InvalidSource, PermissionDenied, and what else `open` raises.
        """

    def open(self, spec: SourceSpec, *, actor: Actor, run_id: str) -> Rows:
        """Start to read. May block until other queries have ended.

        Raises:
            InvalidSource, InvalidSql, StatementNotAllowed, TooManyStreams, Cancelled, ...
        """

    def cancel(self, run_id: str) -> None:
        """Make the `open` or the iteration of that run raise Cancelled, from any thread. Has no effect before
        the run has started: repeat the call if that is possible."""
