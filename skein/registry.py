"""Which adapter serves which kind of source. Factories import late: nobody pays for what is not used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flight_core.application.derived.runs import KIND as DERIVED
from flight_core.application.derived.runs import STEP_KIND as STEP
from flight_core.application.ingestion.ingestions import RowSources, Sources
from flight_core.application.maintenance.open_reads import OpenReads
from flight_core.application.ports.secrets import Secrets
from flight_core.application.ports.sources import RowSource, Source
from flight_core.application.ports.storage import TableStore
from flight_core.application.queries.reads import OpenQuery, PlanQuery
from schemas.sources import SOURCES
from skein.directory import DataDirectory
from skein.settings import Settings, environment_secrets

if TYPE_CHECKING:
    from flight_core.adapters.parsers.polars import PolarsParser
    from flight_core.adapters.sources.file import FileSourceOptions
    from flight_core.adapters.sources.step import InstalledSteps
    from flight_core.adapters.sources.web import HttpSourceOptions
    from flight_core.infrastructure.http_client import AddressPolicy

SourceFactory = Callable[[Settings, DataDirectory], Source]


@dataclass(frozen=True, slots=True)
class ReadUseCases:
    """The use cases that read what is here."""

    plan: PlanQuery
    open: OpenQuery


RowSourceFactory = Callable[[Settings, DataDirectory, ReadUseCases], RowSource]


def _file(settings: Settings, directory: DataDirectory) -> Source:
    from flight_core.adapters.sources.file import FileSource

    return FileSource(_file_options(settings, directory))


def _file_options(settings: Settings, directory: DataDirectory) -> "FileSourceOptions":
    from flight_core.adapters.sources.file import FileSourceOptions

    return FileSourceOptions(roots=settings.roots, closed=(directory.root,))


def _http(settings: Settings, _directory: DataDirectory) -> Source:
    from flight_core.adapters.sources.http import HttpSource

    return HttpSource(_web_options(settings), build_secrets(settings))


def _api(settings: Settings, _directory: DataDirectory) -> Source:
    from flight_core.adapters.sources.api import ApiSource

    return ApiSource(_web_options(settings), build_secrets(settings))


def _web_options(settings: Settings) -> "HttpSourceOptions":
    from flight_core.adapters.sources.web import HttpSourceOptions

    return HttpSourceOptions(
        allow_private=settings.ingest_allow_private,
        allow_loopback=settings.loopback_sources,
        max_bytes=settings.ingest_max_bytes,
        timeout_s=settings.ingest_fetch_timeout_s,
    )


def _upload(_settings: Settings, directory: DataDirectory) -> Source:
    from flight_core.adapters.sources.upload import UploadSource
    from flight_core.adapters.uploads.folder import FolderUploadStore

    return UploadSource(FolderUploadStore(directory.uploads))


def build_secrets(settings: Settings) -> Secrets:
    from flight_core.adapters.secrets.named import NamedSecrets

    return NamedSecrets(environment_secrets(), settings.secrets_dir, settings.hosts_of_secrets)


# Kind -> factory; `schemas/sources.py` has the model of each kind's fields.
SOURCE_FACTORIES: Mapping[str, SourceFactory] = {"file": _file, "http": _http, "api": _api, "upload": _upload}


def _sql(_settings: Settings, _directory: DataDirectory, use_cases: ReadUseCases) -> RowSource:
    from flight_core.adapters.sources.sql import SqlSource

    return SqlSource(use_cases.plan, use_cases.open)


def _flight(settings: Settings, _directory: DataDirectory, _use_cases: ReadUseCases) -> RowSource:
    from flight_core.adapters.sources.flight import FlightSource

    return FlightSource(_address_policy(settings), build_secrets(settings))


def _adbc(settings: Settings, directory: DataDirectory, _use_cases: ReadUseCases) -> RowSource:
    from flight_core.adapters.sources.adbc import AdbcOptions, AdbcSource

    options = AdbcOptions(
        drivers=settings.ingest_adbc_drivers,
        policy=_address_policy(settings),
        files=_file_options(settings, directory),
        memory_bytes=settings.ingest_memory_bytes,
    )
    return AdbcSource(options, build_secrets(settings))


def _address_policy(settings: Settings) -> "AddressPolicy":
    from flight_core.infrastructure.http_client import AddressPolicy

    return AddressPolicy(
        allow_private=settings.ingest_allow_private, allow_loopback=settings.loopback_sources
    )


# The same for sources of rows, which get what it takes to ask the engine.
ROW_SOURCE_FACTORIES: Mapping[str, RowSourceFactory] = {"sql": _sql, "flight": _flight, "adbc": _adbc}


def build_row_sources(settings: Settings, directory: DataDirectory, use_cases: ReadUseCases) -> RowSources:
    return {kind: factory(settings, directory, use_cases) for kind, factory in ROW_SOURCE_FACTORIES.items()}


def build_steps(settings: Settings) -> "InstalledSteps":
    from flight_core.adapters.sources.step import InstalledSteps, StepOptions

    return InstalledSteps(StepOptions(settings.steps, settings.ingest_memory_bytes))


def build_derived_sources(
    use_cases: ReadUseCases, steps: "InstalledSteps", store: TableStore, reads: OpenReads
) -> RowSources:
    """What derivations read from; not for requests."""
    from flight_core.adapters.sources.sql import DerivedSource
    from flight_core.adapters.sources.step import StepSource

    return {
        DERIVED: DerivedSource(use_cases.plan, use_cases.open),
        STEP: StepSource(steps, store, reads.holding),
    }


def build_sources(settings: Settings, directory: DataDirectory) -> Sources:
    return {kind: factory(settings, directory) for kind, factory in SOURCE_FACTORIES.items()}


def source_fields() -> Mapping[str, Mapping[str, Any]]:
    """The JSON schema of each kind's fields."""
    return {kind: SOURCES[kind].model_json_schema() for kind in (*SOURCE_FACTORIES, *ROW_SOURCE_FACTORIES)}


def build_parser(settings: Settings) -> "PolarsParser":
    from flight_core.adapters.parsers.polars import ParserOptions, PolarsParser

    return PolarsParser(
        ParserOptions(
            memory_bytes=settings.ingest_memory_bytes,
            timeout_s=settings.ingest_parse_timeout_s,
            max_bytes=settings.ingest_max_bytes,
            max_ratio=settings.ingest_max_ratio,
        )
    )
