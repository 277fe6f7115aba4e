"""What `skein token ...` does, through a server or on the data directory itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import typer

from control_api.options import TokenUseCases
from flight_core.domain.access import LOCAL, Scope
from schemas.tokens import CreatedToken, Token, TokenPage, TokenRequest
from skein.cli.client import Api, connect, path_of
from skein.cli.tables import Column, show_table
from skein.cli.wording import as_json, when
from skein.directory import DataDirectory
from skein.settings import load_settings


class Desk(Protocol):
    def create(self, request: TokenRequest) -> CreatedToken: ...
    def list(self) -> Sequence[Token]: ...
    def revoke(self, token_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Remote:
    api: Api

    def create(self, request: TokenRequest) -> CreatedToken:
        return self.api.post(CreatedToken, path_of("tokens"), request.model_dump(mode="json"))

    def list(self) -> Sequence[Token]:
        return self.api.get(TokenPage, path_of("tokens")).items

    def revoke(self, token_id: str) -> None:
        self.api.delete(path_of("tokens", token_id))


@dataclass(frozen=True, slots=True)
class _Offline:
    tokens: TokenUseCases

    def create(self, request: TokenRequest) -> CreatedToken:
        made, secret = self.tokens.create(
            request.name,
            actor=LOCAL,
            scopes=frozenset(map(Scope, request.scopes)),
            datasets=tuple(request.datasets),
            expires_at=request.expires_at,
        )
        return CreatedToken(**asdict(made), token=secret)

    def list(self) -> Sequence[Token]:
        return [Token(**asdict(each)) for each in self.tokens.list(actor=LOCAL)]

    def revoke(self, token_id: str) -> None:
        self.tokens.revoke(token_id, actor=LOCAL)


@contextmanager
def desk(server: str | None, data: Path | None, *, offline: bool) -> Iterator[Desk]:
    if not offline:
        with connect(server, data) as api:
            yield _Remote(api)
        return
    from skein.wiring.access import open_tokens

    settings = load_settings(data=data)
    directory = DataDirectory(settings.data)
    directory.prepare()
    with open_tokens(settings, directory) as tokens:
        yield _Offline(tokens)


def create(
    tokens: Desk,
    name: str,
    scopes: Sequence[str],
    datasets: Sequence[str],
    ttl_s: float | None,
    *,
    json: bool,
) -> None:
    expires_at = None if ttl_s is None else datetime.now(UTC) + timedelta(seconds=ttl_s)
    request = TokenRequest.model_validate(
        {"name": name, "scopes": scopes, "datasets": datasets, "expires_at": expires_at}
    )
    made = tokens.create(request)
    if json:
        typer.echo(as_json(made))
        return
    typer.echo(f"token {made.id} for '{made.name}'; keep it, it is not told again:", err=True)
    typer.echo(made.token)


def show(tokens: Desk, *, json: bool) -> None:
    found = tokens.list()
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


def revoke(tokens: Desk, token_id: str) -> None:
    tokens.revoke(token_id)
    typer.echo(f"revoked {token_id}")


def _state(token: Token) -> str:
    if token.revoked_at is not None:
        return "revoked"
    expired = token.expires_at is not None and token.expires_at <= datetime.now(UTC)
    return "expired" if expired else "good"
