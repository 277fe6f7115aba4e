"""Knowing who is asking."""

from typing import Protocol

from flight_core.domain.access import Actor

# What tokens made by `issue_token` begin with. One client holds each, so it also names a session.
SESSION_TOKEN_PREFIX = "skein-session."  # noqa: S105 - not a secret


# What the tokens begin with that administrators hand out.
API_TOKEN_PREFIX = "skein_"  # noqa: S105 - not a secret


class Authenticator(Protocol):
    """Checks credentials against what the operator configured. Thread-safe; may look into the catalog."""

    @property
    def anonymous(self) -> Actor | None:
        """Who everybody is where no credentials are configured; None where some are."""

    def authenticate_token(self, token: str) -> Actor:
        """The holder of an API token, or of a token that `issue_token` made.

        Raises:
            Unauthenticated: unknown, forged or expired.
        """

    def authenticate_password(self, user: str, password: str) -> Actor:
        """
        Raises:
            Unauthenticated: no such user, or another password; the message does not say which.
        """

    def issue_token(self, actor: Actor) -> str:
        """A token for `actor`, different each time, that expires. Nothing is stored."""
