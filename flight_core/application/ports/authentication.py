"""Authentication."""

from collections.abc import Sequence
from typing import Protocol

from flight_core.domain.access import Actor

# The prefix of tokens from `issue_token`. Each belongs to a single client, so it also identifies a session.
SESSION_TOKEN_PREFIX = "skein-session."  # noqa: S105 - not a secret

# The prefix of API tokens, which administrators create.
API_TOKEN_PREFIX = "skein_"  # noqa: S105 - not a secret


class Authenticator(Protocol):
    """Checks credentials against those in the settings and in the catalog. Thread-safe."""

    @property
    def anonymous(self) -> Actor | None:
        """The actor of all callers if no credentials are configured; None if some are."""

    def authenticate_token(self, token: str) -> Actor:
        """The holder of an API token, or of a token from `issue_token`.

        Raises:
            Unauthenticated: the token is unknown, forged or expired.
        """

    def authenticate_password(self, user: str, password: str, *, address: str = "") -> Actor:
        """`address` is the caller's address; empty if unknown.

        Raises:
            Unauthenticated: the user or the password is wrong; neither the message nor the time taken tells
                which.
            TooManyRequests: there were too many wrong passwords from this address.
        """

    def issue_token(self, actor: Actor) -> str:
        """A new token for an actor who has just logged in with a password. It expires after some time, and
        when the password or the user changes. Nothing is stored."""


class Credentials(Protocol):
    """The valid credentials of an actor. Thread-safe; reads the catalog."""

    def holders(self, name: str) -> Sequence[Actor]:
        """One actor of that name for each credential that is valid now."""
