"""Tokens and users, through a server or on the data directory itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from control_api.options import AccessUseCases
from flight_core.domain.access import LOCAL, Scope
from schemas.tokens import CreatedToken, Token, TokenPage, TokenRequest
from schemas.users import User, UserPage, UserRequest
from skein.cli.client import Api, connect, path_of
from skein.directory import DataDirectory
from skein.settings import load_settings


class Desk(Protocol):
    def create_token(self, request: TokenRequest) -> CreatedToken: ...
    def list_tokens(self) -> Sequence[Token]: ...
    def revoke_token(self, token_id: str) -> None: ...
    def add_user(self, request: UserRequest) -> User: ...
    def list_users(self) -> Sequence[User]: ...
    def remove_user(self, name: str) -> None: ...
    def change_password(self, name: str, password: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Remote:
    api: Api

    def create_token(self, request: TokenRequest) -> CreatedToken:
        return self.api.post(CreatedToken, path_of("tokens"), request.model_dump(mode="json"))

    def list_tokens(self) -> Sequence[Token]:
        return self.api.get(TokenPage, path_of("tokens")).items

    def revoke_token(self, token_id: str) -> None:
        self.api.delete(path_of("tokens", token_id))

    def add_user(self, request: UserRequest) -> User:
        body = request.model_dump(mode="json") | {"password": request.password.get_secret_value()}
        return self.api.post(User, path_of("users"), body)

    def list_users(self) -> Sequence[User]:
        return self.api.get(UserPage, path_of("users")).items

    def remove_user(self, name: str) -> None:
        self.api.delete(path_of("users", name))

    def change_password(self, name: str, password: str) -> None:
        self.api.command("PUT", path_of("users", name, "password"), {"password": password})


@dataclass(frozen=True, slots=True)
class _Offline:
    """Who may write to the data directory is its administrator."""

    access: AccessUseCases

    def create_token(self, request: TokenRequest) -> CreatedToken:
        made, secret = self.access.create_token(
            request.name,
            actor=LOCAL,
            scopes=frozenset(map(Scope, request.scopes)),
            datasets=tuple(request.datasets),
            expires_at=request.expires_at,
        )
        return CreatedToken(**asdict(made), token=secret)

    def list_tokens(self) -> Sequence[Token]:
        return [Token(**asdict(each)) for each in self.access.list_tokens(actor=LOCAL)]

    def revoke_token(self, token_id: str) -> None:
        self.access.revoke_token(token_id, actor=LOCAL)

    def add_user(self, request: UserRequest) -> User:
        user = self.access.add_user(
            request.name,
            password=request.password.get_secret_value(),
            actor=LOCAL,
            scopes=frozenset(map(Scope, request.scopes)),
            datasets=tuple(request.datasets),
        )
        return User(**asdict(user))

    def list_users(self) -> Sequence[User]:
        return [User(**asdict(each)) for each in self.access.list_users(actor=LOCAL)]

    def remove_user(self, name: str) -> None:
        self.access.remove_user(name, actor=LOCAL)

    def change_password(self, name: str, password: str) -> None:
        self.access.change_password(name, password=password, actor=LOCAL)


@contextmanager
def desk(server: str | None, data: Path | None, *, offline: bool) -> Iterator[Desk]:
    if not offline:
        with connect(server, data) as api:
            yield _Remote(api)
        return
    from skein.wiring.access import open_access

    settings = load_settings(data=data)
    directory = DataDirectory(settings.data)
    directory.prepare()
    with open_access(settings, directory) as access:
        yield _Offline(access)
