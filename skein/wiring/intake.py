"""What rows come in by: sources, the parser, uploads, and the steps of derivations."""

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

from flight_core.adapters.sources.rejects import RejectsSource
from flight_core.adapters.uploads.folder import FolderUploadStore
from flight_core.application.ingestion.ingestions import RowSources, Sources
from flight_core.application.ports.parsing import Parser
from flight_core.application.ports.steps import Steps
from flight_core.application.ports.storage import TableStore
from flight_core.application.ports.uploads import UploadStore
from flight_core.domain.contract import REJECTS_KIND
from skein.directory import DataDirectory
from skein.registry import (
    ReadUseCases,
    build_derived_sources,
    build_parser,
    build_row_sources,
    build_sources,
    build_steps,
)
from skein.settings import Settings
from skein.wiring.queries import Queries


@dataclass(frozen=True, slots=True)
class Intake:
    sources: Sources
    row_sources: RowSources
    parser: Parser
    uploads: UploadStore
    steps: Steps


def open_intake(
    settings: Settings, directory: DataDirectory, store: TableStore, queries: Queries, stack: ExitStack
) -> Intake:
    steps = build_steps(settings)
    uncached = ReadUseCases(queries.plan, replace(queries.open, results=None))
    return Intake(
        sources={**build_sources(settings, directory), REJECTS_KIND: RejectsSource(store)},
        row_sources={
            **build_row_sources(settings, directory, uncached),
            **build_derived_sources(uncached, steps, store, queries.reads),
        },
        parser=stack.enter_context(closing(build_parser(settings))),
        uploads=FolderUploadStore(directory.uploads),
        steps=steps,
    )
