"""Tokens and users, through a server or on the data directory itself."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from schemas.audit import AuditEntry, AuditPage
from schemas.tokens import CreatedToken, Token, TokenPage, TokenRequest
from schemas.users import User, UserPage, UserRequest
from skein.cli.remote.client import Api, connect, path_of


class Desk(Protocol):
    def create_token(self, request: TokenRequest) -> CreatedToken: ...
    def list_tokens(self) -> Sequence[Token]: ...
    def revoke_token(self, token_id: str) -> None: ...
    def add_user(self, request: UserRequest) -> User: ...
    def list_users(self) -> Sequence[User]: ...
    def remove_user(self, name: str) -> None: ...
    def change_password(self, name: str, password: str) -> None: ...
    def audit(self, wanted: Mapping[str, str | None], limit: int) -> Sequence[AuditEntry]: ...


@dataclass(frozen=True, slots=True)
class _Remote:
    api: Api

    def create_token(self, request: TokenRequest) -> CreatedToken:
        return self.api.post(CreatedToken, path_of("tokens"), request.model_dump(mode="json"))

    def list_tokens(self) -> Sequence[Token]:
        return list(self.api.items(TokenPage, path_of("tokens")))

    def revoke_token(self, token_id: str) -> None:
        self.api.delete(path_of("tokens", token_id))

    def add_user(self, request: UserRequest) -> User:
        body = request.model_dump(mode="json") | {"password": request.password.get_secret_value()}
        return self.api.post(User, path_of("users"), body)

    def list_users(self) -> Sequence[User]:
        return list(self.api.items(UserPage, path_of("users")))

    def remove_user(self, name: str) -> None:
        self.api.delete(path_of("users", name))

    def change_password(self, name: str, password: str) -> None:
        self.api.command("PUT", path_of("users", name, "password"), {"password": password})

    def audit(self, wanted: Mapping[str, str | None], limit: int) -> Sequence[AuditEntry]:
        return self.api.get(AuditPage, path_of("audit"), limit=limit, **wanted).items


@contextmanager
def desk(server: str | None, data: Path | None, *, offline: bool) -> Iterator[Desk]:
    if not offline:
        with connect(server, data) as api:
            yield _Remote(api)
        return
    from skein.cli.offline import open_offline

    with open_offline(data) as access:
        yield access
