"""Ingestion with all its real parts, in a folder: catalog, Delta store, sources, parser, worker."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pyarrow as pa
import pyarrow.parquet as pq

from flight_core.adapters.catalog.contracts import SqlContractRepository
from flight_core.adapters.catalog.datasets import SqlDatasetRepository
from flight_core.adapters.catalog.derivations import SqlDerivationRepository
from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.adapters.catalog.ingestions import SqlIngestionRepository
from flight_core.adapters.catalog.jobs import SqlJobRepository
from flight_core.adapters.catalog.source_memories import SqlSourceMemoryRepository
from flight_core.adapters.engines.duckdb.row_finder import DuckDbRowFinder
from flight_core.adapters.parsers.polars import ParserOptions, PolarsParser
from flight_core.adapters.sources.file import FileSource, FileSourceOptions
from flight_core.adapters.sources.http import HttpSource
from flight_core.adapters.sources.rejects import RejectsSource
from flight_core.adapters.sources.web import HttpSourceOptions
from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.application.access.owners import ActAsOwner
from flight_core.application.contracts.prepare import PrepareCheck
from flight_core.application.ingestion.ingestions import GetIngestion, RetryIngestion, StartIngestion
from flight_core.application.ingestion.run import RunIngestion
from flight_core.application.ingestion.source_memory import RememberSources
from flight_core.application.ingestion.store_rows import StoreRows
from flight_core.application.jobs.jobs import CancelJob, Wakeup
from flight_core.application.jobs.worker import JobWorker, WorkerOptions
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.ports.parsing import Parser
from flight_core.application.ports.sources import Source
from flight_core.application.writes.checked_commit import CheckedCommit
from flight_core.application.writes.open_write import OpenWrite, Publish
from flight_core.application.writes.quarantine import Quarantine
from flight_core.domain.access import LOCAL, Actor
from flight_core.domain.contract import REJECTS_KIND
from flight_core.domain.dataset import DatasetName, SchemaPolicy, VersionRef, WriteMode
from flight_core.domain.events import StoredEvent
from flight_core.domain.ingestion import Ingestion, IngestionRequest, SourceSpec
from flight_core.domain.job import JobState, Task
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from tests.adapters.parsing_processes import PROCESSES
from tests.catalogs import open_catalog

DEADLINE_S = 60


class EverybodysCredentials:
    """They are good, and for everything."""

    def holders(self, name: str) -> list[Actor]:
        return [Actor(name)]


class IngestionStack:
    """Files in `inputs` can be ingested. Parts may be replaced before `worker` is called."""

    def __init__(self, folder: Path) -> None:
        self.inputs = folder / "inputs"
        self.jobs = folder / "jobs"
        self.lake = folder / "lake"
        for path in (self.inputs, self.jobs, self.lake):
            path.mkdir(exist_ok=True)
        self.database = open_catalog(folder)
        self.events = SqlEventRepository(self.database)
        self.datasets = SqlDatasetRepository(self.database)
        self.ingestions = SqlIngestionRepository(self.database, utc_now)
        self.derivations = SqlDerivationRepository(self.database)
        self.registry = SqlJobRepository(self.database, utc_now)
        options = DuckDbOptions(None, (self.lake,), folder / "temp", memory_bytes=512 << 20)
        self.store = DeltaTableStore(self.lake, row_finder=DuckDbRowFinder(options))
        self.sources: Mapping[str, Source] = {
            "file": FileSource(FileSourceOptions(roots=(self.inputs,))),
            "http": HttpSource(HttpSourceOptions(allow_loopback=True, retry_wait_s=0.01)),
        }
        self.sources = {**self.sources, REJECTS_KIND: RejectsSource(self.store)}
        self.parser: Parser = PolarsParser(ParserOptions(), PROCESSES)
        self.wakeup = Wakeup()
        self.act_as_owner = ActAsOwner(EverybodysCredentials())
        self.publish = Publish(self.datasets, utc_now)
        self.open_write = OpenWrite(self.datasets, self.store, self.publish, new_id)
        self.memory = RememberSources(
            SqlSourceMemoryRepository(self.database), self.datasets, self.store, self.ingestions
        )
        self.contracts = SqlContractRepository(self.database)
        self.options = WorkerOptions(name="w", scratch=self.jobs, poll_s=0.05, progress_s=0.02)

    def close(self) -> None:
        self.database.close()

    def run_ingestion(self) -> RunIngestion:
        return RunIngestion(
            self.checked_commit(),
            self.sources,
            self.memory,
            StoreRows({}, self.store, new_id, self.act_as_owner),
        )

    def checked_commit(self) -> CheckedCommit:
        return CheckedCommit(
            self.open_write,
            self.parser,
            PrepareCheck(self.contracts, self.datasets, self.store, utc_now),
            Quarantine(self.open_write, self.store),
        )

    def worker(self, **options) -> JobWorker:
        return JobWorker(
            {Task.INGEST: self.run_ingestion()},
            jobs=self.registry,
            events=self.events,
            clock=utc_now,
            wakeup=self.wakeup,
            act_as_owner=self.act_as_owner,
            options=replace(self.options, **options),
        )

    @asynccontextmanager
    async def working(self, **options) -> AsyncIterator[JobWorker]:
        """A worker that runs meanwhile; it is stopped at the end."""
        async with anyio.create_task_group() as tasks:
            worker = self.worker(**options)
            tasks.start_soon(worker.run)
            yield worker
            worker.stop()

    def start(
        self,
        name: str,
        *,
        mode=WriteMode.APPEND,
        format=None,
        options=None,
        force=False,
        priority=0,
        keys=(),
        schema_policy=SchemaPolicy.REFUSE,
        actor=LOCAL,
        **source,
    ):
        """Queue a job; `source` are the fields of a file or http source."""
        spec = SourceSpec("http" if "url" in source else "file", source)
        request = IngestionRequest(
            DatasetName(name),
            spec,
            mode,
            format,
            options or {},
            force,
            priority,
            keys=keys,
            schema_policy=schema_policy,
        )
        return self.start_ingestion(request, actor=actor)

    def retry(self, ingestion: Ingestion, *, actor=LOCAL) -> Ingestion:
        return RetryIngestion(self.ingestions, self.start_ingestion)(ingestion.id, actor=actor)

    @property
    def start_ingestion(self) -> StartIngestion:
        return StartIngestion(
            self.ingestions,
            self.datasets,
            self.sources,
            self.parser,
            utc_now,
            new_id,
            self.wakeup,
            {},
            self.derivations,
        )

    def cancel(self, ingestion: Ingestion) -> Ingestion:
        CancelJob(self.registry, self.events, utc_now, self.wakeup)(ingestion.id, actor=LOCAL)
        return self.get(ingestion)

    def get(self, ingestion: Ingestion) -> Ingestion:
        return GetIngestion(self.ingestions)(ingestion.id, actor=LOCAL)

    async def until(self, ingestion: Ingestion, *states: JobState) -> Ingestion:
        """The job as soon as it is in one of the states (none: any final one)."""
        with anyio.fail_after(DEADLINE_S):
            while True:
                found = self.get(ingestion)
                if found.state in states if states else found.state.final:
                    return found
                await anyio.sleep(0.01)

    async def until_phase(self, ingestion: Ingestion, phase) -> None:
        with anyio.fail_after(DEADLINE_S):
            while self.get(ingestion).progress.phase is not phase:
                await anyio.sleep(0.01)

    def file(self, name: str, content: bytes) -> str:
        (self.inputs / name).write_bytes(content)
        return name

    def table(self, name: str) -> pa.Table:
        """All rows of the current version, files in their order."""
        return self.rows(self.datasets.get(DatasetName(name)).current.ref)

    def rows(self, ref: VersionRef) -> pa.Table:
        """All rows of a version, files in their order."""
        files = self.store.files(ref)
        return pa.concat_tables(pq.read_table(uri, schema=files.schema) for uri in files.uris)

    def events_of(self, ingestion: Ingestion) -> list[StoredEvent]:
        return [
            stored for stored in self.events.after(0) if stored.event.data.get("ingestion") == ingestion.id
        ]

    def log_of(self, ingestion: Ingestion) -> list[str]:
        return [line.message for _, line in self.registry.read_log(ingestion.id)]

    def leftovers(self) -> list[Path]:
        """What jobs have left behind."""
        return [Path(at, name) for at, folders, files in os.walk(self.jobs) for name in (*folders, *files)]
