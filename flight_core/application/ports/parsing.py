"""Turning fetched files into Parquet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flight_core.application.ports.sources import FetchedFile, Report
from flight_core.domain.ingestion import Reading


@dataclass(frozen=True, slots=True)
class ParsedFiles:
    files: tuple[Path, ...]  # Parquet, in the folder given
    row_count: int
    reading: Reading


class Parser(Protocol):
    def check(self, *, format: str | None, options: Mapping[str, object]) -> None:
        """Refuse at once what cannot work whatever the files hold.

        Raises:
            UnknownFormat, InvalidOption.
        """

    async def parse(
        self,
        files: Sequence[FetchedFile],
        folder: Path,
        report: Report,
        *,
        format: str | None,
        options: Mapping[str, object],
    ) -> ParsedFiles:
        """Write the rows of `files` as Parquet into `folder`.

        Runs in a process of its own, with bounded memory and time.

        Raises:
            UnknownFormat, UnreadableData, InvalidOption, LimitExceeded, DeadlineExceeded,
            OutOfDisk, Cancelled.
        """
