"""Encryption of parts of JSON documents with the key of the data directory."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

MARK = "skein.sealed"


@dataclass(frozen=True, slots=True)
class Private:
    """A JSON object that is stored encrypted, and decrypted when it is loaded."""

    value: dict[str, Any]


class Seal:
    """Serializes JSON with `Private` objects, which are encrypted and authenticated with a key of 32 bytes.
    Without a key they are stored unencrypted."""

    def __init__(self, key: bytes | None) -> None:
        self._box = None if key is None else Fernet(base64.urlsafe_b64encode(key))

    def dumps(self, document: Any) -> str:
        return json.dumps(document, default=self._sealed)

    def loads(self, text: str | bytes) -> Any:
        """Parse JSON. Objects that were encrypted with another key, which is lost, are empty."""
        return json.loads(text, object_hook=self._opened)

    def _sealed(self, private: object) -> object:
        if not isinstance(private, Private):
            raise TypeError(f"{type(private).__name__} is no JSON value")
        if self._box is None:
            return private.value
        return {MARK: self._box.encrypt(json.dumps(private.value).encode()).decode()}

    def _opened(self, found: dict[str, Any]) -> Any:
        if found.keys() != {MARK}:
            return found
        if self._box is None:
            return {}
        try:
            return json.loads(self._box.decrypt(str(found[MARK])))
        except InvalidToken:
            return {}
