"""Credentials that have a name, so that nobody has to write them down in a request."""

from typing import Protocol


class Secrets(Protocol):
    """Read anew with every call: secrets may be changed while the server runs."""

    def require(self, name: str) -> None:
        """
        Raises:
            SecretNotFound: there is none of that name.
        """

    def value(self, name: str, *, host: str) -> str:
        """The secret, to be sent to `host` and to be kept nowhere.

        Raises:
            SecretNotFound
            SourceNotAllowed: it is meant for other hosts.
        """
