"""API tokens, over HTTP."""

from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.http import Page, Request

ScopeName = Literal["read", "ingest", "write", "admin"]


class Limits(BaseModel):
    """What is left out is as the settings have it for everybody."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"queries": 4, "rows": 1_000_000}]}
    )

    queries: int | None = Field(default=None, gt=0, description="That run at the same time.")
    rows: int | None = Field(default=None, gt=0, description="Of one result.")
    result_bytes: int | None = Field(default=None, gt=0, description="Of one result, as Arrow.")
    memory_bytes: int | None = Field(default=None, ge=64 << 20, description="Of who may only read.")
    requests_per_s: float | None = Field(default=None, gt=0, description="Each call of Flight is one, too.")


class TokenRequest(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "dashboard", "scopes": ["read"], "datasets": ["sales_*"]},
                {"name": "nightly-load", "scopes": ["read", "ingest"], "expires_at": "2031-01-31T12:00:00Z"},
            ]
        }
    )

    name: str = Field(description="Who its holder is, in logs and lists.", examples=["dashboard"])
    scopes: list[ScopeName] = Field(min_length=1, description="What it is good for.", examples=[["read"]])
    datasets: list[str] = Field(
        ["*"], min_length=1, max_length=100, description="Patterns of the datasets that it is for."
    )
    expires_at: AwareDatetime | None = Field(None, description="Never, if left out.")
    limits: Limits = Field(Limits(), description="How much it may use.")


class Token(BaseModel):
    id: str
    name: str = Field(examples=["dashboard"])
    scopes: list[ScopeName] = Field(examples=[["read"]])
    datasets: list[str] = Field(examples=[["sales_*"]])
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    limits: Limits


class CreatedToken(Token):
    token: str | None = Field(description="The secret; it is not told again.")


class TokenPage(Page):
    items: list[Token]
