"""Repository of the open reads of all processes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol


class OpenReadRepository(Protocol):
    """The open reads that each process reports, so that no other process deletes files that are being read.

    `oldest_reads` has the start of the oldest open read of each dataset, by the dataset's id. Reads that may
    use any dataset are under the empty id.
    """

    def report(self, process: str, at: datetime, oldest_reads: Mapping[str, datetime]) -> None:
        """Report the open reads of a process: all that began before `at`."""

    def leave(self, *processes: str) -> None: ...

    def horizon(self, dataset_id: str, *, alive_since: datetime) -> datetime | None:
        """A time before which no open read of the dataset began; None if there is no process. Processes whose
        latest report is older than `alive_since` are considered dead."""
