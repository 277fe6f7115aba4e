"""Starting ingestions. Operations on jobs of every kind are in `jobs.jobs`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from flight_core.application.access.rights import readable_job, require, require_granted, seen_job
from flight_core.application.derived.refuse import refuse_derived
from flight_core.application.jobs.jobs import Wakeup, event_of, require_owner
from flight_core.application.ports.clock import Clock, NewId
from flight_core.application.ports.parsing import Parser
from flight_core.application.ports.sources import OwnedSource, RowSource, Source
from flight_core.domain.access import Actor, Scope
from flight_core.domain.contract import refuse_rejects
from flight_core.domain.dataset import DatasetName, WriteMode, dataset_exists
from flight_core.domain.errors import InvalidOption, InvalidSource, NotRetryable
from flight_core.domain.idempotency import IdempotencyKey
from flight_core.domain.ingestion import Ingestion, IngestionRequest, SourceSpec
from flight_core.domain.job import JobState
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.derivations import DerivationRepository
from flight_core.domain.repositories.ingestions import IngestionRepository

# The registered source kinds.
Sources = Mapping[str, Source]
RowSources = Mapping[str, RowSource]


@dataclass(frozen=True, slots=True)
class StartIngestion:
    """Queue a job. Requests that can never work are refused, without accessing the source.

    If the actor has sent the same request with the same `idempotency_key` within a day, the job of that
    request is returned.

    Raises:
        IdempotencyKeyReused: the key was used for another request.
        InvalidSource, SourceNotAllowed, UnknownFormat, InvalidOption: the request can never work.
        InvalidSql, StatementNotAllowed, ...: likewise, if the source is a query.
        DatasetExists: the mode is CREATE and the dataset exists.
        DatasetDerived
        PermissionDenied
    """

    ingestions: IngestionRepository
    datasets: DatasetRepository
    sources: Sources
    parser: Parser
    clock: Clock
    new_id: NewId
    wakeup: Wakeup
    row_sources: RowSources
    derivations: DerivationRepository

    def __call__(
        self,
        request: IngestionRequest,
        *,
        actor: Actor,
        idempotency_key: str | None = None,
        retry_of: str | None = None,
    ) -> Ingestion:
        require(actor, Scope.INGEST)
        require_granted(request.dataset, actor)
        key = None if idempotency_key is None else _key(idempotency_key, request, actor)
        if key is not None and (earlier := self.ingestions.started_with(key)) is not None:
            return earlier
        self.check_all(request, actor=actor)
        ingestion = Ingestion(
            id=self.new_id(),
            request=request,
            state=JobState.QUEUED,
            created_at=self.clock(),
            actor=actor.name,
            rights=actor.rights,
            retry_of=retry_of,
        )
        queued = event_of(JobState.QUEUED, ingestion, self.clock)
        ingestion = self.ingestions.add(ingestion, queued, key=key)
        self.wakeup.notify()
        return ingestion

    def check_all(self, request: IngestionRequest, *, actor: Actor) -> frozenset[DatasetName]:
        """Refuse requests that can never work; returns the datasets that the source reads."""
        self.check(request, actor=actor)
        return self._check_source(request, actor)

    def check(self, request: IngestionRequest, *, actor: Actor) -> None:
        """The same without a check of the source, which may not be complete yet."""
        require(actor, Scope.INGEST)
        require_granted(request.dataset, actor)
        _ = request.rule
        refuse_rejects(request.dataset)
        refuse_derived(self.derivations, request.dataset)
        if request.source.kind in self.row_sources:
            check_row_options(request)
        else:
            self.parser.check(format=request.format, options=request.options)
        refuse_existing(self.datasets, request)

    def _check_source(self, request: IngestionRequest, actor: Actor) -> frozenset[DatasetName]:
        rows = self.row_sources.get(request.source.kind)
        if rows is not None:
            return rows.check(request.source, actor=actor)
        source = source_of(self.sources, request.source)
        source.check(request.source)
        if isinstance(source, OwnedSource):
            source.check_owner(request.source, actor=actor)
        return frozenset()


@dataclass(frozen=True, slots=True)
class GetIngestion:
    """The job as it is now; raises IngestionNotFound, PermissionDenied."""

    ingestions: IngestionRepository

    def __call__(self, ingestion_id: str, *, actor: Actor) -> Ingestion:
        return readable_job(self.ingestions.get(ingestion_id), actor)


@dataclass(frozen=True, slots=True)
class RetryIngestion:
    """Queue a failed or cancelled job again, as a new job with the same request.

    Raises:
        IngestionNotFound
        NotRetryable: it has not ended, or has succeeded.
        PermissionDenied: it belongs to another user.
        As `StartIngestion`.
    """

    ingestions: IngestionRepository
    start: StartIngestion

    def __call__(self, ingestion_id: str, *, actor: Actor) -> Ingestion:
        require(actor, Scope.INGEST)
        ingestion = seen_job(self.ingestions.get(ingestion_id), actor)
        require_owner(ingestion, actor)
        if ingestion.state not in (JobState.FAILED, JobState.CANCELLED):
            raise NotRetryable(
                f"ingestion '{ingestion_id}' is {ingestion.state}; only failed or cancelled ones can be",
                state=str(ingestion.state),
            )
        return self.start(ingestion.request, actor=actor, retry_of=ingestion_id)


def _key(value: str, request: IngestionRequest, actor: Actor) -> IdempotencyKey:
    asked = json.dumps(asdict(request), sort_keys=True, default=str)
    return IdempotencyKey.of(value, asked.encode(errors="surrogatepass"), actor=actor)


def source_of(sources: Sources, spec: SourceSpec) -> Source:
    """
    Raises:
        InvalidSource: no source of that kind is registered.
    """
    kind = spec.kind
    if kind not in sources:
        raise InvalidSource(f"'{kind[:40]}' is not a source kind; use one of: {', '.join(sorted(sources))}")
    return sources[kind]


def check_row_options(request: IngestionRequest) -> None:
    """Check the options for a source of rows: only `allow_lossy`, since there is no format to parse.

    Raises:
        InvalidOption
    """
    kind = request.source.kind
    if request.format is not None:
        raise InvalidOption(f"a source of kind '{kind}' has no format; leave it out", option="format")
    unknown = sorted(set(request.options) - {"allow_lossy"})
    if unknown:
        raise InvalidOption(
            f"'{unknown[0][:40]}' is not an option for a source of kind '{kind}'; it has: allow_lossy",
            option=unknown[0][:40],
        )
    if not isinstance(request.options.get("allow_lossy", False), bool):
        raise InvalidOption("the option 'allow_lossy' has to be true or false", option="allow_lossy")


def refuse_existing(datasets: DatasetRepository, request: IngestionRequest) -> None:
    """
    Raises:
        DatasetExists: the mode is CREATE and the name is taken.
    """
    if request.mode is WriteMode.CREATE and datasets.find(request.dataset) is not None:
        raise dataset_exists(request.dataset)
