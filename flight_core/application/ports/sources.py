"""Where data comes from."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flight_core.domain.ingestion import Progress, SourceSpec

# Called often; cheap. Raises Cancelled when the job is to stop.
Report = Callable[[Progress], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A local file with the source's bytes. `label` is what errors call it: never a server path."""

    path: Path
    label: str
    size_bytes: int
    temporary: bool  # in the job's own folder; deleted with it


class Source(Protocol):
    def check(self, spec: SourceSpec) -> None:
        """Refuse at once what cannot work whatever the source holds. Does not touch the network.

        Raises:
            InvalidSource, SourceNotAllowed.
        """

    async def fetch(self, spec: SourceSpec, folder: Path, report: Report) -> Sequence[FetchedFile]:
        """Bring everything the source names within reach, streaming to `folder` where it is not local.

        Raises:
            InvalidSource, SourceNotAllowed, SourceUnavailable, LimitExceeded, DeadlineExceeded,
            OutOfDisk, Cancelled.
        """
