"""Secrets in the files of a folder, or in the server's own configuration."""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from flight_core.domain.errors import SecretNotFound, SourceNotAllowed

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_MAX_BYTES = 64 << 10


@dataclass(frozen=True, slots=True, repr=False)
class NamedSecrets:
    """See `Secrets`. Files in `folder` take precedence over `values`, whose names are in lower case with `_`.

    A secret that is listed in `hosts` may only be sent to these hosts.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    hosts: Mapping[str, Set[str]] = field(default_factory=dict)

    def require(self, name: str) -> None:
        self._find(name)

    def value(self, name: str, *, host: str) -> str:
        found = self._find(name)
        hosts = self.hosts.get(_key(name))
        if hosts is not None and host.lower() not in hosts:
            raise SourceNotAllowed(
                f"the secret '{name}' may not be sent to '{host}'; an operator can allow it in"
                " SKEIN_SECRET_HOSTS",
                secret=name,
                host=host,
            )
        return found

    def _find(self, name: str) -> str:
        if _NAME.fullmatch(name):
            found = self._in_folder(name) or self.values.get(_key(name))
            if found:
                return found
        raise SecretNotFound(
            f"there is no secret '{name[:64]}'; an operator can add it as a file of SKEIN_SECRETS_DIR, or as"
            f" SKEIN_SECRET_{_key(name[:64]).upper()}",
            secret=name[:64],
        )

    def _in_folder(self, name: str) -> str | None:
        if self.folder is None:
            return None
        try:
            with (self.folder / name).open("rb") as file:
                return file.read(_MAX_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError):
            return None


def _key(name: str) -> str:
    return name.lower().replace("-", "_")
