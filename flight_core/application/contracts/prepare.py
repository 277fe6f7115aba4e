"""Preparing the check of a job's rows."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from flight_core.application.ports.clock import Clock
from flight_core.application.ports.parsing import Check
from flight_core.application.ports.storage import TableStore
from flight_core.application.writes.open_write import Replaced
from flight_core.domain.arrow import is_number
from flight_core.domain.contract import (
    REJECTS_KIND,
    ColumnContract,
    Contract,
    ExtraColumns,
    MissingColumns,
    RejectLimits,
    StoredContract,
    moment_of,
)
from flight_core.domain.dataset import DatasetName, DatasetVersion, SchemaPolicy, VersionRef, WriteMode
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.repositories.contracts import ContractRepository
from flight_core.domain.repositories.datasets import DatasetRepository

_NOWHERE = DatasetName("preview")
# The storage types that contracts can express.
_TYPES = re.compile(
    r"bool|int(8|16|32|64)|float|double|string|date32\[day\]|timestamp\[us(, tz=UTC)?\]"
    r"|decimal128\(\d+, \d+\)"
)


@dataclass(frozen=True, slots=True)
class PreparedCheck:
    """`base_version` is the version that the check depends on (-1: the dataset has none); None: it depends on
    none.

    `stored` is the schema of the dataset that the rows are added to; None if they define the schema."""

    check: Check | None
    base_version: int | None = None
    stored: pa.Schema | None = None


@dataclass(frozen=True, slots=True)
class PrepareCheck:
    """Prepares the check of a job's rows; without a contract there is none."""

    contracts: ContractRepository
    datasets: DatasetRepository
    store: TableStore
    clock: Clock

    def __call__(self, ingestion: Ingestion, replaced: Replaced | None = None) -> PreparedCheck:
        request = ingestion.request
        stored = self.contracts.find(request.dataset)
        sets_apart = request.options.get("ragged") == "quarantine"
        if stored is None and (request.source.kind == REJECTS_KIND or sets_apart):
            stored = StoredContract(request.dataset, 0, Contract(), self.clock(), ingestion.actor)
        kept = None if request.mode is WriteMode.REPLACE else self._stays(request.dataset)
        columns = None if kept is None else guiding(kept.schema, request.schema_policy)
        if stored is None:
            return PreparedCheck(None, stored=columns)
        if request.mode in (WriteMode.UPDATE, WriteMode.MERGE):
            stored = replace(stored, contract=for_changed_rows(stored.contract, request.mode))
        stays = kept if request.mode is WriteMode.APPEND else None
        old = replaced.ref if replaced is not None else None if stays is None else stays.ref
        unique = bool(stored.contract.unique)
        replayed = request.source.kind == REJECTS_KIND
        check = Check(
            contract=self._completed(stored, stays) if replayed else stored,
            job_id=ingestion.id,
            at=self.clock(),
            newest=self.newest(stored.contract, stays),
            present=self._files(old) if old and unique else (),
            gone=replaced.places if replaced is not None and unique else (),
        )
        if not (unique and request.mode is WriteMode.APPEND):
            return PreparedCheck(check, stored=columns)
        return PreparedCheck(check, -1 if stays is None else stays.ref.version, columns)

    def tried(self, name: DatasetName | None, trial: Contract | None) -> PreparedCheck:
        """The check for a preview of rows for `name`, against the contract `trial`, or else that of the
        dataset. Freshness and existing keys are not checked."""
        stays = None if name is None else self._stays(name)
        columns = None if stays is None else stays.schema
        known = None if name is None or trial is not None else self.contracts.find(name)
        contract = trial if known is None else known.contract
        if contract is None:
            return PreparedCheck(None, stored=columns)
        version = 0 if known is None else known.version
        lasting = replace(contract, freshness=None)
        stored = StoredContract(name or _NOWHERE, version, lasting, self.clock(), "")
        return PreparedCheck(Check(stored, job_id="preview", at=self.clock()), stored=columns)

    @staticmethod
    def _completed(stored: StoredContract, stays: DatasetVersion | None) -> StoredContract:
        """The contract, completed by the types of the dataset's columns, since replayed rows are all text."""
        if stays is None:
            return stored
        known = {column.name.lower(): column for column in stored.contract.columns}
        columns = list(stored.contract.columns)
        for field in stays.schema:
            column = known.get(field.name.lower())
            type = contract_type(str(field.type))
            if column is None:
                columns.append(ColumnContract(field.name, type))
            elif column.type is None:
                columns[columns.index(column)] = replace(column, type=type)
        contract = replace(
            stored.contract, columns=tuple(columns), missing_columns=_replayed_missing(stored.contract)
        )
        return replace(stored, contract=contract)

    def newest(self, contract: Contract, version: DatasetVersion | None) -> datetime | None:
        """The latest value of the freshness column, from the file statistics; None if unknown."""
        if version is None or contract.freshness is None or contract.freshness.column is None:
            return None
        wanted = contract.freshness.column.lower()
        for column in self.store.statistics(version.ref):
            if column.name.lower() == wanted:
                return moment_of(column.maximum)
        return None

    def _stays(self, name: DatasetName) -> DatasetVersion | None:
        dataset = self.datasets.find(name)
        return None if dataset is None else self.store.latest(dataset.id)

    def _files(self, ref: VersionRef) -> tuple[Path, ...]:
        uris: Sequence[str] = self.store.files(ref).uris
        return tuple(map(Path, uris))


def for_changed_rows(contract: Contract, mode: WriteMode) -> Contract:
    """None of them may be rejected, and all of their columns stay. An UPDATE leaves their keys alone."""
    return replace(
        contract,
        unique=() if mode is WriteMode.UPDATE else contract.unique,
        limits=RejectLimits(max_rejected_rows=0),
        extra_columns=ExtraColumns.KEEP,
        missing_columns=MissingColumns.NULL,
    )


def guiding(stored: pa.Schema, policy: SchemaPolicy) -> pa.Schema:
    """The columns whose types new values are parsed with: all but numbers that may be widened."""
    if policy is not SchemaPolicy.WIDEN:
        return stored
    return pa.schema([field for field in stored if not is_number(field.type)])


def contract_type(name: str) -> str | None:
    """The name of a storage type in a contract; None if contracts cannot express it."""
    return name if _TYPES.fullmatch(name) else None


def _replayed_missing(contract: Contract) -> MissingColumns:
    """Rows of several sources are replayed together, so some may lack columns that others have."""
    refuses = contract.missing_columns is MissingColumns.REFUSE
    return MissingColumns.NULL if refuses else contract.missing_columns
