"""What brings rows in: ingestions, schedules, uploads, contracts, derivations, and their worker."""

from datetime import timedelta

from control_api.options import (
    ContractUseCases,
    DerivationUseCases,
    IngestionUseCases,
    ScheduleUseCases,
    UploadUseCases,
)
from flight_core.adapters.calendar.cron import next_cron_time
from flight_core.application.access.owners import ActAsOwner
from flight_core.application.contracts.checks import CheckDataset, RunCheck
from flight_core.application.contracts.contracts import (
    DescribeContract,
    GetContract,
    ListContracts,
    SetContract,
    WithdrawContract,
)
from flight_core.application.contracts.prepare import PrepareCheck
from flight_core.application.contracts.proposal import InferContract, ProposeContract, RunInference
from flight_core.application.datasets.lineage import TraceLineage
from flight_core.application.derived.definitions import DefineDerivation, RemoveDerivation, ResumeDerivation
from flight_core.application.derived.refresh import RefreshDataset
from flight_core.application.derived.runs import STEP_KIND, Refresh
from flight_core.application.derived.status import InspectDerivations
from flight_core.application.ingestion.ingestions import GetIngestion, RetryIngestion, StartIngestion
from flight_core.application.ingestion.preview import PreviewIngestion
from flight_core.application.ingestion.replay import ReplayRejects
from flight_core.application.ingestion.run import RunIngestion
from flight_core.application.ingestion.schedules import (
    AddSchedule,
    ChangeSchedule,
    GetSchedule,
    ListSchedules,
    RemoveSchedule,
    RunSchedule,
    ScheduleDesk,
)
from flight_core.application.ingestion.source_memory import RememberSources
from flight_core.application.ingestion.store_rows import StoreRows
from flight_core.application.ingestion.uploads import (
    CreateUpload,
    DeleteUpload,
    GetUpload,
    ListUploads,
    ReceivePart,
    UploadLimits,
)
from flight_core.application.jobs.worker import JobWorker, WorkerOptions
from flight_core.application.maintenance.compaction import RunCompaction
from flight_core.application.maintenance.vacuum import RunVacuum
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.profiles.job import RunProfile
from flight_core.application.writes.checked_commit import CheckedCommit
from flight_core.application.writes.quarantine import Quarantine
from flight_core.domain.job import Task
from skein.registry import source_fields
from skein.settings import Settings
from skein.wiring.access import holders
from skein.wiring.parts import Parts, find_version
from skein.wiring.versions import compact, compute_profile, start_maintenance, vacuum


def start_ingestion(parts: Parts) -> StartIngestion:
    return StartIngestion(
        parts.catalog.ingestions,
        parts.catalog.datasets,
        parts.intake.sources,
        parts.intake.parser,
        utc_now,
        new_id,
        parts.wakeup,
        parts.intake.row_sources,
        parts.catalog.derivations,
    )


def ingestion_use_cases(parts: Parts, start: StartIngestion, refresh: Refresh) -> IngestionUseCases:
    return IngestionUseCases(
        start=start,
        get=GetIngestion(parts.catalog.ingestions),
        retry=RetryIngestion(parts.catalog.ingestions, start),
        refresh=RefreshDataset(parts.catalog.datasets, parts.catalog.jobs, start, refresh),
        preview=PreviewIngestion(
            parts.intake.sources,
            parts.intake.row_sources,
            parts.intake.parser,
            prepare_check(parts),
            parts.store,
            parts.directory.jobs,
            new_id,
        ),
        sources=source_fields(),
    )


def schedule_desk(parts: Parts, start: StartIngestion) -> ScheduleDesk:
    schedules = parts.catalog.schedules
    return ScheduleDesk(schedules, start, next_cron_time, utc_now, new_id, parts.wakeup)


def schedule_use_cases(desk: ScheduleDesk) -> ScheduleUseCases:
    return ScheduleUseCases(
        add=AddSchedule(desk),
        change=ChangeSchedule(desk),
        remove=RemoveSchedule(desk),
        get=GetSchedule(desk.schedules),
        list=ListSchedules(desk.schedules),
        run=RunSchedule(desk),
    )


def prepare_check(parts: Parts) -> PrepareCheck:
    return PrepareCheck(parts.catalog.contracts, parts.catalog.datasets, parts.store, utc_now)


def contract_use_cases(parts: Parts, start: StartIngestion) -> ContractUseCases:
    contracts = parts.catalog.contracts
    get = GetContract(contracts)
    start_job = start_maintenance(parts)
    return ContractUseCases(
        set=SetContract(contracts, parts.intake.parser, utc_now),
        describe=DescribeContract(get, prepare_check(parts), utc_now),
        list=ListContracts(contracts),
        withdraw=WithdrawContract(contracts, utc_now),
        infer=InferContract(parts.catalog.datasets, ProposeContract(compute_profile(parts)), start_job),
        check=CheckDataset(get, parts.intake.parser, start_job),
        replay=ReplayRejects(parts.catalog.datasets, start),
    )


def upload_use_cases(parts: Parts) -> UploadUseCases:
    uploads, limits = parts.intake.uploads, upload_limits(parts.settings)
    get = GetUpload(uploads)
    return UploadUseCases(
        limits=limits,
        create=CreateUpload(uploads, limits, utc_now, new_id),
        get=get,
        list=ListUploads(uploads),
        receive=ReceivePart(get, limits),
        delete=DeleteUpload(get),
    )


def upload_limits(settings: Settings) -> UploadLimits:
    return UploadLimits(settings.ingest_max_bytes, timedelta(seconds=settings.upload_ttl_s))


def derivation_use_cases(parts: Parts) -> DerivationUseCases:
    repository = parts.catalog.derivations
    return DerivationUseCases(
        define=DefineDerivation(
            repository,
            parts.queries.plan,
            utc_now,
            parts.catalog.datasets,
            find_version(parts),
            parts.intake.row_sources[STEP_KIND],
            parts.intake.steps,
            parts.engine,
        ),
        inspect=InspectDerivations(repository, parts.catalog.datasets, parts.catalog.ingestions),
        remove=RemoveDerivation(repository, utc_now),
        resume=ResumeDerivation(repository, utc_now),
        refresh=Refresh(
            repository,
            parts.catalog.datasets,
            parts.catalog.ingestions,
            utc_now,
            new_id,
            parts.wakeup,
            parts.store,
        ),
        lineage=TraceLineage(parts.catalog.datasets, parts.store, find_version(parts)),
        steps=parts.intake.steps,
    )


def checked_commit(parts: Parts) -> CheckedCommit:
    quarantine = Quarantine(parts.open_write, parts.store)
    return CheckedCommit(parts.open_write, parts.intake.parser, prepare_check(parts), quarantine)


def job_worker(parts: Parts) -> JobWorker:
    memory = RememberSources(
        parts.catalog.source_memories, parts.catalog.datasets, parts.store, parts.catalog.ingestions
    )
    act_as_owner = ActAsOwner(holders(parts))
    ingest = RunIngestion(
        checked_commit(parts),
        parts.intake.sources,
        memory,
        StoreRows(
            parts.intake.row_sources,
            parts.store,
            new_id,
            act_as_owner,
            timeout_s=parts.settings.ingest_fetch_timeout_s,
        ),
    )
    return JobWorker(
        {
            Task.INGEST: ingest,
            Task.COMPACT: RunCompaction(compact(parts), parts.catalog.datasets, parts.store),
            Task.VACUUM: RunVacuum(vacuum(parts)),
            Task.PROFILE: RunProfile(parts.catalog.datasets, find_version(parts), compute_profile(parts)),
            Task.CHECK: RunCheck(parts.catalog.datasets, parts.store, parts.intake.parser, utc_now),
            Task.INFER: RunInference(
                parts.catalog.datasets, find_version(parts), ProposeContract(compute_profile(parts))
            ),
        },
        jobs=parts.catalog.jobs,
        events=parts.catalog.events,
        clock=utc_now,
        wakeup=parts.wakeup,
        act_as_owner=act_as_owner,
        tracer=parts.telemetry.tracer,
        options=WorkerOptions(
            name=new_id(), scratch=parts.directory.jobs, concurrency=parts.settings.ingest_jobs
        ),
    )
