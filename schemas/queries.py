"""SQL over HTTP, and the statements that run or ran."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.http import EXAMPLE_TIME, Page, Request


class QueryRequest(Request):
    """`params` is a list for `?` and `$1`, or an object for `$name`."""

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

    sql: str = Field(description='One statement. Datasets are tables; "name@v3" reads a version.')
    params: list[Any] | dict[str, Any] = Field(default_factory=list)
    limit: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        None, description="The maximum number of rows."
    )
    offset: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="How many rows to skip.")


class ResultColumn(BaseModel):
    """`type` is the Arrow type. Further columns of the same name are called `name_1` and so on."""

    name: str = Field(examples=["n"])
    type: str = Field(examples=["int64"])


class QueryResult(BaseModel):
    """A result in JSON. `rows` has the values by column name; the reference describes their form.

    `row_count` comes last: a body without it was cut off. Statements that change data have `affected_rows`,
    if it is known.
    """

    query_id: str
    datasets: dict[str, int] = Field(description="The versions read, by dataset.")
    affected_rows: int | None = None
    columns: list[ResultColumn]
    rows: list[dict[str, Any]]
    row_count: int


class Query(BaseModel):
    """A statement that is running or has ended in this process, through any door."""

    id: str = Field(examples=["9b0e6c0a7f0e4a8e8a4f4f7f3e2d1c0b"])
    sql: str = Field(examples=["SELECT count(*) FROM flights"])
    actor: str = Field(examples=["local"])
    door: str = Field(examples=["http"])
    state: Literal["planned", "queued", "running", "succeeded", "failed", "cancelled"]
    rows: int = Field(description="Rows produced so far.", examples=[1])
    size_bytes: int = Field(description="Bytes produced so far, as Arrow.", examples=[8])
    progress: float | None = Field(
        None, description="The progress of the engine, from 0 to 1; null if not known.", examples=[0.42]
    )
    consumer_lag_s: float | None = Field(
        None, description="Seconds since the client was given the latest batch; null while the engine works."
    )
    cached: bool = Field(False, description="Whether its result came from the result cache.")
    datasets: dict[str, int] = Field(description="The versions that it reads, by dataset.")
    error: str | None = Field(None, description="The code of the failure, if it failed.")
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    finished_at: datetime | None = None


class QueryPage(Page):
    """Newest first."""

    items: list[Query]
