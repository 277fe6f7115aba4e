"""Where data comes from."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from flight_core.domain.access import Actor
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.job import Progress
from flight_core.domain.source_state import SourceState

# Called often; cheap. Raises Cancelled when the job is to stop.
Report = Callable[[Progress], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A local file with the source's bytes. `label` is what errors call it: never a server path."""

    path: Path
    label: str
    size_bytes: int
    temporary: bool  # in the job's own folder; deleted with it


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch brought, and the source's state once it has been committed.

    No files: there is nothing new since the state that the fetch was given.
    """

    files: Sequence[FetchedFile]
    state: SourceState = field(default_factory=SourceState)

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
