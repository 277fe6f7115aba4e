"""Ingestions over HTTP: asked for, previewed, watched."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.contracts import Contract
from schemas.http import Column, Page, Request
from schemas.jobs import Job, RuleCount
from schemas.sources import Source

WriteMode = Literal["create", "append", "replace", "upsert", "replace_partitions"]


SchemaPolicy = Annotated[
    Literal["refuse", "add", "widen"],
    Field(description="How the dataset's columns may change if those of the rows differ."),
]


Keys = Annotated[
    list[str],
    Field(
        max_length=100,
        description="Key columns of the modes upsert and replace_partitions: new rows replace those that have"
        " the same values in all of them.",
    ),
]


class IngestionFields(Request):
    """All but the source."""

    dataset: str
    mode: WriteMode = "append"
    keys: Keys = Field(default_factory=list)
    schema_policy: SchemaPolicy = "refuse"
    format: str | None = Field(None, description="The format; detected from the content if left out.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the format.")
    force: bool = Field(False, description="Fetch everything, even if the source has nothing new.")
    priority: int = Field(0, ge=-100, le=100, description="Jobs with a higher priority run first.")
    message: str = Field(
        "", max_length=1000, description="A message for the history of the dataset, such as the reason."
    )


class IngestionRequest(IngestionFields):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"dataset": "flights", "source": {"kind": "file", "path": "flights-3m.parquet"}},
                {
                    "dataset": "zipcodes",
                    "source": {"kind": "http", "url": "https://example.org/zipcodes.csv.gz"},
                    "format": "csv",
                    "mode": "replace",
                    "options": {"delimiter": ";"},
                },
                {
                    "dataset": "customers",
                    "source": {"kind": "file", "path": "customers-changed.csv"},
                    "mode": "upsert",
                    "keys": ["id"],
                    "schema_policy": "add",
                },
            ]
        }
    )

    source: Source


class Ingestion(Job):
    """A job that ingests. The fields of the source are not shown, since they may contain secrets."""

    kind: str = Field(description="The kind of the source.", examples=["http"])
    schedule: str | None = Field(None, description="The schedule that started it.")
    mode: str = Field(examples=["replace"])
    format: str | None = Field(
        None,
        description="The requested format; once the job has succeeded, the format detected.",
        examples=["csv"],
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="The requested options; once the job has succeeded, with those detected.",
        examples=[{"delimiter": ";", "header": True}],
    )
    contract_version: int | None = Field(
        None, description="The version of the contract that rows were checked against."
    )
    rejected_rows: int = Field(
        0, description="How many rows were moved to the quarantine, `<dataset>_rejects`."
    )
    rules: list[RuleCount] = Field(
        default_factory=list, description="The violated rules of the contract, most violations first."
    )


class IngestionPage(Page):
    """Newest first."""

    items: list[Ingestion]


class PreviewRequest(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "source": {"kind": "file", "path": "earthquakes.json"},
                    "options": {"types": {"time": "timestamp[ms, tz=UTC]"}},
                    "rows": 5,
                }
            ]
        }
    )

    source: Source
    format: str | None = Field(None, description="The format; detected from the content if left out.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the format.")
    rows: int = Field(20, ge=0, le=1000, description="The maximum number of rows to show.")
    dataset: str | None = Field(
        None,
        description="The dataset to preview for: its column types and its contract are applied.",
        examples=["orders"],
    )
    contract: Contract | None = Field(None, description="A contract to apply instead of that of the dataset.")


class RejectedRow(BaseModel):
    """As in the quarantine: `raw` has the values as read, or `line` for a line that is not a row."""

    source: str = Field(examples=["orders.csv"])
    row: int | None = Field(description="The number of the row in the source, from 1.", examples=[17])
    rules: list[str] = Field(description="The rules that it violates.", examples=[["price.ge"]])
    raw: dict[str, str | None] = Field(examples=[{"id": "17", "price": "-1"}])


class PreviewCheck(BaseModel):
    """The result of checking the sampled rows, which can be more than those shown, against a contract.

    Freshness, and keys that exist in the dataset already, are not checked.
    """

    contract_version: int = Field(description="0 for a contract in the request.", examples=[2])
    rows: int = Field(description="How many rows were checked.", examples=[120])
    rejected_rows: int = Field(examples=[1])
    rules: list[RuleCount]
    violation: str | None = Field(
        None, description="Why an ingestion of these rows would fail; null if it would not."
    )
    rejected: list[RejectedRow] = Field(
        description="The first rejected rows, as many as `rows` of the request."
    )


class Preview(BaseModel):
    """The expected result of an ingestion. `options` are those of the request and those detected; values in
    `rows` have the form of JSON results."""

    format: str = Field(examples=["csv"])
    options: dict[str, Any] = Field(examples=[{"delimiter": ";", "header": True, "encoding": "utf-8"}])
    columns: list[Column]
    rows: list[dict[str, Any]] = Field(description="The first rows that would be written.")
    sampled: bool = Field(
        description="Whether only the beginning was read, so that later rows may change the types."
    )
    warnings: list[str] = Field(description="What may have been detected wrongly.")
    check: PreviewCheck | None = Field(None, description="Null if there is no contract.")


class SourceKind(BaseModel):
    """`fields` is the JSON schema of the object `source`."""

    kind: str = Field(examples=["http"])
    fields: dict[str, Any]


class SourcePage(Page):
    items: list[SourceKind]
