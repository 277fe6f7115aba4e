"""The catalog as one file: metadata of datasets and schedules, without rows, secrets and tokens."""

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
    columns: dict[str, Text] = Field(default_factory=dict, description="Column descriptions, by column name.")


class VersionTag(Request):
    version: int = Field(ge=0, examples=[3])
    message: str = Field("", max_length=1000)


class CatalogDataset(Request):
    """A contract or a derivation can exist before its dataset does. `version_tags` apply only to the dataset
    with this `id`; without an `id` they apply to any dataset of this name."""

    name: str = Field(examples=["flights"])
    id: str | None = Field(default=None, examples=["0f8b6c0a7f0e4a8e8a4f4f7f3e2d1c0b"])
    notes: Notes | None = None
    version_tags: dict[str, VersionTag] = Field(default_factory=dict)
    retention: RetentionRequest | None = None
    contract: Contract | None = None
    derivation: DerivationRequest | None = None


class CatalogIngestion(IngestionFields):
    source: dict[str, Any] = Field(
        description="Credentials are replaced by `***`; names of secrets are kept."
    )


class CatalogSchedule(Scheduled):
    ingestion: CatalogIngestion


class CatalogFile(Request):
    """Exporting an unchanged catalog again gives the same file: there is no timestamp, all is sorted."""

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
    """`added` and `changed` are done, or would be in a dry run. `conflict`: the server has something else,
    which is kept. `refused`: see `problem`."""

    part: Part
    name: str = Field(description="The name of the dataset or schedule.", examples=["flights"])
    outcome: Outcome
    before: dict[str, Any] | None = Field(None, description="What the server has; null if nothing.")
    after: dict[str, Any] = Field(description="What the file has.")
    problem: Problem | None = None


class ImportReport(BaseModel):
    """`parts` lists the parts that differ, `same` counts the others."""

    dry_run: bool
    same: int = Field(examples=[41])
    parts: list[ImportedPart]
