"""What runs here, and whether it works."""

from typing import Literal

from pydantic import BaseModel, Field


class About(BaseModel):
    """This server. `flight_uri` is null if this process knows of no Flight server."""

    name: Literal["skein"] = "skein"
    version: str = Field(examples=["0.1.0"])
    flight_uri: str | None = Field(None, examples=["grpc://127.0.0.1:8815"])


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    version: str = Field(examples=["0.1.0"])


class Readiness(BaseModel):
    """`checks` has the state of each part: `ok`, or what is wrong. It is empty for callers without
    credentials, if credentials are required."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str] = Field(examples=[{"catalog": "ok", "engine": "ok", "disk": "ok"}])
