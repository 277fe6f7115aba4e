"""Datasets over HTTP: listed, described, changed, rows deleted."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import Problem
from schemas.http import EXAMPLE_TIME, Column, Page, Request
from schemas.versions import Version


class DescribedColumn(Column):
    """Statistics are null if the files do not store them exactly. `minimum` and `maximum` have the form of
    values in JSON results."""

    null_count: int | None = Field(None, examples=[0])
    minimum: Any = Field(None, examples=[-91])
    maximum: Any = Field(None, examples=[1127])
    distinct: int | None = Field(
        None, description="The estimated number of distinct values, once there is a profile."
    )
    size_bytes: int = Field(description="Compressed, on disk.", examples=[183211])


class DatasetFacts(BaseModel):
    id: str = Field(examples=["0f8b6c0a7f0e4a8e8a4f4f7f3e2d1c0b"])
    name: str = Field(examples=["flights"])
    href: str = Field(examples=["/api/v1/datasets/flights"])
    links: dict[str, str] = Field(
        description="URLs of related resources, by name.",
        examples=[{"self": "/api/v1/datasets/flights", "sample": "/api/v1/datasets/flights/sample"}],
    )
    description: str = ""
    tags: list[str] = Field(default_factory=list)
    owners: list[str] = Field(default_factory=list)
    rows: int = Field(examples=[200000])
    size_bytes: int = Field(description="Compressed, on disk.", examples=[1849211])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    updated_at: datetime = Field(examples=[EXAMPLE_TIME])


class Dataset(DatasetFacts):
    version: int = Field(description="The current version, which queries read by default.", examples=[3])
    etag: str = Field(description="The ETag to send as `If-Match` with a change.", examples=['"0f8b6c-3-0"'])
    columns: list[Column]


class UsageSummary(BaseModel):
    """The queries that have read a dataset, through any door."""

    queries: int = Field(examples=[112])
    identities: int = Field(description="How many different users or tokens asked.", examples=[4])
    last_queried_at: datetime | None = Field(None, examples=[EXAMPLE_TIME])


class DatasetEntry(Dataset):
    usage: UsageSummary


class DatasetPage(Page):
    items: list[DatasetEntry]


class IdentityUsage(BaseModel):
    actor: str = Field(examples=["dashboard"])
    queries: int = Field(examples=[108])
    last_queried_at: datetime = Field(examples=[EXAMPLE_TIME])


class Usage(UsageSummary):
    """`by` lists only the caller, unless the caller is an administrator of all datasets."""

    dataset: str = Field(examples=["flights"])
    by: list[IdentityUsage]


Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\S+$")]


Text = Annotated[str, Field(max_length=10_000)]


class DatasetChange(Request):
    """A JSON merge patch: fields that are left out stay as they are, null clears a field."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "description": "Flights of US carriers",
                    "tags": ["aviation"],
                    "owners": ["ops@example.org"],
                    "columns": {"delay": "Minutes, negative if early", "date": None},
                }
            ]
        }
    )

    description: Text | None = None
    tags: list[Word] | None = Field(None, max_length=100)
    owners: list[Word] | None = Field(None, max_length=100)
    columns: dict[str, Text | None] | None = Field(None, description="Column descriptions, by column name.")


class BulkItem(Request):
    name: str = Field(examples=["flights"])
    if_match: str = Field(description="The dataset's `etag`, or `*`.", examples=['"0f8b6c-3-0"'])
    change: DatasetChange


class BulkChange(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {"name": "flights", "if_match": '"0f8b6c-3-0"', "change": {"tags": ["aviation"]}},
                        {"name": "airports", "if_match": "*", "change": {"owners": ["ops@example.org"]}},
                    ]
                }
            ]
        }
    )

    items: list[BulkItem] = Field(min_length=1, max_length=1000)


class BulkOutcome(BaseModel):
    """The changed `dataset`, or the `problem` because of which it was not changed."""

    name: str = Field(examples=["flights"])
    status: int = Field(
        description="The status that PATCH of the dataset itself would return.", examples=[200]
    )
    dataset: Dataset | None = None
    problem: Problem | None = None


class BulkOutcomes(BaseModel):
    """The outcomes, in the order of the request."""

    items: list[BulkOutcome]


class DatasetDescription(DatasetFacts):
    """One version of a dataset, the current one by default, and its history."""

    current_version: int = Field(examples=[3])
    version: int = Field(description="The version described.", examples=[3])
    columns: list[DescribedColumn]
    versions: list[Version] = Field(description="Newest first.")


class DeleteRequest(Request):
    """`params` is a list for `?` and `$1`, or an object for `$name`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"where": "id = ?", "params": [7]}]})

    where: str = Field(description="A condition in SQL, as after WHERE.", examples=["delay IS NULL"])
    params: list[Any] | dict[str, Any] = Field(default_factory=list)


class Deleted(BaseModel):
    """`version` is the version without the rows; the current one if no row matched."""

    dataset: str = Field(examples=["flights"])
    deleted_rows: int = Field(examples=[112])
    version: int = Field(examples=[4])
