"""Parts of JSON documents that only who has the key of the data directory can read."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

MARK = "skein.sealed"


@dataclass(frozen=True, slots=True)
class Private:
    """A JSON object that is stored sealed, and found again as it was."""

    value: dict[str, Any]


class Seal:
    """JSON text with `Private` objects in it, each encrypted and authenticated. Without a key, of 32 bytes,
    they are stored as they are."""

    def __init__(self, key: bytes | None) -> None:
        self._box = None if key is None else Fernet(base64.urlsafe_b64encode(key))

    def dumps(self, document: Any) -> str:
        return json.dumps(document, default=self._sealed)

    def loads(self, text: str | bytes) -> Any:
        """What was sealed with another key is an empty object: that key is gone."""
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
