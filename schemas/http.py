"""What requests and replies over HTTP, `/api/v1`, have in common."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

API = "/api/v1"
EXAMPLE_TIME = "2026-01-31T12:00:00Z"


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
