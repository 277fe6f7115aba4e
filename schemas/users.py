"""Users, over HTTP."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from schemas.http import Page, Request
from schemas.tokens import Granted, Limits, ScopeName


class UserRequest(Granted):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "ann", "password": "correct horse", "scopes": ["read"], "datasets": ["sales_*"]}
            ]
        }
    )

    name: str = Field(description="The name to log in with.", examples=["ann"])
    password: SecretStr = Field(description="8 to 1024 characters.", examples=["correct horse"])


class PasswordRequest(Request):
    password: SecretStr = Field(description="The new password.", examples=["battery staple"])
    current: SecretStr | None = Field(
        None, description="The current password; not required of administrators.", examples=["correct horse"]
    )


class User(BaseModel):
    name: str = Field(examples=["ann"])
    scopes: list[ScopeName] = Field(examples=[["read"]])
    datasets: list[str] = Field(examples=[["sales_*"]])
    created_at: datetime
    created_by: str
    password_changed_at: datetime
    limits: Limits


class UserPage(Page):
    items: list[User]
