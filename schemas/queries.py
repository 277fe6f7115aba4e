"""SQL over HTTP, and the statements that run or ran."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.http import EXAMPLE_TIME, Page, Request


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
    offset: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="After passing over so many.")


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
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    finished_at: datetime | None = None


class QueryPage(Page):
    """Newest first."""

    items: list[Query]
