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
    Field(description="What rows of other columns may do to those of the dataset."),
]


Keys = Annotated[
    list[str],
    Field(
        max_length=100,
        description="Columns: rows give way to new ones that have the same values in all of them. For the"
        " modes upsert and replace_partitions.",
    ),
]


class IngestionFields(Request):
    """All but the source."""

    dataset: str
    mode: WriteMode = "append"
    keys: Keys = Field(default_factory=list)
    schema_policy: SchemaPolicy = "refuse"
    format: str | None = Field(None, description="Found out from the content where it is left out.")
    options: dict[str, Any] = Field(default_factory=dict, description="Of the format.")
    force: bool = Field(False, description="Fetch everything, even where the source has nothing new.")
    priority: int = Field(0, ge=-100, le=100, description="Higher goes first.")
    message: str = Field("", max_length=1000, description="Why; it stays in the dataset's history.")


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
    """A job that ingests. The fields of the source are not told: they may hold secrets."""

    kind: str = Field(description="Of the source.", examples=["http"])
    schedule: str | None = Field(None, description="The schedule that asked for it.")
    mode: str = Field(examples=["replace"])
    format: str | None = Field(
        None,
        description="As requested; what it was found to be once the job has succeeded.",
        examples=["csv"],
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="As requested; with those found out once the job has succeeded.",
        examples=[{"delimiter": ";", "header": True}],
    )
    contract_version: int | None = Field(None, description="The contract that rows were checked by.")
    rejected_rows: int = Field(0, description="They are in the quarantine, `<dataset>_rejects`.")
    rules: list[RuleCount] = Field(
        default_factory=list, description="Rules of the contract that rows broke, the most frequent first."
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
    format: str | None = Field(None, description="Found out from the content where it is left out.")
    options: dict[str, Any] = Field(default_factory=dict, description="Of the format.")
    rows: int = Field(20, ge=0, le=1000, description="How many to show.")
    dataset: str | None = Field(
        None,
        description="That the rows are to be added to: its types and its contract count.",
        examples=["orders"],
    )
    contract: Contract | None = Field(None, description="On trial, instead of that of the dataset.")


class RejectedRow(BaseModel):
    """As in the quarantine: `raw` are the values as they were read; of lines that are no rows, `line`."""

    source: str = Field(examples=["orders.csv"])
    row: int | None = Field(description="Its number there, from 1.", examples=[17])
    rules: list[str] = Field(description="That it breaks.", examples=[["price.ge"]])
    raw: dict[str, str | None] = Field(examples=[{"id": "17", "price": "-1"}])


class PreviewCheck(BaseModel):
    """What a contract says of the rows that were looked at, which may be more than are shown.

    Whether they are fresh, and whether the dataset has their keys already, is not looked at.
    """

    contract_version: int = Field(description="0: the contract that was sent along.", examples=[2])
    rows: int = Field(description="That were looked at.", examples=[120])
    rejected_rows: int = Field(examples=[1])
    rules: list[RuleCount]
    violation: str | None = Field(None, description="Why an ingestion of these rows would fail, if it would.")
    rejected: list[RejectedRow] = Field(description="The first that would be, as many as are to be shown.")


class Preview(BaseModel):
    """What an ingestion would make of a source. `options` are those of the request with those that were
    found out; `rows` are written as in JSON results."""

    format: str = Field(examples=["csv"])
    options: dict[str, Any] = Field(examples=[{"delimiter": ";", "header": True, "encoding": "utf-8"}])
    columns: list[Column]
    rows: list[dict[str, Any]] = Field(description="The first that would be written.")
    sampled: bool = Field(description="Whether there is more than was looked at, which may change types.")
    warnings: list[str] = Field(description="Where something may not be what it looks like.")
    check: PreviewCheck | None = Field(None, description="Null where there is no contract.")


class SourceKind(BaseModel):
    """`fields` is the JSON schema of what goes into `source`, next to `kind`."""

    kind: str = Field(examples=["http"])
    fields: dict[str, Any]


class SourcePage(Page):
    items: list[SourceKind]
