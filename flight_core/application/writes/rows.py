"""Rows that clients send: into a dataset as they are, or by way of a check where it has a contract."""

import asyncio
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Semaphore

import anyio
import pyarrow as pa

from flight_core.application.access.rights import require, require_granted
from flight_core.application.ports.clock import Clock, NewId
from flight_core.application.ports.sources import Fetched, FetchedFile, unreported
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.writes.checked_commit import (
    CHECKS,
    CheckedCommit,
    CheckedRows,
    Taken,
    keys_kept_changing,
)
from flight_core.application.writes.open_write import OpenWrite, Replaced
from flight_core.domain.access import Actor, Scope
from flight_core.domain.contract import refuse_rejects
from flight_core.domain.dataset import DatasetName, DatasetVersion, WriteMode, WriteRule
from flight_core.domain.errors import StatementNotAllowed
from flight_core.domain.ingestion import WRITE_ID_PREFIX, Ingestion, IngestionRequest, SourceSpec
from flight_core.domain.job import JobState
from flight_core.domain.query import Pins
from flight_core.domain.repositories.contracts import ContractRepository
from flight_core.domain.system_errors import system_errors

_SPOOL_FORMAT = "arrow"
_PATIENCE_S = 0.2


@dataclass(frozen=True, slots=True)
class NewRows:
    """On their way into a dataset, validated in full at the door they came through.

    The history tells `source`, the door; `inputs`, the versions that they were made from; and `message`, why.
    Of the modes UPDATE, which has to fit them one by one, and MERGE: what they replace.
    """

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]
    source: str = ""
    inputs: Pins = field(default_factory=dict)
    message: str = ""
    replaced: Replaced | None = None


@dataclass(frozen=True, slots=True)
class PendingRows:
    """Rows that one `commit` makes a version, or takes out of one. `close` lets go of them, and is harmless
    after that."""

    row_count: int
    commit: Callable[[], DatasetVersion]
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class CheckRows:
    """Keep rows in a file, hold it against the contract of their dataset, and leave the commit to the caller.

    Memory is bounded, and no more checks run at a time than there are `slots`. Rows that are rejected reach
    the quarantine with the commit of the good ones; if there are too many of them, at once.

    Raises as `OpenWrite` and `Parser.parse`, and:
        ContractViolated: there are too many bad rows, or one that is to replace another.
        StatementNotAllowed: rows that an UPDATE changes get new keys.
        Cancelled, OutOfDisk
    """

    commit: CheckedCommit
    contracts: ContractRepository
    scratch: Path
    slots: Semaphore
    clock: Clock
    new_id: NewId

    def __call__(
        self,
        name: DatasetName,
        rows: NewRows,
        rule: WriteRule,
        *,
        actor: Actor,
        cancellation: Cancellation,
    ) -> PendingRows:
        if rows.replaced is not None and rule.mode is WriteMode.UPDATE:
            self._refuse_new_keys(name, rows.replaced)
        ingestion = Ingestion(
            id=WRITE_ID_PREFIX + self.new_id(),
            state=JobState.RUNNING,
            created_at=self.clock(),
            actor=actor.name,
            rights=actor.rights,
            request=_request(name, rows, rule),
        )
        self.commit.open(ingestion).close()
        check = _Check(self.commit, ingestion, self.scratch / ingestion.id, self.slots, cancellation)
        try:
            row_count = check.begin(rows)
        except BaseException:
            check.close()
            raise
        return PendingRows(row_count, check.finish, check.close)

    def _refuse_new_keys(self, name: DatasetName, replaced: Replaced) -> None:
        """It is not looked whether rows that stay have them."""
        stored = self.contracts.find(name)
        unique = () if stored is None else stored.contract.unique
        keys = {column.lower() for key in unique for column in key.columns}
        if changed := [column for column in replaced.columns if column.lower() in keys]:
            raise StatementNotAllowed(
                f"column '{changed[0]}' is in a unique key of the contract of '{name}', which UPDATE does not"
                " change; delete the rows and insert them anew"
            )


def _request(name: DatasetName, rows: NewRows, rule: WriteRule) -> IngestionRequest:
    return IngestionRequest(
        name,
        SourceSpec(rows.source, {}),
        rule.mode,
        options={"allow_lossy": rule.allow_lossy},
        keys=rule.keys,
        schema_policy=rule.schema_policy,
        message=rows.message,
    )


@dataclass(slots=True)
class _Check:
    commit: CheckedCommit
    ingestion: Ingestion
    folder: Path
    slots: Semaphore
    cancellation: Cancellation
    _taken: Taken = field(init=False)
    _rows: CheckedRows = field(init=False)

    def begin(self, rows: NewRows) -> int:
        """The number of good rows."""
        self.folder.mkdir(parents=True)
        path = self.folder / "rows.arrow"
        row_count = _spool(rows, path)
        file = FetchedFile(path, rows.source, path.stat().st_size, temporary=True)
        self._taken = Taken(
            Fetched([file]), rows.source, _SPOOL_FORMAT, row_count, rows.inputs, rows.replaced
        )
        return self._checked("checked-0")

    def finish(self) -> DatasetVersion:
        version = self.commit(self._rows)
        if version is None:
            with self.commit.open_write.turns.of(self.ingestion.request.dataset):
                version = self._checked_anew()
        self.commit.quarantine.settle(self.ingestion, version)
        return version

    def _checked_anew(self) -> DatasetVersion:
        for attempt in range(1, CHECKS):
            self._checked(f"checked-{attempt}")
            version = self.commit(self._rows)
            if version is not None:
                return version
        raise keys_kept_changing()

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _checked(self, name: str) -> int:
        while not self.slots.acquire(timeout=_PATIENCE_S):
            self.cancellation.check()
        try:
            rows = anyio.run(self._check, self.folder / name)
        finally:
            self.slots.release()
        self.cancellation.check()
        assert rows is not None
        self.commit.judge(rows)
        self._rows = rows
        return rows.parsed.row_count

    async def _check(self, folder: Path) -> CheckedRows | None:
        """None: it was cancelled."""
        with anyio.CancelScope() as scope:
            loop = asyncio.get_running_loop()
            with self.cancellation.interrupting(lambda: loop.call_soon_threadsafe(scope.cancel)):
                return await self.commit.check(self.ingestion, self._taken, folder, unreported)
        return None


def _spool(rows: NewRows, path: Path) -> int:
    """How many rows there are."""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    row_count = 0
    with (
        system_errors(),
        path.open("wb") as file,
        pa.ipc.new_stream(file, rows.schema, options=options) as writer,
    ):
        for batch in rows.batches:
            writer.write_batch(batch)
            row_count += batch.num_rows
    return row_count


@dataclass(frozen=True, slots=True)
class TakeRows:
    """Take rows in up to where one `commit` makes them a version: all of them, or nothing.

    `check` None: there are no contracts. Raises as `OpenWrite`, `StagedWrite.write` and `CheckRows`, and:
        InvalidDatasetName: the name is kept for rows that were rejected.
    """

    open_write: OpenWrite
    check: CheckRows | None = None

    def __call__(
        self,
        name: DatasetName,
        rows: NewRows,
        rule: WriteRule,
        *,
        actor: Actor,
        cancellation: Cancellation,
    ) -> PendingRows:
        require(actor, Scope.WRITE)
        require_granted(name, actor)
        refuse_rejects(name)
        if self.check is not None and self.check.contracts.find(name) is not None:
            return self.check(name, rows, rule, actor=actor, cancellation=cancellation)
        write = self.open_write(
            name,
            rows.schema,
            rule,
            actor=actor,
            source=rows.source,
            inputs=rows.inputs,
            message=rows.message,
            replaced=rows.replaced,
        )
        try:
            for batch in cancellation.heeded(rows.batches):
                write.staged.write(batch)
        except BaseException:
            write.close()
            raise
        return PendingRows(write.staged.row_count, write.commit, write.close)


@dataclass(frozen=True, slots=True)
class WriteDataset:
    """Write rows as one new version. Blocks until it is on disk.

    Raises as `TakeRows` and `PendingRows.commit`.
    """

    take_rows: TakeRows

    def __call__(
        self,
        name: DatasetName,
        rows: NewRows,
        rule: WriteRule,
        *,
        actor: Actor,
        cancellation: Cancellation | None = None,
    ) -> DatasetVersion:
        pending = self.take_rows(name, rows, rule, actor=actor, cancellation=cancellation or Cancellation())
        try:
            return pending.commit()
        finally:
            pending.close()
