"""Ingestions that repeat, over HTTP."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.http import EXAMPLE_TIME, Page
from schemas.ingestions import IngestionRequest
from schemas.jobs import Failure

Every = Annotated[float, Field(ge=1, le=366 * 86_400, examples=[900])]
Cron = Annotated[str, Field(min_length=1, max_length=200, examples=["0 6 * * MON-FRI"])]
Zone = Annotated[str, Field(min_length=1, max_length=64, examples=["Europe/Berlin"])]


class Timed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    every_s: Every | None = Field(None, description="Seconds from one run to the next.")
    cron: Cron | None = Field(None, description="A cron expression: minute, hour, day, month and weekday.")
    timezone: Zone | None = Field(None, description="The time zone of `cron`; UTC if left out.")

    @model_validator(mode="after")
    def _one_timing(self) -> Self:
        if self.every_s is not None and self.cron is not None:
            raise ValueError("give either 'every_s' or 'cron', not both")
        if self.timezone is not None and self.cron is None:
            raise ValueError("'timezone' needs 'cron'")
        return self


class Scheduled(Timed):
    name: str = Field(description="A name of letters, digits, `_` and `-`.", examples=["zipcodes-daily"])
    paused: bool = Field(False, description="Whether it is paused until it is resumed.")

    @model_validator(mode="after")
    def _timed(self) -> Self:
        if self.every_s is None and self.cron is None:
            raise ValueError("give 'every_s' (--every 15m) or 'cron' (--cron '0 6 * * *')")
        return self


class ScheduleRequest(Scheduled):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "zipcodes-daily",
                    "ingestion": {
                        "dataset": "zipcodes",
                        "source": {"kind": "http", "url": "https://example.org/zipcodes.csv.gz"},
                        "mode": "replace",
                    },
                    "cron": "0 6 * * *",
                    "timezone": "Europe/Berlin",
                },
                {
                    "name": "orders",
                    "ingestion": {
                        "dataset": "orders",
                        "source": {
                            "kind": "api",
                            "url": "https://api.example.org/v2/orders",
                            "record_path": "data",
                            "incremental": {"field": "updated_at", "param": "updated_since"},
                        },
                    },
                    "every_s": 900,
                },
            ]
        }
    )

    ingestion: IngestionRequest = Field(
        description="As in `POST /api/v1/ingestions`; not with mode `create`."
    )


class ScheduleChange(Timed):
    """Fields that are left out stay as they are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"paused": True}, {"cron": "30 7 * * *"}]})

    ingestion: IngestionRequest | None = None
    paused: bool | None = None


class LastRun(BaseModel):
    """The latest job of a schedule. `state` is null once the job has been forgotten."""

    ingestion: str = Field(examples=["6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69"])
    href: str = Field(examples=["/api/v1/ingestions/6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69"])
    at: datetime = Field(examples=[EXAMPLE_TIME])
    state: str | None = Field(None, examples=["succeeded"])
    version: int | None = Field(None, description="The version it committed.", examples=[3])
    unchanged: bool = False
    error: Failure | None = None


class Schedule(BaseModel):
    """`source` is shown without credentials. `next_at` is null while the schedule is paused. `pause_reason`
    is set if Skein paused it, because its owner may no longer write to the dataset or read its source."""

    name: str = Field(examples=["zipcodes-daily"])
    href: str = Field(examples=["/api/v1/schedules/zipcodes-daily"])
    dataset: str = Field(examples=["zipcodes"])
    source: dict[str, Any]
    mode: str = Field(examples=["replace"])
    format: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    every_s: float | None = None
    cron: str | None = Field(None, examples=["0 6 * * *"])
    timezone: str | None = Field(None, examples=["Europe/Berlin"])
    paused: bool
    pause_reason: str | None = None
    next_at: datetime | None = Field(None, examples=[EXAMPLE_TIME])
    last_run: LastRun | None = None
    actor: str = Field(examples=["local"])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])


class SchedulePage(Page):
    """By name."""

    items: list[Schedule]
