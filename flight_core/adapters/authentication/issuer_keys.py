"""The public keys of an OpenID Connect issuer, fetched on demand and cached."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import jwt

from flight_core.domain.errors import DependencyFailed, Unauthenticated

logger = logging.getLogger(__name__)

_FRESH_S = 3600.0
_STALE_S = 86_400.0
_AGAIN_S = 10.0  # between two fetches, so that tokens with unknown keys cannot cause more
_TIMEOUT_S = 5.0
_MAX_BYTES = 1 << 20
_KINDS = frozenset({"RSA", "EC", "OKP"})


class IssuerKeys:
    """Fetches the key set every hour, and when a token names an unknown key, since issuers rotate their keys.
    If the issuer does not answer, keys stay valid for a day. Thread-safe."""

    def __init__(
        self,
        issuer: str,
        jwks_url: str | None,
        now: Callable[[], float] = time.monotonic,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._issuer = issuer.rstrip("/")
        self._jwks_url = jwks_url
        self._now = now
        self._http = httpx.Client(timeout=_TIMEOUT_S, trust_env=False, transport=transport)
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")

    def close(self) -> None:
        self._http.close()

    def find(self, kid: object) -> jwt.PyJWK:
        """The key with that id. If the token names none, the only key.

        Raises:
            Unauthenticated: there is no such key.
            DependencyFailed: the keys were never fetched, or too long ago, and the issuer does not answer.
        """
        if self._age_s() > _STALE_S or self._known(kid) is None:
            self._fetch(wait=True)
        elif self._age_s() > _FRESH_S:
            self._fetch(wait=False)
        if self._age_s() > _STALE_S:
            raise DependencyFailed(f"the keys of the issuer '{self._issuer}' cannot be fetched; try again")
        key = self._known(kid)
        if key is None:
            raise Unauthenticated("the token is signed with a key that its issuer does not name")
        return key

    def _age_s(self) -> float:
        return self._now() - self._fetched_at

    def _known(self, kid: object) -> jwt.PyJWK | None:
        keys = self._keys
        if kid is None:
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(str(kid))

    def _fetch(self, *, wait: bool) -> None:
        """Fetch the keys, unless that was tried a moment ago. One thread does it; others wait for it, if they
        are to."""
        asked_at = self._now()
        if not self._lock.acquire(blocking=wait):
            return
        try:
            if self._fetched_at >= asked_at or self._now() - self._tried_at < _AGAIN_S:
                return
            self._tried_at = self._now()
            self._replace_keys()
        finally:
            self._lock.release()

    def _replace_keys(self) -> None:
        try:
            self._keys = _usable(self._document(self._jwks_url or self._discovered()))
            self._fetched_at = self._now()
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            about = {"issuer": self._issuer, "error": str(error)}
            logger.warning("the keys of the issuer were not fetched", extra=about)

    def _discovered(self) -> str:
        document = self._document(f"{self._issuer}/.well-known/openid-configuration")
        if str(document["issuer"]).rstrip("/") != self._issuer:
            raise ValueError(f"the document is that of the issuer {document['issuer']!r:.200}")
        return str(document["jwks_uri"])

    def _document(self, url: str) -> Mapping[str, Any]:
        with self._http.stream("GET", url) as response:
            response.raise_for_status()
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise ValueError(f"more than {_MAX_BYTES:,} bytes")
        document: Mapping[str, Any] = httpx.Response(200, content=body).json()
        return document


def _usable(key_set: Mapping[str, Any]) -> dict[str, jwt.PyJWK]:
    """The keys that can verify signatures, by id."""
    keys = {}
    for number, key in enumerate(key_set["keys"]):
        if key.get("kty") in _KINDS and key.get("use", "sig") == "sig":
            try:
                keys[str(key.get("kid", number))] = jwt.PyJWK(key)
            except jwt.PyJWTError:  # an unsupported kind of key
                logger.info("a key of the issuer cannot be used", extra={"kid": str(key.get("kid"))[:80]})
    return keys
