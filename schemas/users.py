"""Users, over HTTP."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from schemas.http import Page, Request
from schemas.tokens import Limits, ScopeName


class UserRequest(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "ann", "password": "correct horse", "scopes": ["read"], "datasets": ["sales_*"]}
            ]
        }
    )

    name: str = Field(description="What they log in with.", examples=["ann"])
    password: SecretStr = Field(description="8 to 1024 characters.", examples=["correct horse"])
    scopes: list[ScopeName] = Field(min_length=1, description="What they may do.", examples=[["read"]])
    datasets: list[str] = Field(
        ["*"], min_length=1, max_length=100, description="Patterns of the datasets that they may touch."
    )
    limits: Limits = Field(Limits(), description="How much they may use.")


class PasswordRequest(Request):
    password: SecretStr = Field(description="The new one.", examples=["battery staple"])
    current: SecretStr | None = Field(
        None, description="The present one; administrators need not know it.", examples=["correct horse"]
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
