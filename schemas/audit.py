"""The audit log, over HTTP."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from schemas.http import Page


class AuditEntry(BaseModel):
    seq: int
    at: datetime
    actor: str = Field(description="Who it was; empty if nobody could tell.", examples=["dashboard"])
    credential: str = Field(description="By what they were recognised.", examples=["token/01982f4e7c1b"])
    door: str = Field(description="`http`, `websocket`, `flight`, `flight_sql` or `cli`.", examples=["http"])
    address: str = Field(description="Where they were; empty if the door does not know.")
    action: str = Field(description="What they asked for.", examples=["open_query"])
    decision: Literal["allowed", "refused", "failed"] = Field(
        description="`failed`: allowed, and then something else was wrong."
    )
    subject: str = Field(description="The id or name of the statement, the job, the token, ...")
    datasets: list[str] = Field(description="Those named, or read.", examples=[["sales_eu"]])
    code: str = Field(description="Of the failure, if there was one.", examples=["permission_denied"])
    count: int = Field(description="How often the same happened within a second.")


class AuditPage(Page):
    """Newest first."""

    items: list[AuditEntry]
