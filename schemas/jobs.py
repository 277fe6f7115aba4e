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
    """How many rows broke a rule of the dataset's contract."""

    rule: str = Field(examples=["ge"])
    column: str = Field("", description="Empty for rules about several columns.", examples=["price"])
    severity: Literal["reject", "warn", "fail"] = Field(examples=["reject"])
    rows: int = Field(examples=[12])


class CheckResult(BaseModel):
    """What holding a dataset's rows against a contract has found."""

    version: int = Field(description="The version whose rows were checked.", examples=[3])
    contract_version: int = Field(description="0: the contract that was sent along.", examples=[2])
    rows: int = Field(examples=[120000])
    rejected_rows: int = Field(description="That an ingestion would have rejected.", examples=[12])
    rules: list[RuleCount]
    violation: str | None = Field(None, description="Why an ingestion of these rows would fail, if it would.")


class ProposalResult(BaseModel):
    """The contract that the rows of a version keep, as a draft."""

    version: int = Field(description="The version whose rows were looked at.", examples=[3])
    contract: Contract


class Job(BaseModel):
    """`progress` is between 0 and 1 within the phase, null where the total is not known. The rates are
    those of the last seconds; of a job that has ended, those of its last attempt."""

    id: str = Field(examples=["6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69"])
    href: str = Field(examples=["/api/v1/ingestions/6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69"])
    task: Literal["ingest", "compact", "vacuum", "profile", "check", "infer"] = "ingest"
    dataset: str = Field(examples=["zipcodes"])
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    cancel_requested: bool = False
    priority: int = Field(0, description="Higher goes first.")
    phase: Literal["fetching", "parsing", "committing", "compacting", "vacuuming", "profiling"] | None = None
    progress: float | None = Field(None, ge=0, le=1, examples=[0.42])
    bytes: int = Field(0, description="Done, of the phase.", examples=[844000])
    total_bytes: int | None = Field(None, description="Of the phase, if known.", examples=[2018388])
    rows: int = Field(0, examples=[33144])
    bytes_per_s: float | None = Field(None, examples=[211000.0])
    rows_per_s: float | None = Field(None, examples=[8286.0])
    eta_s: float | None = Field(None, description="Until the phase ends, as it looks.", examples=[5.6])
    version: int | None = Field(None, description="The version it committed.", examples=[1])
    unchanged: bool = Field(False, description="It succeeded without a commit: there was nothing to do.")
    options: dict[str, Any] | None = Field(None, description="How maintenance was asked for.")
    result: dict[str, int] | CheckResult | ProposalResult | None = Field(
        None,
        description="What maintenance has done, in numbers; what a check has found; what was proposed.",
    )
    error: Failure | None = None
    actor: str = Field(examples=["local"])
    attempt: int = Field(0, examples=[1])
    retry_of: str | None = Field(None, description="The job that this one repeats.")
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    started_at: datetime | None = None
    finished_at: datetime | None = None


class ContractAnswer(RootModel[Contract | Job]):
    """A contract that is proposed, or the job whose result has it in the end."""


class CompactionRequest(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"sort_by": ["origin", "date"]}]})

    sort_by: list[str] = Field(
        default_factory=list, description="Columns to sort the rows by; they stay as they are if left out."
    )
    everything: bool = Field(False, description="Rewrite large files, too.")


class VacuumRequest(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"dry_run": True}]})

    dry_run: bool = Field(False, description="Delete nothing; `result` tells what would go.")


class JobPage(Page):
    """Newest first."""

    items: list[Job]


class JobLogLine(BaseModel):
    number: int = Field(description="Grows from line to line.", examples=[7])
    time: datetime = Field(examples=[EXAMPLE_TIME])
    level: Literal["info", "warning", "error"] = "info"
    phase: str | None = Field(None, examples=["parsing"])
    attempt: int = Field(examples=[1])
    message: str = Field(examples=["parsing"])


class JobLog(Page):
    """Oldest first. What a job that runs says later comes `after` the number of the last line."""

    items: list[JobLogLine]
