"""Derived datasets and lineage over HTTP."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.http import EXAMPLE_TIME, Page, Request
from schemas.ingestions import Ingestion

DerivationState = Literal["new", "fresh", "stale", "running", "failed", "broken", "paused"]

_EXAMPLE_SQL = "SELECT origin, avg(delay) AS delay FROM flights GROUP BY ALL"


class DerivationRequest(Request):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"sql": _EXAMPLE_SQL}, {"sql": _EXAMPLE_SQL, "refresh": "manual"}]}
    )

    sql: str | None = Field(
        None, min_length=1, description="One statement that only reads; the datasets in it are the inputs."
    )
    step: str | None = Field(
        None, min_length=1, description="The name of an installed step, instead of `sql`."
    )
    inputs: list[str] = Field(
        default_factory=list, description="The datasets passed to the step, as `name` or `name@v3`."
    )
    params: list[Any] | dict[str, Any] = Field(
        default_factory=list,
        description="For SQL a list for `?` and `$1`, or an object for `$name`; for a step an object.",
    )
    refresh: Literal["auto", "manual"] = Field(
        "auto", description="`auto`: whenever an input has a new version. `manual`: only on request."
    )

    incremental: Literal["append"] | None = Field(
        None,
        description="`append`: if rows were only added to the input, a run reads and appends only those. Each"
        " row of the result has to come from a single row of a single dataset.",
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.sql is None) == (self.step is None):
            raise ValueError("give either 'sql' or 'step'")
        if self.step is None and self.inputs:
            raise ValueError("'inputs' go with a 'step'; SQL names its own")
        if self.step is not None and not self.inputs:
            raise ValueError("a step needs 'inputs'")
        if self.step is not None and self.params and not isinstance(self.params, dict):
            raise ValueError("'params' of a step have to be an object")
        return self


class StepParameter(BaseModel):
    name: str = Field(examples=["every"])
    type: str = Field("", description="The type annotation in the source code of the step.", examples=["str"])
    required: bool = True
    default: Any = None


class Step(BaseModel):
    """A function over tables that the operator has installed."""

    name: str = Field(examples=["resample"])
    description: str = ""
    parameters: list[StepParameter] = Field(default_factory=list)


class StepPage(Page):
    """Ordered by name."""

    items: list[Step]


class DerivationInput(BaseModel):
    """`used` is the version that the current version of the dataset was made from, `current` the newest one;
    null if there is none."""

    name: str = Field(examples=["flights"])
    used: int | None = Field(None, examples=[2])
    current: int | None = Field(None, examples=[3])


class Derivation(BaseModel):
    """`state`: `new` before the first run, `fresh` if made from the current inputs, else `stale`; `running`
    during a run; `failed`, explained by `run`; `broken` if an input is missing; `paused` if the owner has
    lost the necessary permissions, explained by `pause_reason`."""

    dataset: str = Field(examples=["delays"])
    href: str = Field(examples=["/api/v1/datasets/delays/derivation"])
    sql: str | None = Field(None, examples=[_EXAMPLE_SQL])
    step: str | None = None
    incremental: Literal["append"] | None = None
    params: list[Any] | dict[str, Any] = Field(default_factory=list)
    refresh: Literal["auto", "manual"] = "auto"
    state: DerivationState
    pause_reason: str | None = None
    version: int | None = Field(None, description="The version of the dataset; null before the first run.")
    inputs: list[DerivationInput]
    missing: list[str] = Field(default_factory=list, description="Inputs that do not exist.")
    will_refresh: bool = Field(description="Whether a run is going to start by itself.")
    run: Ingestion | None = Field(None, description="The latest run.")
    actor: str = Field(description="The owner, with whose permissions it runs.", examples=["local"])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])


class DerivationPage(Page):
    """Ordered by name."""

    items: list[Derivation]


class LineageNode(BaseModel):
    """One version. Facts that are lost because the dataset was dropped are null."""

    id: str = Field(examples=["0f8b6c0a7f0e4a8e8a4f4f7f3e2d1c0b@3"])
    dataset: str = Field(examples=["flights"])
    version: int = Field(examples=[3])
    operation: str | None = Field(None, examples=["append"])
    source: str | None = Field(None, examples=["flights-3m.parquet"])
    job: str | None = None
    rows: int | None = Field(None, examples=[200000])
    committed_at: datetime | None = Field(None, examples=[EXAMPLE_TIME])


class LineageEdge(BaseModel):
    """`from` was read to make `to`."""

    from_: str = Field(alias="from")
    to: str
    kind: Literal["input", "previous"] = Field(
        description="`input`: read by a statement. `previous`: the preceding version of the same dataset, to"
        " which rows were added."
    )


class Lineage(BaseModel):
    """A graph of versions, starting with the requested one. `truncated`: there are more beyond `depth`."""

    nodes: list[LineageNode]
    edges: list[LineageEdge]
    truncated: bool = False
