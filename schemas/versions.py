"""Versions of datasets over HTTP: what changed, names for versions, and how long they stay."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from schemas.http import EXAMPLE_TIME, Column, Page, Request


class Version(BaseModel):
    version: int = Field(examples=[3])
    rows: int = Field(examples=[200000])
    added_rows: int = Field(description="By this commit.", examples=[50000])
    size_bytes: int = Field(description="Compressed, on disk.", examples=[1849211])
    operation: str = Field(examples=["append"])
    committed_at: datetime = Field(examples=[EXAMPLE_TIME])
    info: dict[str, str] = Field(default_factory=dict, description="Metadata given by the writer.")
    removed_rows: int = Field(0, description="By this commit.", examples=[0])
    added_bytes: int = Field(0, description="The size of the files added by this commit.", examples=[459211])
    actor: str = Field("", description="Who committed it.", examples=["local"])
    source: str = Field("", description="The source of the rows.", examples=["flights-3m.parquet"])
    message: str = Field("", description="The commit message.")
    job_id: str | None = Field(None, description="The job that committed it.")


class HistoryEntry(Version):
    """`expired` versions can no longer be read; of `deleted` ones the files are gone as well."""

    state: Literal["kept", "expired", "deleted"] = "kept"
    tags: list[str] = Field(default_factory=list, examples=[["golden"]])


class VersionPage(Page):
    items: list[HistoryEntry]


# Answers have numbers, so requests may.
NamedVersion = Annotated[
    str, BeforeValidator(lambda it: str(it) if type(it) is int else it, json_schema_input_type=str | int)
]


class RestoreRequest(Request):
    version: NamedVersion = Field(description="3, v3, a moment in ISO 8601, or a tag.", examples=["v3"])
    message: str = Field("", description="A message for the history, such as the reason.", max_length=1000)


class TagRequest(Request):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"version": 3, "message": "as published in May"}]}
    )

    version: NamedVersion | None = Field(
        None, description="3, v3, a moment in ISO 8601, or another tag; the current version if left out."
    )
    message: str = Field("", description="A message, such as the reason.", max_length=1000)


class Tag(BaseModel):
    name: str = Field(examples=["golden"])
    version: int = Field(examples=[3])
    tagged_at: datetime = Field(examples=[EXAMPLE_TIME])
    actor: str = Field(examples=["local"])
    message: str = ""


class TagPage(Page):
    """Ordered by name."""

    items: list[Tag]


class RetentionRequest(Request):
    """A version is kept if either rule keeps it; without any rule all are kept."""

    keep_versions: int | None = Field(
        None, ge=1, lt=2**63, description="How many of the newest versions to keep.", examples=[10]
    )
    keep_s: float | None = Field(
        None,
        ge=0,
        le=10_000_000_000,
        description="Keep versions that were current within this many seconds.",
        examples=[604800],
    )


class Retention(BaseModel):
    keep_versions: int | None = Field(None, examples=[10])
    keep_s: float | None = Field(None, examples=[604800])
    own: bool = Field(description="Whether the dataset has a policy of its own.")


class RetypedColumn(BaseModel):
    name: str = Field(examples=["delay"])
    before: str = Field(examples=["int32"])
    after: str = Field(examples=["int64"])


class ColumnChanges(BaseModel):
    added: list[Column]
    removed: list[Column]
    retyped: list[RetypedColumn]


class RowChanges(BaseModel):
    """Without a key, a changed row counts as one removed and one added, and the other fields are null."""

    added: int = Field(examples=[120])
    removed: int = Field(examples=[3])
    changed: int | None = Field(None, examples=[17])
    unchanged: int | None = Field(None, examples=[199860])
    by_column: dict[str, int] | None = Field(
        None, description="The number of changed rows, by column.", examples=[{"delay": 17}]
    )


class Difference(BaseModel):
    """One row, before and after. If rows are compared without a key, `key` is null and `rows` is the number
    of equal rows."""

    change: Literal["added", "removed", "changed"]
    key: dict[str, Any] | None = Field(None, examples=[{"id": 4711}])
    before: dict[str, Any] | None = Field(None, examples=[{"delay": 12}])
    after: dict[str, Any] | None = Field(None, examples=[{"delay": 13}])
    rows: int = 1


class VersionSummary(BaseModel):
    version: int = Field(examples=[3])
    rows: int = Field(examples=[199880])
    committed_at: datetime = Field(examples=[EXAMPLE_TIME])


class DatasetDiff(BaseModel):
    """`sample` is sorted by its fields, and has at most `limit` differences."""

    dataset: str = Field(examples=["flights"])
    before: VersionSummary
    after: VersionSummary
    key: list[str] = Field(examples=[["id"]])
    columns: ColumnChanges
    rows: RowChanges
    sample: list[Difference]
