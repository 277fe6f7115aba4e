"""Who may come in: tokens, users, and what the settings name."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from control_api.options import AccessUseCases
from flight_core.adapters.authentication.argon2id import Argon2Hasher
from flight_core.adapters.authentication.holders import Holders
from flight_core.adapters.authentication.logins import Logins
from flight_core.adapters.authentication.sessions import SessionTokens
from flight_core.adapters.authentication.static import ConfiguredCredentials
from flight_core.adapters.authentication.stored import StoredAuthenticator
from flight_core.application.access.audit import AuditLog, ReadAudit
from flight_core.application.access.audited import audited
from flight_core.application.access.gate import Gate
from flight_core.application.access.login_throttle import LoginThrottle
from flight_core.application.access.tokens import CreateToken, ListTokens, RevokeToken
from flight_core.application.access.users import AddUser, ChangePassword, ListUsers, RemoveUser
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.domain.limits import Limits
from skein.directory import DataDirectory
from skein.settings import Settings
from skein.wiring.catalog import Catalog, open_catalog
from skein.wiring.parts import Parts


def gate(parts: Parts) -> Gate:
    settings = parts.settings
    limits = Limits(
        queries=settings.limit_queries,
        rows=settings.limit_rows,
        result_bytes=settings.limit_result_bytes,
        requests_per_s=settings.limit_requests_per_s,
    )
    return Gate(_authenticator(parts), parts.audit, limits)


def _authenticator(parts: Parts) -> StoredAuthenticator:
    settings = parts.settings
    configured = _configured(parts)
    logins = Logins(configured, parts.catalog.users, Argon2Hasher(), LoginThrottle())
    sessions = SessionTokens(parts.directory.key_for("session tokens"), settings.session_ttl_s)
    return StoredAuthenticator(configured, parts.catalog.tokens, logins, sessions, utc_now, parts.oidc)


def holders(parts: Parts) -> Holders:
    return Holders(_configured(parts), parts.catalog.tokens, parts.catalog.users, utc_now, parts.oidc)


def _configured(parts: Parts) -> ConfiguredCredentials:
    users, tokens = (parts.settings.credentials(kind) for kind in ("users", "tokens"))
    return ConfiguredCredentials(users, tokens, key=parts.directory.key_for("configured credentials"))


def access_use_cases(catalog: Catalog, audit: AuditLog) -> AccessUseCases:
    tokens, users = catalog.tokens, catalog.users
    hasher = Argon2Hasher()
    return AccessUseCases(
        create_token=CreateToken(tokens, utc_now, new_id),
        list_tokens=ListTokens(tokens),
        revoke_token=RevokeToken(tokens, utc_now),
        add_user=AddUser(users, hasher, utc_now),
        list_users=ListUsers(users),
        remove_user=RemoveUser(users, utc_now),
        change_password=ChangePassword(users, hasher, utc_now),
        read_audit=ReadAudit(catalog.audit, audit.flush),
    )


@contextmanager
def open_access(settings: Settings, directory: DataDirectory) -> Iterator[AccessUseCases]:
    """Beside the servers of the data directory, or before there are any."""
    with (
        open_catalog(settings, directory) as catalog,
        closing(AuditLog(catalog.audit, utc_now, keep=settings.keep_audit)) as audit,
    ):
        yield audited(access_use_cases(catalog, audit), audit)
