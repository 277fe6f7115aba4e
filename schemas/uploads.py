"""Uploads over HTTP."""

from datetime import datetime

from pydantic import BaseModel, Field

from schemas.http import EXAMPLE_TIME, Page


class Upload(BaseModel):
    """`offset` is the number of bytes received, where the next part has to start."""

    id: str = Field(examples=["6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69"])
    href: str = Field(examples=["/api/v1/uploads/6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69"])
    name: str = Field(description="The file name used in error messages.", examples=["zipcodes.csv.gz"])
    offset: int = Field(examples=[1048576])
    size_bytes: int | None = Field(None, description="The total size, if announced.", examples=[2018388])
    complete: bool = Field(description="Whether all bytes have arrived, so that it can be ingested.")
    actor: str = Field(examples=["local"])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    expires_at: datetime = Field(
        description="When it is deleted if nothing more arrives.", examples=[EXAMPLE_TIME]
    )


class UploadPage(Page):
    """Newest first."""

    items: list[Upload]
