"""API tokens, over HTTP."""

from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.http import Page, Request

ScopeName = Literal["read", "ingest", "write", "admin"]


class Limits(BaseModel):
    """For limits that are left out, the settings apply."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"queries": 4, "rows": 1_000_000}]}
    )

    queries: int | None = Field(default=None, gt=0, description="Concurrent queries.")
    rows: int | None = Field(default=None, gt=0, description="Rows of one result.")
    result_bytes: int | None = Field(default=None, gt=0, description="Bytes of one result, as Arrow.")
    memory_bytes: int | None = Field(
        default=None, ge=64 << 20, description="Memory of the SQL engine, for holders that may only read."
    )
    requests_per_s: float | None = Field(
        default=None, gt=0, description="Requests per second; each Flight call counts as one."
    )


class Granted(Request):
    """What the holder of a token, or a user, may do."""

    scopes: list[ScopeName] = Field(
        min_length=1, description="The kinds of operation allowed.", examples=[["read"]]
    )
    datasets: list[str] = Field(
        ["*"],
        min_length=1,
        max_length=100,
        description="The datasets allowed, as names or patterns.",
        examples=[["sales_*"]],
    )
    limits: Limits = Field(Limits(), description="How much may be used.")


class TokenRequest(Granted):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "dashboard", "scopes": ["read"], "datasets": ["sales_*"]},
                {"name": "nightly-load", "scopes": ["read", "ingest"], "expires_at": "2031-01-31T12:00:00Z"},
            ]
        }
    )

    name: str = Field(description="The name of its holder, in logs and lists.", examples=["dashboard"])
    expires_at: AwareDatetime | None = Field(None, description="Without it the token never expires.")


class Token(BaseModel):
    id: str
    name: str = Field(examples=["dashboard"])
    scopes: list[ScopeName] = Field(examples=[["read"]])
    datasets: list[str] = Field(examples=[["sales_*"]])
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="Accurate to the minute.")
    limits: Limits


class CreatedToken(Token):
    token: str | None = Field(description="The secret, which is not shown again.")


class TokenPage(Page):
    items: list[Token]
