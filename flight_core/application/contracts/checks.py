"""Checking the existing rows of a dataset against a contract, as a job."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread

from flight_core.application.contracts.contracts import GetContract
from flight_core.application.maintenance.runs import MaintenanceOutcome, MaintenanceRunner
from flight_core.application.maintenance.start import StartMaintenance
from flight_core.application.ports.clock import Clock
from flight_core.application.ports.parsing import Check, Parser, ParseRequest
from flight_core.application.ports.sources import FetchedFile, Report
from flight_core.application.ports.storage import TableStore
from flight_core.domain.access import Actor, Scope
from flight_core.domain.contract import (
    Contract,
    StoredContract,
    contract_document,
    contract_of,
    report_document,
)
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import TooManyRequests
from flight_core.domain.job import JobFilter, JobState, Maintenance, Task
from flight_core.domain.repositories.datasets import DatasetRepository

_MOST_WAITING = 64
_RETRY_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class CheckDataset:
    """Queue a job that checks the existing rows against the current contract, or one to try out. It changes
    nothing. If a job with the same contract is queued or running, returns that instead.

    Raises:
        DatasetNotFound, ContractNotFound, InvalidContract, PermissionDenied.
        TooManyRequests: the actor has as many on trial as may wait.
    """

    get_contract: GetContract
    parser: Parser
    start: StartMaintenance

    def __call__(self, name: DatasetName, trial: Contract | None = None, *, actor: Actor) -> Maintenance:
        if trial is None:
            stored = self.get_contract(name, actor=actor)
            version, contract = stored.version, stored.contract
        else:
            self.parser.check_contract(trial)
            self._require_room(actor)
            version, contract = 0, trial
        options = {"contract_version": version, "contract": contract_document(contract)}
        return self.start(name, Task.CHECK, actor=actor, options=options, scope=Scope.READ)

    def _require_room(self, actor: Actor) -> None:
        """Who may only read shall not fill the queue of the others."""
        waiting = JobFilter(None, frozenset({JobState.QUEUED, JobState.RUNNING}), frozenset({Task.CHECK}))
        found = self.start.jobs.list(waiting, limit=_MOST_WAITING * 10)
        if sum(job.actor == actor.name for job in found) >= _MOST_WAITING:
            raise TooManyRequests(
                f"{_MOST_WAITING} checks of '{actor.name}' wait already; wait until some have ended",
                retry_after_s=_RETRY_AFTER_S,
            )


@dataclass(frozen=True)
class RunCheck(MaintenanceRunner):
    """See `Runner`. Checks the version that is current when it starts, with bounded memory.

    The result is the report (see `CheckReport`) with the `version`, and with the `violation` for which an
    ingestion of these rows would fail; None if it would not.
    """

    datasets: DatasetRepository
    store: TableStore
    parser: Parser
    clock: Clock

    async def __call__(self, job: Maintenance, folder: Path, report: Report) -> MaintenanceOutcome:
        """Raises as `Parser.parse`."""
        dataset = await anyio.to_thread.run_sync(self.datasets.get, job.dataset)
        files = await anyio.to_thread.run_sync(self.store.files, dataset.current.ref)
        fetched = [
            FetchedFile(Path(uri), dataset.name.value, size_bytes, temporary=False)
            for uri, size_bytes in zip(files.uris, files.size_bytes, strict=True)
        ]
        check = Check(self._contract(job), job_id=job.id, at=self.clock(), keeps_rows=False)
        options = {"columns": "union"}  # files of older versions may lack some
        parsed = await self.parser.parse(ParseRequest(fetched, folder, "parquet", options, check), report)
        assert parsed.checked is not None
        found: Mapping[str, Any] = report_document(parsed.checked.report)
        version = dataset.version
        return MaintenanceOutcome(result={**found, "version": version, "violation": parsed.checked.violation})

    def _contract(self, job: Maintenance) -> StoredContract:
        version, contract = job.options["contract_version"], contract_of(job.options["contract"])
        return StoredContract(job.dataset, version, contract, job.created_at, job.actor)
