"""The whole catalog as one file: what people said about datasets, without rows, secrets and tokens."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.contracts import Contract
from schemas.datasets import Text, Word
from schemas.derivations import DerivationRequest
from schemas.errors import Problem
from schemas.http import Request
from schemas.ingestions import IngestionFields
from schemas.schedules import Scheduled
from schemas.versions import RetentionRequest

Outcome = Literal["added", "changed", "conflict", "refused"]
Part = Literal["notes", "version_tag", "retention", "contract", "derivation", "schedule"]


class Notes(Request):
    description: Text = ""
    tags: list[Word] = Field(default_factory=list, max_length=100)
    owners: list[Word] = Field(default_factory=list, max_length=100)
    columns: dict[str, Text] = Field(default_factory=dict, description="Descriptions by column name.")


class VersionTag(Request):
    version: int = Field(ge=0, examples=[3])
    message: str = Field("", max_length=1000)


class CatalogDataset(Request):
    """A contract or a derivation may be there before the dataset is. `version_tags` are of the dataset with
    that `id`, or with any where it is null."""

    name: str = Field(examples=["flights"])
    id: str | None = Field(default=None, examples=["0f8b6c0a7f0e4a8e8a4f4f7f3e2d1c0b"])
    notes: Notes | None = None
    version_tags: dict[str, VersionTag] = Field(default_factory=dict)
    retention: RetentionRequest | None = None
    contract: Contract | None = None
    derivation: DerivationRequest | None = None


class CatalogIngestion(IngestionFields):
    source: dict[str, Any] = Field(description="Credentials within are `***`; names of secrets stay.")


class CatalogSchedule(Scheduled):
    ingestion: CatalogIngestion


class CatalogFile(Request):
    """The same catalog is the same file: it has no time of its own, and all is in order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "format": "skein-catalog",
                    "version": 1,
                    "datasets": [
                        {
                            "name": "flights",
                            "notes": {
                                "description": "Flights of US carriers",
                                "tags": ["aviation"],
                                "columns": {"delay": "Minutes, negative if early"},
                            },
                            "retention": {"keep_versions": 30},
                        }
                    ],
                    "schedules": [],
                }
            ]
        }
    )

    format: Literal["skein-catalog"] = "skein-catalog"
    version: Literal[1] = 1
    datasets: list[CatalogDataset] = Field(default_factory=list)
    schedules: list[CatalogSchedule] = Field(default_factory=list)


class ImportedPart(BaseModel):
    """`added`, `changed`: done, or to be done. `conflict`: the server says something else, which stays.
    `refused`: see `problem`."""

    part: Part
    name: str = Field(description="Of the dataset or the schedule.", examples=["flights"])
    outcome: Outcome
    before: dict[str, Any] | None = Field(None, description="What the server says; null: nothing.")
    after: dict[str, Any] = Field(description="What the file says.")
    problem: Problem | None = None


class ImportReport(BaseModel):
    """`parts` are those that differ, `same` counts the others."""

    dry_run: bool
    same: int = Field(examples=[41])
    parts: list[ImportedPart]
