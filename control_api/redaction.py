"""Showing what a source is without what gets one in."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

HIDDEN = "***"

_CREDENTIAL = re.compile(
    r"auth|token|secret|passw|passphrase|pwd|credential|key|sig|cookie|session|bearer|jwt", re.IGNORECASE
)
_OF_REQUESTS = frozenset({"headers", "db_kwargs", "options"})  # whose texts may all be credentials


def redacted(value: Any, name: str = "", *, inside: bool = False) -> Any:
    """`value` with credentials hidden: in URLs, under names that sound like it, and in all headers.

    Names of secrets stay: `{"secret": "my-token"}` tells nothing.
    """
    if isinstance(value, Mapping):
        if set(value) <= {"secret", "prefix"} and "secret" in value:
            return dict(value)
        inside = inside or name in _OF_REQUESTS
        return {str(key): redacted(each, str(key), inside=inside) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(each, name, inside=inside) for each in value]
    if isinstance(value, str):
        return HIDDEN if inside or _CREDENTIAL.search(name) else _without_credentials(value)
    return value


def _without_credentials(text: str) -> str:
    """A URL without user, password and the values of its query; any other text as it is."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return HIDDEN
    query = re.sub(r"=[^&]*", f"={HIDDEN}", parts.query)
    return parts._replace(netloc=host, query=query, fragment="").geturl()
