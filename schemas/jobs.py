"""Jobs of every kind over HTTP."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from schemas.contracts import Contract
from schemas.http import EXAMPLE_TIME, Page, Request


class Failure(BaseModel):
    code: str = Field(examples=["unreadable_data"])
    message: str = Field(examples=["zipcodes.csv: line 17 has 5 fields, the header has 4"])


class RuleCount(BaseModel):
    """How many rows violated a rule of the contract."""

    rule: str = Field(examples=["ge"])
    column: str = Field(
        "", description="The column; empty for rules about several columns.", examples=["price"]
    )
    severity: Literal["reject", "warn", "fail"] = Field(examples=["reject"])
    rows: int = Field(examples=[12])


class CheckResult(BaseModel):
    """The result of checking the rows of a dataset against a contract."""

    version: int = Field(description="The version whose rows were checked.", examples=[3])
    contract_version: int = Field(description="0 for a contract in the request.", examples=[2])
    rows: int = Field(examples=[120000])
    rejected_rows: int = Field(description="How many rows an ingestion would have rejected.", examples=[12])
    rules: list[RuleCount]
    violation: str | None = Field(
        None, description="Why an ingestion of these rows would fail; null if it would not."
    )


class ProposalResult(BaseModel):
    """A proposed contract that the rows of a version satisfy."""

    version: int = Field(description="The version whose rows were examined.", examples=[3])
    contract: Contract


class Job(BaseModel):
    """`progress` is the progress within the phase, from 0 to 1, or null if the total is not known. Rates are
    those of the last few seconds, or of the last attempt if the job has ended."""

    id: str = Field(examples=["6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69"])
    href: str = Field(examples=["/api/v1/ingestions/6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69"])
    task: Literal["ingest", "compact", "vacuum", "profile", "check", "infer"] = "ingest"
    dataset: str = Field(examples=["zipcodes"])
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    cancel_requested: bool = False
    priority: int = Field(0, description="Jobs with a higher priority run first.")
    phase: Literal["fetching", "parsing", "committing", "compacting", "vacuuming", "profiling"] | None = None
    progress: float | None = Field(None, ge=0, le=1, examples=[0.42])
    bytes: int = Field(0, description="Bytes done in this phase.", examples=[844000])
    total_bytes: int | None = Field(None, description="Bytes of this phase, if known.", examples=[2018388])
    rows: int = Field(0, examples=[33144])
    bytes_per_s: float | None = Field(None, examples=[211000.0])
    rows_per_s: float | None = Field(None, examples=[8286.0])
    eta_s: float | None = Field(
        None, description="Estimated seconds until the end of the phase.", examples=[5.6]
    )
    version: int | None = Field(None, description="The version it committed.", examples=[1])
    unchanged: bool = Field(
        False, description="Whether it succeeded without a commit, since there was nothing to do."
    )
    options: dict[str, Any] | None = Field(None, description="The options of a maintenance job.")
    result: dict[str, int] | CheckResult | ProposalResult | None = Field(
        None,
        description="The counts of a maintenance job, the findings of a check, or a proposed contract.",
    )
    error: Failure | None = None
    actor: str = Field(examples=["local"])
    attempt: int = Field(0, examples=[1])
    retry_of: str | None = Field(None, description="The job that this one is a retry of.")
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    started_at: datetime | None = None
    finished_at: datetime | None = None


class ContractAnswer(RootModel[Contract | Job]):
    """A proposed contract, or the job whose result will hold it."""


class CompactionRequest(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"sort_by": ["origin", "date"]}]})

    sort_by: list[str] = Field(
        default_factory=list, description="Columns to sort the rows by; the order is kept if left out."
    )
    everything: bool = Field(False, description="Rewrite large files as well.")


class VacuumRequest(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"dry_run": True}]})

    dry_run: bool = Field(False, description="Delete nothing; `result` reports what would be deleted.")


class JobPage(Page):
    """Newest first."""

    items: list[Job]


class JobLogLine(BaseModel):
    number: int = Field(description="The number of the line, which only grows.", examples=[7])
    time: datetime = Field(examples=[EXAMPLE_TIME])
    level: Literal["info", "warning", "error"] = "info"
    phase: str | None = Field(None, examples=["parsing"])
    attempt: int = Field(examples=[1])
    message: str = Field(examples=["parsing"])


class JobLog(Page):
    """Oldest first. To follow a running job, ask for lines `after` the number of the last one."""

    items: list[JobLogLine]
