"""All that a process of Skein does in the background, in a data directory, without its servers.

Several may be open on one directory: each has a role of its own.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from flight_core.application.access.owners import ActAsOwner
from flight_core.application.derived.due import RefreshDue
from flight_core.application.ingestion.schedules import FireDueSchedules
from flight_core.application.jobs.worker import JobWorker
from flight_core.application.maintenance.vacuum import RunVacuum, VacuumOptions
from flight_core.application.ports.clock import utc_now
from flight_core.application.ports.parsing import Parser
from flight_core.application.writes.open_write import Reconcile
from flight_core.application.writes.rows import NewRows
from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, VersionRef, WriteMode, WriteRule
from flight_core.domain.job import Task
from skein.directory import DataDirectory, Role
from skein.settings import load_settings
from skein.wiring.access import holders
from skein.wiring.control import delete_rows
from skein.wiring.flight import flight_use_cases
from skein.wiring.ingestion import derivation_use_cases, job_worker, schedule_desk, start_ingestion
from skein.wiring.parts import open_parts
from skein.wiring.versions import start_maintenance, vacuum, version_use_cases

NO_GRACE = VacuumOptions(grace=timedelta(0), orphan_grace=timedelta(0))


def data_of(folder: Path) -> Path:
    return folder / "data"


class WholeProcess:
    """Files of the folder `inputs` can be ingested. Vacuum deletes at once what nobody reads."""

    def __init__(self, folder: Path, role: Role, stack: ExitStack, parser: Parser | None = None) -> None:
        self.inputs = folder / "inputs"
        self.inputs.mkdir(exist_ok=True)
        directory = DataDirectory(data_of(folder))
        directory.prepare()
        settings = load_settings(
            data=directory.root, ingest_roots=str(self.inputs), ingest_jobs=8, memory_limit="512MB", threads=1
        )
        parts = open_parts(settings, directory, {role}, stack)
        if parser is not None:
            parts = replace(parts, intake=replace(parts.intake, parser=parser))
        self.parts = parts
        self.directory = directory
        self.start = start_ingestion(self.parts)
        self.desk = schedule_desk(self.parts, self.start)
        self.derivations = derivation_use_cases(self.parts)
        flight = flight_use_cases(self.parts)
        self.write_dataset = flight.write_dataset
        self.delete_rows = delete_rows(self.parts, flight)
        self.versions = version_use_cases(self.parts, flight)
        self.start_maintenance = start_maintenance(self.parts)
        self.vacuum = replace(vacuum(self.parts), options=NO_GRACE)
        self.reconcile = Reconcile(parts.catalog.datasets, parts.store, parts.open_write.publish)
        act_as_owner = ActAsOwner(holders(self.parts))
        self.fire_schedules = FireDueSchedules(self.desk, act_as_owner)
        self.refresh_due = RefreshDue(self.derivations.refresh, act_as_owner, delay_s=0)

    def worker(self, **options) -> JobWorker:
        worker = job_worker(self.parts)
        worker._runners = {**worker._runners, Task.VACUUM: RunVacuum(self.vacuum)}
        worker._options = replace(worker._options, **options)
        return worker

    def write(self, name: str, table, mode: WriteMode = WriteMode.APPEND) -> None:
        rows = NewRows(table.schema, table.to_batches())
        self.write_dataset(DatasetName(name), rows, WriteRule(mode), actor=LOCAL)

    def ids(self) -> Iterator[tuple[str, str]]:
        """Names and ids of all datasets, published or not."""
        yield from ((dataset.name.value, dataset.id) for dataset in self.parts.catalog.datasets.list())
        yield from ((name.value, id) for name, id in self.parts.catalog.datasets.reservations())

    def expect_nothing_left_behind(self) -> None:
        """Once it is swept, storage has the files of versions that can be read, and no others."""
        assert list(self.directory.jobs.iterdir()) == []
        store = self.parts.store
        store.sweep(before=utc_now() + timedelta(days=1))
        for name, id in self.ids():
            kept = {version.ref.version for version in store.history(id)} - set(store.vacuumed(id))
            listed = {uri for version in kept for uri in store.files(VersionRef(id, version)).uris}
            folder = self.directory.lake / id
            there = {str(path) for path in folder.rglob("*.parquet") if "_delta_log" not in path.parts}
            assert there == listed, name


@contextmanager
def whole_process(folder: Path, role: Role, parser: Parser | None = None) -> Iterator[WholeProcess]:
    with ExitStack() as stack:
        yield WholeProcess(folder, role, stack, parser)
