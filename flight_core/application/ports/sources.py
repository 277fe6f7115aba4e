"""Where data comes from."""

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

# Called often; cheap. Raises Cancelled when the job is to stop.
Report = Callable[[Progress], Awaitable[None]]


async def unreported(_progress: Progress) -> None:
    """A `Report` that nobody hears."""


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A local file with the source's bytes. `label` is what errors call it: never a server path."""

    path: Path
    label: str
    size_bytes: int
    temporary: bool  # in the job's own folder; deleted with it
    whole: bool = True  # False: its beginning alone
    sha256: str | None = None  # in hexadecimal, where the bytes passed by


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch brought, and the source's state once it has been committed.

    No files: there is nothing new since the state that the fetch was given. `format` is of files that the
    source has written itself.
    """

    files: Sequence[FetchedFile]
    state: SourceState = field(default_factory=SourceState)
    format: str | None = None

    @property
    def unchanged(self) -> bool:
        return not self.files


class Source(Protocol):
    def check(self, spec: SourceSpec) -> None:
        """Refuse at once what cannot work whatever the source holds. Does not touch the network.

        Raises:
            InvalidSource, SourceNotAllowed.
        """

    async def fetch(
        self, spec: SourceSpec, folder: Path, report: Report, *, state: SourceState | None = None
    ) -> Fetched:
        """Bring everything the source names within reach, streaming to `folder` where it is not local.

        `state` is what an earlier fetch of the same spec left behind, once its files were committed.
        A source that can tell what is new since then brings only that, or nothing.

        Raises:
            InvalidSource, SourceNotAllowed, SourceUnavailable, LimitExceeded, DeadlineExceeded,
            OutOfDisk, Cancelled.
        """


@runtime_checkable
class OwnedSource(Source, Protocol):
    """A source whose bytes belong to somebody, and are no longer needed once they are in a dataset."""

    def check_owner(self, spec: SourceSpec, *, actor: Actor) -> None:
        """
        Raises:
            PermissionDenied: they are somebody else's.
            InvalidSource
        """

    def spent(self, spec: SourceSpec) -> None:
        """They have been committed. Called at most once a job, and not at all if the process dies."""


@runtime_checkable
class PeekSource(Source, Protocol):
    """A source that can bring the beginnings of its files alone."""

    async def peek(self, spec: SourceSpec, folder: Path, report: Report, *, max_bytes: int) -> Fetched:
        """About `max_bytes` of the first file, or all of it if it is smaller. Raises as `fetch`."""


class Rows(Protocol):
    """Rows on their way, for one thread. Iterating may block; `close` is idempotent and stops them."""

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def pins(self) -> Pins:
        """The dataset versions that they are made from."""

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...

    def close(self) -> None: ...


class RowSource(Protocol):
    """A source of rows that are Arrow already, so that there is nothing to parse."""

    def check(self, spec: SourceSpec, *, actor: Actor) -> frozenset[DatasetName]:
        """Refuse at once what cannot work, or what the actor may not read; which datasets here it reads.

        Raises:
            InvalidSource, PermissionDenied, and what else `open` raises.
        """

    def open(self, spec: SourceSpec, *, actor: Actor, run_id: str) -> Rows:
        """Begin to read. Blocks while others have to end first.

        Raises:
            InvalidSource, InvalidSql, StatementNotAllowed, TooManyStreams, Cancelled, ...
        """

    def cancel(self, run_id: str) -> None:
        """Make the `open` or the iteration of that run raise Cancelled, from any thread. Before the run and
        after it nothing happens: whoever cancels what may not have begun asks again."""
