"""Named secrets, so that requests need not contain credentials."""

from typing import Protocol


class Secrets(Protocol):
    """Secrets are read with every call, since they may change while the server runs."""

    def require(self, name: str) -> None:
        """
        Raises:
            SecretNotFound: there is no secret of that name.
        """

    def value(self, name: str, *, host: str) -> str:
        """The secret, which may be sent to `host` and must not be stored.

        Raises:
            SecretNotFound
            SourceNotAllowed: it may only be sent to other hosts.
        """
