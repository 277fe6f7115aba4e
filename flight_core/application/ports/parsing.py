"""Parsing fetched files into Parquet."""

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
    """A contract to check rows against, and what the check needs to know about the existing rows.

    `newest` is their latest value in the contract's freshness column. `present` are the Parquet files with
    them, whose keys new rows must not repeat; but for the rows that are `gone`, in the form of
    `StagedWrite.remove`.
    """

    contract: StoredContract
    job_id: str
    at: datetime
    newest: datetime | None = None
    present: tuple[Path, ...] = ()
    gone: Sequence[pa.RecordBatch] = ()
    keeps_rows: bool = True  # False: only the report is needed


@dataclass(frozen=True, slots=True)
class ParseRequest:
    """Files to parse, and the `folder` for the results. `format` None: it is detected.

    `stored` is the schema of the dataset that the rows are added to. Formats without types, or with few, are
    parsed with its types, unless `options` say otherwise.
    """

    files: Sequence[FetchedFile]
    folder: Path
    format: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    check: Check | None = None
    stored: pa.Schema | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check. `rejects` is a Parquet file with the rejected rows; None if there are none.

    `violation` is the reason why nothing may be committed; None if there is none.
    """

    report: CheckReport
    rejects: Path | None = None
    violation: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedFiles:
    """The parsed rows, without rejected ones. `nan_columns` as in `StagedWrite.adopt`."""

    files: tuple[Path, ...]  # Parquet files in the folder of the request
    row_count: int
    reading: Reading
    checked: Checked | None = None
    nan_columns: frozenset[str] | None = None


class WholeFilesNeeded(Exception):
    """The format cannot be parsed from the beginning of a file alone."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of checking the previewed rows against a contract. `violation` as in `Checked`.

    `rejected` has the first rows that would be rejected: their `source`, their number `row` in it, the
    `rules` they break (a list of texts), and their values as a map of texts, `raw`.
    """

    report: CheckReport
    violation: str | None
    rejected: pa.Table


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a source, as an ingestion would write them. `sampled`: there are more rows, which may
    change the types. `trial` is None without a contract."""

    rows: pa.Table
    reading: Reading
    sampled: bool
    warnings: Sequence[str]
    trial: Trial | None = None


class Parser(Protocol):
    def check(self, *, format: str | None, options: Mapping[str, object]) -> None:
        """Refuse formats and options that can never work, whatever the files contain.

        Raises:
            UnknownFormat, InvalidOption.
        """

    def check_contract(self, contract: Contract) -> None:
        """Refuse a contract that cannot be applied to any data.

        Raises:
            InvalidContract.
        """

    async def parse(self, request: ParseRequest, report: Report) -> ParsedFiles:
        """Write the rows of the files as Parquet into the folder; rejected rows go to a separate file.

        Runs in a separate process, with bounded memory and time.

        Raises:
            UnknownFormat, UnreadableData, InvalidOption, SchemaMismatch, LimitExceeded, DeadlineExceeded,
            OutOfDisk, Cancelled.
        """

    async def preview(self, request: ParseRequest, rows: int) -> Preview:
        """Parse the beginnings of the files; returns the first `rows` rows.

        Raises as `parse`, and:
            WholeFilesNeeded: a file is incomplete, and its format needs the whole file.
        """
