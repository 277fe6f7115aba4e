"""Tokens and users, through a server or on the data directory itself."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from control_api.options import AccessUseCases
from flight_core.domain.access import LOCAL, Origin, Scope
from flight_core.domain.audit import AuditFilter, Decision
from flight_core.domain.limits import Limits
from schemas.audit import AuditEntry, AuditPage
from schemas.tokens import CreatedToken, Token, TokenPage, TokenRequest
from schemas.users import User, UserPage, UserRequest
from skein.cli.remote.client import Api, connect, path_of
from skein.directory import DataDirectory
from skein.settings import load_settings

OPERATOR = replace(LOCAL, origin=Origin("cli"))  # who may write to the data directory


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


@dataclass(frozen=True, slots=True)
class _Offline:
    access: AccessUseCases

    def create_token(self, request: TokenRequest) -> CreatedToken:
        made, secret = self.access.create_token(
            request.name,
            actor=OPERATOR,
            scopes=frozenset(map(Scope, request.scopes)),
            datasets=tuple(request.datasets),
            expires_at=request.expires_at,
            limits=Limits(**request.limits.model_dump()),
        )
        return CreatedToken(**asdict(made), token=secret)

    def list_tokens(self) -> Sequence[Token]:
        return [Token(**asdict(each)) for each in self.access.list_tokens(actor=OPERATOR)]

    def revoke_token(self, token_id: str) -> None:
        self.access.revoke_token(token_id, actor=OPERATOR)

    def add_user(self, request: UserRequest) -> User:
        user = self.access.add_user(
            request.name,
            password=request.password.get_secret_value(),
            actor=OPERATOR,
            scopes=frozenset(map(Scope, request.scopes)),
            datasets=tuple(request.datasets),
            limits=Limits(**request.limits.model_dump()),
        )
        return User(**asdict(user))

    def list_users(self) -> Sequence[User]:
        return [User(**asdict(each)) for each in self.access.list_users(actor=OPERATOR)]

    def remove_user(self, name: str) -> None:
        self.access.remove_user(name, actor=OPERATOR)

    def change_password(self, name: str, password: str) -> None:
        self.access.change_password(name, password=password, actor=OPERATOR)

    def audit(self, wanted: Mapping[str, str | None], limit: int) -> Sequence[AuditEntry]:
        from control_api.answers import audit_entry

        decision = wanted["decision"]
        chosen = AuditFilter(
            wanted["actor"], wanted["action"], Decision(decision) if decision else None, wanted["dataset"]
        )
        return [audit_entry(each) for each in self.access.read_audit(chosen, actor=OPERATOR, limit=limit)]


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
