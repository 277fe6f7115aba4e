"""Who may come in: tokens, users, and what the settings name."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from control_api.options import TokenUseCases
from flight_core.adapters.authentication.static import StaticAuthenticator
from flight_core.adapters.authentication.stored import StoredAuthenticator
from flight_core.adapters.catalog.tokens import SqlTokenRepository
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.tokens import CreateToken, ListTokens, RevokeToken
from flight_core.domain.tokens import TokenRepository
from flight_core.infrastructure.database import Database
from skein.directory import DataDirectory
from skein.settings import Settings
from skein.wiring.parts import Parts, catalog_url


def authenticator(parts: Parts) -> StoredAuthenticator:
    settings = parts.settings
    configured = StaticAuthenticator(
        settings.credentials("users"),
        settings.credentials("tokens"),
        key=parts.key,
        session_ttl_s=settings.session_ttl_s,
    )
    return StoredAuthenticator(configured, parts.tokens, utc_now)


def token_use_cases(tokens: TokenRepository) -> TokenUseCases:
    return TokenUseCases(
        CreateToken(tokens, utc_now, new_id), ListTokens(tokens), RevokeToken(tokens, utc_now)
    )


@contextmanager
def open_tokens(settings: Settings, directory: DataDirectory) -> Iterator[TokenUseCases]:
    """Beside the servers of the data directory, or before there are any."""
    database = Database(catalog_url(settings, directory))
    with closing(database):
        database.migrate()
        yield token_use_cases(SqlTokenRepository(database))
