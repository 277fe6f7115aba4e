"""The audit log, over HTTP."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from schemas.http import Page


class AuditEntry(BaseModel):
    seq: int
    at: datetime
    actor: str = Field(description="Who asked; empty if not known.", examples=["dashboard"])
    credential: str = Field(
        description="The credential that identified the actor.", examples=["token/01982f4e7c1b"]
    )
    door: str = Field(description="`http`, `websocket`, `flight`, `flight_sql` or `cli`.", examples=["http"])
    address: str = Field(description="The network address of the client; empty if not known.")
    action: str = Field(description="What was asked for.", examples=["open_query"])
    decision: Literal["allowed", "refused", "failed"] = Field(
        description="`failed`: allowed, but it did not succeed for another reason."
    )
    subject: str = Field(description="The id or name of the statement, job, token and so on.")
    datasets: list[str] = Field(description="The datasets named or read.", examples=[["sales_eu"]])
    code: str = Field(
        description="The code of the failure; empty without one.", examples=["permission_denied"]
    )
    count: int = Field(description="How many times the same happened within a second.")


class AuditPage(Page):
    """Newest first."""

    items: list[AuditEntry]
