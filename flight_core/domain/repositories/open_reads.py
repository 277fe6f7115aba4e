"""What processes read."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol


class OpenReadRepository(Protocol):
    """What processes say about the reads they serve, so that others do not delete what is read.

    `oldest_reads` is when the oldest open read of each dataset began, by the dataset's id; under the
    empty id, of any dataset.
    """

    def beat(self, process: str, at: datetime, oldest_reads: Mapping[str, datetime]) -> None:
        """All reads that began before `at` and are still open are among them."""

    def leave(self, *processes: str) -> None: ...

    def horizon(self, dataset_id: str, *, alive_since: datetime) -> datetime | None:
        """No open read of the dataset began earlier; None if there is no process. Processes that said
        nothing since `alive_since` are taken for dead."""
