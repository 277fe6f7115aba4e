"""What `skein token ...` prints."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import typer

from schemas.tokens import Token, TokenRequest
from skein.cli.access import Desk
from skein.cli.terminal.tables import show_items
from skein.cli.terminal.wording import as_json, when


def create(access: Desk, name: str, grant: Mapping[str, object], ttl_s: float | None, *, json: bool) -> None:
    expires_at = None if ttl_s is None else datetime.now(UTC) + timedelta(seconds=ttl_s)
    request = TokenRequest.model_validate({"name": name, "expires_at": expires_at, **grant})
    made = access.create_token(request)
    if json:
        typer.echo(as_json(made))
        return
    typer.echo(f"token {made.id} for '{made.name}'; keep it, it is not told again:", err=True)
    typer.echo(made.token)


def show(access: Desk, *, json: bool) -> None:
    show_items(
        access.list_tokens(),
        {
            "id": lambda token: token.id,
            "name": lambda token: token.name,
            "scopes": lambda token: "+".join(token.scopes),
            "datasets": lambda token: " ".join(token.datasets),
            "created": lambda token: when(token.created_at),
            "expires": lambda token: _when(token.expires_at),
            "last used": lambda token: _when(token.last_used_at),
            "state": _state,
        },
        json=json,
    )


def _when(moment: datetime | None) -> str:
    return "never" if moment is None else when(moment)


def revoke(access: Desk, token_id: str) -> None:
    access.revoke_token(token_id)
    typer.echo(f"revoked {token_id}")


def _state(token: Token) -> str:
    if token.revoked_at is not None:
        return "revoked"
    expired = token.expires_at is not None and token.expires_at <= datetime.now(UTC)
    return "expired" if expired else "good"
