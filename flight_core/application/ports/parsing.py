"""Turning fetched files into Parquet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from flight_core.application.ports.sources import FetchedFile, Report
from flight_core.domain.contract import CheckReport, Contract, StoredContract
from flight_core.domain.ingestion import Reading


@dataclass(frozen=True, slots=True)
class Check:
    """A contract that rows are held against, and what it has to be known of the rows that stay.

    `newest` is the latest value that they have in the contract's freshness column; `present` the
    Parquet files with them, whose keys new rows must not repeat.
    """

    contract: StoredContract
    job_id: str
    at: datetime
    newest: datetime | None = None
    present: tuple[Path, ...] = ()
    keeps_rows: bool = True  # False: only the report is wanted


@dataclass(frozen=True, slots=True)
class ParseRequest:
    """Files to parse, with `folder` for what becomes of them. `format` None: it is found out.

    `stored` are the columns of the dataset that the rows are added to. Formats that say no types, or
    fewer than there are, are read by these, unless `options` say others.
    """

    files: Sequence[FetchedFile]
    folder: Path
    format: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    check: Check | None = None
    stored: pa.Schema | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """`rejects` is a Parquet file with the rows that were rejected, None if there are none.

    `violation` says why nothing may be committed, None if that is not so.
    """

    report: CheckReport
    rejects: Path | None = None
    violation: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedFiles:
    """Without the rows that a check has rejected. `nan_columns` as for `StagedWrite.adopt`."""

    files: tuple[Path, ...]  # Parquet, in the folder given
    row_count: int
    reading: Reading
    checked: Checked | None = None
    nan_columns: frozenset[str] | None = None


class WholeFilesNeeded(Exception):
    """The format cannot be read from the beginnings of files."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a contract says of the rows that were looked at. `violation` as in `Checked`.

    `rejected` are the first of those that would be: `source` and `rules` as text and a list of texts, `row`
    its number in the source, `raw` a map of its values as text.
    """

    report: CheckReport
    violation: str | None
    rejected: pa.Table


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a source, as an ingestion would write them. `sampled`: there is more, which
    was not looked at and may change types. `trial` is None where there is no contract."""

    rows: pa.Table
    reading: Reading
    sampled: bool
    warnings: Sequence[str]
    trial: Trial | None = None


class Parser(Protocol):
    def check(self, *, format: str | None, options: Mapping[str, object]) -> None:
        """Refuse at once what cannot work whatever the files hold.

        Raises:
            UnknownFormat, InvalidOption.
        """

    def check_contract(self, contract: Contract) -> None:
        """Refuse at once a contract that no data could be checked by.

        Raises:
            InvalidContract.
        """

    async def parse(self, request: ParseRequest, report: Report) -> ParsedFiles:
        """Write the rows of the files as Parquet into the folder, those apart that the check rejects.

        Runs in a process of its own, with bounded memory and time.

        Raises:
            UnknownFormat, UnreadableData, InvalidOption, SchemaMismatch, LimitExceeded, DeadlineExceeded,
            OutOfDisk, Cancelled.
        """

    async def preview(self, request: ParseRequest, rows: int) -> Preview:
        """Look at the beginnings of the files; the first `rows` rows.

        Raises as `parse`, and:
            WholeFilesNeeded: a file is not whole and its format needs that.
        """
