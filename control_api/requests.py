"""What clients ask for -> models of the hexagon."""

from typing import Any

from flight_core.application.derived.definitions import DerivationRequest
from flight_core.application.ingestion.preview import PreviewRequest
from flight_core.domain.access import Scope
from flight_core.domain.contract import Contract, contract_of
from flight_core.domain.dataset import DatasetName, SchemaPolicy, WriteMode
from flight_core.domain.derivation import RefreshPolicy
from flight_core.domain.ingestion import IngestionRequest, SourceSpec
from flight_core.domain.limits import Limits
from flight_core.domain.schedule import Cron, Interval, Timing
from flight_core.domain.versions import VersionName, version_named
from schemas import contracts, derivations, ingestions, schedules
from schemas.sources import Source
from schemas.tokens import Granted


def contract(request: contracts.Contract) -> Contract:
    """Raises InvalidContract: see `contract_of`. What is left out has its default."""
    return contract_of(request.model_dump(mode="json"))


def grant(request: Granted) -> dict[str, Any]:
    """What a new token or user may do, by the parameters of the use cases that make one."""
    return {
        "scopes": frozenset(map(Scope, request.scopes)),
        "datasets": tuple(request.datasets),
        "limits": Limits(**request.limits.model_dump()),
    }


def ingestion(request: ingestions.IngestionRequest) -> IngestionRequest:
    return IngestionRequest(
        dataset=DatasetName(request.dataset),
        source=_source(request.source),
        mode=WriteMode(request.mode),
        keys=tuple(request.keys),
        schema_policy=SchemaPolicy(request.schema_policy),
        format=request.format,
        options=request.options,
        force=request.force,
        message=request.message,
        priority=request.priority,
    )


def _source(source: Source) -> SourceSpec:
    fields = source.model_dump(exclude={"kind"}, exclude_unset=True, by_alias=True)
    return SourceSpec(source.kind, fields)


def preview(request: ingestions.PreviewRequest) -> PreviewRequest:
    return PreviewRequest(
        _source(request.source),
        request.format,
        request.options,
        request.rows,
        None if request.dataset is None else DatasetName(request.dataset),
        None if request.contract is None else contract(request.contract),
    )


def derivation(name: DatasetName, request: derivations.DerivationRequest) -> DerivationRequest:
    return DerivationRequest(
        target=name,
        sql=request.sql,
        step=request.step,
        inputs=request.inputs,
        params=request.params if request.step is None else dict(request.params),
        policy=RefreshPolicy(request.refresh),
        incremental=request.incremental == "append",
    )


def timing(request: schedules.Timed) -> Timing | None:
    if request.cron is not None:
        return Cron(request.cron, request.timezone or "UTC")
    return None if request.every_s is None else Interval(request.every_s)


def version(text: str | None) -> VersionName | None:
    """Raises VersionNotFound: see `version_named`."""
    return None if text is None else version_named(text)
