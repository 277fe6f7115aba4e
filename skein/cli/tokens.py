"""What `skein token ...` prints."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import typer

from schemas.tokens import Token, TokenRequest
from skein.cli.access import Desk
from skein.cli.terminal.tables import Column, show_table
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
    found = access.list_tokens()
    if json:
        typer.echo(as_json(found))
        return
    titles = ("id", "name", "scopes", "datasets", "created", "expires", "last used", "state")
    show_table(
        [Column(title) for title in titles],
        [
            (
                each.id,
                each.name,
                "+".join(each.scopes),
                " ".join(each.datasets),
                when(each.created_at),
                "never" if each.expires_at is None else when(each.expires_at),
                "never" if each.last_used_at is None else when(each.last_used_at),
                _state(each),
            )
            for each in found
        ],
    )


def revoke(access: Desk, token_id: str) -> None:
    access.revoke_token(token_id)
    typer.echo(f"revoked {token_id}")


def _state(token: Token) -> str:
    if token.revoked_at is not None:
        return "revoked"
    expired = token.expires_at is not None and token.expires_at <= datetime.now(UTC)
    return "expired" if expired else "good"
