"""Knowing who is asking."""

from collections.abc import Sequence
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

    def authenticate_password(self, user: str, password: str, *, address: str = "") -> Actor:
        """`address` is where the caller is, empty where the door does not know.

        Raises:
            Unauthenticated: no such user, or another password; neither the message nor the time it took
                says which.
            TooManyRequests: too many wrong passwords, for this user from this address or from it at all.
        """

    def issue_token(self, actor: Actor) -> str:
        """A token for an actor who has just shown a password, different each time. It expires, at the
        latest with the password or the user. Nothing is stored."""


class Credentials(Protocol):
    """Whose credentials are good. Thread-safe; looks into the catalog."""

    def holders(self, name: str) -> Sequence[Actor]:
        """Who somebody of that name is now: one actor for each credential that is good."""
