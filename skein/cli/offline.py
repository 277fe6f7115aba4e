"""Tokens, users and the audit log in the data directory itself, without a server."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from control_api import answers, requests
from control_api.options import AccessUseCases
from flight_core.domain.access import LOCAL, Origin
from flight_core.domain.audit import AuditFilter, Decision
from schemas.audit import AuditEntry
from schemas.tokens import CreatedToken, Token, TokenRequest
from schemas.users import User, UserRequest
from skein.directory import DataDirectory
from skein.settings import load_settings
from skein.wiring.access import open_access

OPERATOR = replace(LOCAL, origin=Origin("cli"))  # who may write to the data directory


@dataclass(frozen=True, slots=True)
class Offline:
    access: AccessUseCases

    def create_token(self, request: TokenRequest) -> CreatedToken:
        made, secret = self.access.create_token(
            request.name, actor=OPERATOR, expires_at=request.expires_at, **requests.grant(request)
        )
        return answers.created_token(made, secret)

    def list_tokens(self) -> Sequence[Token]:
        return list(map(answers.token, self.access.list_tokens(actor=OPERATOR)))

    def revoke_token(self, token_id: str) -> None:
        self.access.revoke_token(token_id, actor=OPERATOR)

    def add_user(self, request: UserRequest) -> User:
        user = self.access.add_user(
            request.name,
            password=request.password.get_secret_value(),
            actor=OPERATOR,
            **requests.grant(request),
        )
        return answers.user(user)

    def list_users(self) -> Sequence[User]:
        return list(map(answers.user, self.access.list_users(actor=OPERATOR)))

    def remove_user(self, name: str) -> None:
        self.access.remove_user(name, actor=OPERATOR)

    def change_password(self, name: str, password: str) -> None:
        self.access.change_password(name, password=password, actor=OPERATOR)

    def audit(self, wanted: Mapping[str, str | None], limit: int) -> Sequence[AuditEntry]:
        decision = wanted["decision"]
        chosen = AuditFilter(
            wanted["actor"], wanted["action"], Decision(decision) if decision else None, wanted["dataset"]
        )
        return list(map(answers.audit_entry, self.access.read_audit(chosen, actor=OPERATOR, limit=limit)))


@contextmanager
def open_offline(data: Path | None) -> Iterator[Offline]:
    settings = load_settings(data=data)
    directory = DataDirectory(settings.data)
    directory.prepare()
    with open_access(settings, directory) as access:
        yield Offline(access)
