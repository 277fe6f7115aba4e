"""Requests and replies of the control plane, `/api/v1`."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.errors import Problem
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

_EXAMPLE_TIME = "2026-01-31T12:00:00Z"


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, data: Any) -> Any:
        """JSON can spell halves of characters (`\\ud800`) that no text holds."""
        try:
            json.dumps(data, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise ValueError("there is half a character (a lone surrogate); send whole ones") from None
        return data


class Page(BaseModel):
    """`next` is the URL of the following page; null on the last one."""

    next: str | None = Field(None, examples=["/api/v1/datasets?limit=50&cursor=ZmxpZ2h0cw"])


class Column(BaseModel):
    name: str = Field(examples=["delay"])
    type: str = Field(examples=["int64"])
    nullable: bool = True
    description: str = ""


class ColumnProfile(Column):
    """Statistics are null where the files do not tell them exactly. `minimum` and `maximum` are
    written as in JSON results."""

    null_count: int | None = Field(None, examples=[0])
    minimum: Any = Field(None, examples=[-91])
    maximum: Any = Field(None, examples=[1127])
    distinct: int | None = Field(None, description="An estimate, known once there is a profile.")
    size_bytes: int = Field(description="Compressed, on disk.", examples=[183211])


class Version(BaseModel):
    version: int = Field(examples=[3])
    rows: int = Field(examples=[200000])
    added_rows: int = Field(description="By this commit alone.", examples=[50000])
    size_bytes: int = Field(description="Compressed, on disk.", examples=[1849211])
    operation: str = Field(examples=["append"])
    committed_at: datetime = Field(examples=[_EXAMPLE_TIME])
    info: dict[str, str] = Field(default_factory=dict, description="What the writer said about it.")
    removed_rows: int = Field(0, description="By this commit alone.", examples=[0])
    added_bytes: int = Field(0, description="In new files.", examples=[459211])
    actor: str = Field("", description="Who committed it.", examples=["local"])
    source: str = Field("", description="Where the rows came from.", examples=["flights-3m.parquet"])
    message: str = Field("", description="Why, in the writer's words.")
    job_id: str | None = Field(None, description="The ingestion that committed it.")


class HistoryEntry(Version):
    """`expired` versions cannot be asked for any more, and those that are `deleted` have lost files."""

    state: Literal["kept", "expired", "deleted"] = "kept"
    tags: list[str] = Field(default_factory=list, examples=[["golden"]])


class VersionPage(Page):
    items: list[HistoryEntry]


class DatasetFacts(BaseModel):
    id: str = Field(examples=["0f8b6c0a7f0e4a8e8a4f4f7f3e2d1c0b"])
    name: str = Field(examples=["flights"])
    href: str = Field(examples=["/api/v1/datasets/flights"])
    links: dict[str, str] = Field(
        description="What else there is to know about it, by name.",
        examples=[{"self": "/api/v1/datasets/flights", "sample": "/api/v1/datasets/flights/sample"}],
    )
    description: str = ""
    tags: list[str] = Field(default_factory=list)
    owners: list[str] = Field(default_factory=list)
    rows: int = Field(examples=[200000])
    size_bytes: int = Field(description="Compressed, on disk.", examples=[1849211])
    created_at: datetime = Field(examples=[_EXAMPLE_TIME])
    updated_at: datetime = Field(examples=[_EXAMPLE_TIME])


class Dataset(DatasetFacts):
    version: int = Field(description="What readers get who name no other.", examples=[3])
    etag: str = Field(description="What `If-Match` wants of a change.", examples=['"0f8b6c-3-0"'])
    columns: list[Column]


class UsageSummary(BaseModel):
    """The queries that read a dataset, through any door."""

    queries: int = Field(examples=[112])
    identities: int = Field(description="How many different ones asked.", examples=[4])
    last_queried_at: datetime | None = Field(None, examples=[_EXAMPLE_TIME])


class DatasetEntry(Dataset):
    usage: UsageSummary


class DatasetPage(Page):
    items: list[DatasetEntry]


class IdentityUsage(BaseModel):
    actor: str = Field(examples=["dashboard"])
    queries: int = Field(examples=[108])
    last_queried_at: datetime = Field(examples=[_EXAMPLE_TIME])


class Usage(UsageSummary):
    """`by` tells of the caller alone, unless they are an administrator of all datasets."""

    dataset: str = Field(examples=["flights"])
    by: list[IdentityUsage]


Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\S+$")]
Text = Annotated[str, Field(max_length=10_000)]


class DatasetChange(Request):
    """A JSON merge patch: what is left out stays, null empties it."""

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
    columns: dict[str, Text | None] | None = Field(None, description="Descriptions by column name.")


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
    """`dataset` as it is then, or the `problem` that kept it as it was."""

    name: str = Field(examples=["flights"])
    status: int = Field(description="What PATCH of the dataset itself would answer.", examples=[200])
    dataset: Dataset | None = None
    problem: Problem | None = None


class BulkOutcomes(BaseModel):
    """In the order of the request."""

    items: list[BulkOutcome]


class DatasetDescription(DatasetFacts):
    """One version of a dataset, the current one if none was named, and the versions there are."""

    current_version: int = Field(examples=[3])
    version: int = Field(description="The one described.", examples=[3])
    columns: list[ColumnProfile]
    versions: list[Version] = Field(description="Newest first.")


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


class DeleteRequest(Request):
    """`params` is a list for `?` and `$1`, an object for `$name`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"where": "id = ?", "params": [7]}]})

    where: str = Field(description="A condition in SQL, as after WHERE.", examples=["delay IS NULL"])
    params: list[Any] | dict[str, Any] = Field(default_factory=list)


class Deleted(BaseModel):
    """`version` is the current one once the rows were gone; the same as before if there were none."""

    dataset: str = Field(examples=["flights"])
    deleted_rows: int = Field(examples=[112])
    version: int = Field(examples=[4])


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


class Job(BaseModel):
    """`progress` is between 0 and 1 within the phase, null where the total is not known. The rates are
    those of the last seconds; of a job that has ended, those of its last attempt."""

    id: str = Field(examples=["6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69"])
    href: str = Field(examples=["/api/v1/ingestions/6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69"])
    task: Literal["ingest", "compact", "vacuum", "profile", "check"] = "ingest"
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
    result: dict[str, int] | CheckResult | None = Field(
        None, description="What maintenance has done, in numbers; what a check has found."
    )
    error: Failure | None = None
    actor: str = Field(examples=["local"])
    attempt: int = Field(0, examples=[1])
    retry_of: str | None = Field(None, description="The job that this one repeats.")
    created_at: datetime = Field(examples=[_EXAMPLE_TIME])
    started_at: datetime | None = None
    finished_at: datetime | None = None


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
    time: datetime = Field(examples=[_EXAMPLE_TIME])
    level: Literal["info", "warning", "error"] = "info"
    phase: str | None = Field(None, examples=["parsing"])
    attempt: int = Field(examples=[1])
    message: str = Field(examples=["parsing"])


class JobLog(Page):
    """Oldest first. `next` leads on also where a job that runs may have more to say later."""

    items: list[JobLogLine]


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


class Preview(BaseModel):
    """What an ingestion would make of a source. `options` are those of the request with those that were
    found out; `rows` are written as in JSON results."""

    format: str = Field(examples=["csv"])
    options: dict[str, Any] = Field(examples=[{"delimiter": ";", "header": True, "encoding": "utf-8"}])
    columns: list[Column]
    rows: list[dict[str, Any]]
    sampled: bool = Field(description="Whether there is more than was looked at, which may change types.")
    warnings: list[str] = Field(description="Where a column may not be what it looks like.")


class Upload(BaseModel):
    """`offset` is how many bytes have arrived: where the next part goes."""

    id: str = Field(examples=["6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69"])
    href: str = Field(examples=["/api/v1/uploads/6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69"])
    name: str = Field(description="What errors call it.", examples=["zipcodes.csv.gz"])
    offset: int = Field(examples=[1048576])
    size_bytes: int | None = Field(None, description="If it was announced.", examples=[2018388])
    complete: bool = Field(description="Whether it can be ingested.")
    actor: str = Field(examples=["local"])
    created_at: datetime = Field(examples=[_EXAMPLE_TIME])
    expires_at: datetime = Field(
        description="When it is forgotten if nothing more arrives.", examples=[_EXAMPLE_TIME]
    )


class UploadPage(Page):
    """Newest first."""

    items: list[Upload]


class SourceKind(BaseModel):
    """`fields` is the JSON schema of what goes into `source`, next to `kind`."""

    kind: str = Field(examples=["http"])
    fields: dict[str, Any]


class SourcePage(BaseModel):
    items: list[SourceKind]


class QueryRequest(Request):
    """`params` is a list for `?` and `$1`, an object for `$name`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "sql": "SELECT origin, count(*) AS n FROM flights WHERE delay > ? GROUP BY ALL",
                    "params": [60],
                    "limit": 10,
                },
                {
                    "sql": 'SELECT count(*) AS n FROM "flights@v1" WHERE origin = $origin',
                    "params": {"origin": "SEA"},
                },
            ]
        }
    )

    sql: str = Field(description='One statement. Datasets are tables; "name@v3" is one of their versions.')
    params: list[Any] | dict[str, Any] = Field(default_factory=list)
    limit: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(None, description="At most so many rows.")


class ResultColumn(BaseModel):
    """`type` is the Arrow type. A second column of the same name is called `name_1`, and so on."""

    name: str = Field(examples=["n"])
    type: str = Field(examples=["int64"])


class QueryResult(BaseModel):
    """A result in JSON. `rows` hold the values by column name; see the reference for their form.

    `row_count` comes last: a body without it was cut off. Statements that change something tell
    `affected_rows` where that is known.
    """

    query_id: str
    datasets: dict[str, int] = Field(description="The version that was read of each dataset.")
    affected_rows: int | None = None
    columns: list[ResultColumn]
    rows: list[dict[str, Any]]
    row_count: int


class Query(BaseModel):
    """A statement that runs or ran in this process, whichever door it came through."""

    id: str = Field(examples=["9b0e6c0a7f0e4a8e8a4f4f7f3e2d1c0b"])
    sql: str = Field(examples=["SELECT count(*) FROM flights"])
    actor: str = Field(examples=["local"])
    door: str = Field(examples=["http"])
    state: Literal["planned", "queued", "running", "succeeded", "failed", "cancelled"]
    rows: int = Field(description="Produced so far.", examples=[1])
    size_bytes: int = Field(description="Produced so far, as Arrow.", examples=[8])
    progress: float | None = Field(
        None, description="How far the engine is, from 0 to 1; null where it cannot tell.", examples=[0.42]
    )
    consumer_lag_s: float | None = Field(
        None, description="How long the latest batch has been with the client; null while the engine works."
    )
    cached: bool = Field(False, description="Whether its result came from the result cache.")
    datasets: dict[str, int] = Field(description="The version that it reads of each dataset.")
    error: str | None = Field(None, description="The code of its failure.")
    created_at: datetime = Field(examples=[_EXAMPLE_TIME])
    finished_at: datetime | None = None


class QueryPage(BaseModel):
    """Newest first. `next` is the path of the following page, if there is one."""

    items: list[Query]
    next: str | None = None


class About(BaseModel):
    """What runs here. `flight_uri` is null where this process does not know of a Flight server."""

    name: Literal["skein"] = "skein"
    version: str = Field(examples=["0.1.0"])
    flight_uri: str | None = Field(None, examples=["grpc://127.0.0.1:8815"])


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    version: str = Field(examples=["0.1.0"])


class Readiness(BaseModel):
    """`checks` tells of each part whether it works: `ok`, or what is wrong."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str] = Field(examples=[{"catalog": "ok", "engine": "ok", "disk": "ok"}])
