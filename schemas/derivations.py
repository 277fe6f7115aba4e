"""Derived datasets and lineage over HTTP."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.http import Ingestion, Page, Request

DerivationState = Literal["new", "fresh", "stale", "running", "failed", "broken"]

_EXAMPLE_SQL = "SELECT origin, avg(delay) AS delay FROM flights GROUP BY ALL"
_EXAMPLE_TIME = "2026-01-31T12:00:00Z"


class DerivationRequest(Request):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"sql": _EXAMPLE_SQL}, {"sql": _EXAMPLE_SQL, "refresh": "manual"}]}
    )

    sql: str = Field(min_length=1, description="One statement that reads; its datasets are the inputs.")
    params: list[Any] | dict[str, Any] = Field(
        default_factory=list, description="A list for `?` and `$1`, an object for `$name`."
    )
    refresh: Literal["auto", "manual"] = Field(
        "auto", description="`auto`: whenever an input has another version. `manual`: when asked."
    )


class DerivationInput(BaseModel):
    """`used` is the version that the dataset's current version was made from, `current` the newest; null
    where there is none."""

    name: str = Field(examples=["flights"])
    used: int | None = Field(None, examples=[2])
    current: int | None = Field(None, examples=[3])


class Derivation(BaseModel):
    """`state`: `new` had no run yet, `fresh` is made from the current inputs, `stale` is not, `running` is
    being made, `failed` says why in `run`, `broken` lacks an input."""

    dataset: str = Field(examples=["delays"])
    href: str = Field(examples=["/api/v1/datasets/delays/derivation"])
    sql: str = Field(examples=[_EXAMPLE_SQL])
    params: list[Any] | dict[str, Any] = Field(default_factory=list)
    refresh: Literal["auto", "manual"] = "auto"
    state: DerivationState
    version: int | None = Field(None, description="Of the dataset; null before the first run.")
    inputs: list[DerivationInput]
    missing: list[str] = Field(default_factory=list, description="Inputs that do not exist.")
    will_refresh: bool = Field(description="Whether a run follows without anybody asking.")
    run: Ingestion | None = Field(None, description="The latest.")
    actor: str = Field(description="Who defined it; its runs are theirs.", examples=["local"])
    created_at: datetime = Field(examples=[_EXAMPLE_TIME])


class DerivationPage(Page):
    """Ordered by name."""

    items: list[Derivation]


class LineageNode(BaseModel):
    """One version. What is not known any more, because the dataset was dropped, is null."""

    id: str = Field(examples=["0f8b6c0a7f0e4a8e8a4f4f7f3e2d1c0b@3"])
    dataset: str = Field(examples=["flights"])
    version: int = Field(examples=[3])
    operation: str | None = Field(None, examples=["append"])
    source: str | None = Field(None, examples=["flights-3m.parquet"])
    job: str | None = None
    rows: int | None = Field(None, examples=[200000])
    committed_at: datetime | None = Field(None, examples=[_EXAMPLE_TIME])


class LineageEdge(BaseModel):
    """`from` was read to make `to`."""

    from_: str = Field(alias="from")
    to: str
    kind: Literal["input", "previous"] = Field(
        description="`input`: read by a statement. `previous`: the version of the same dataset that rows were"
        " added to."
    )


class Lineage(BaseModel):
    """A graph of versions, the one asked for first. `truncated`: there is more beyond `depth`."""

    nodes: list[LineageNode]
    edges: list[LineageEdge]
    truncated: bool = False
