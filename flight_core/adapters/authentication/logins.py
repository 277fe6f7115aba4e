"""Password logins of users from the settings and the catalog."""

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from flight_core.adapters.authentication.static import ConfiguredCredentials
from flight_core.application.access.login_throttle import LoginThrottle
from flight_core.application.ports.passwords import PasswordHasher
from flight_core.domain.access import Actor, Origin
from flight_core.domain.errors import TooManyRequests, Unauthenticated
from flight_core.domain.repositories.users import UserRepository

_REMEMBER_S = 60.0
_REMEMBERED = 1000
_AT_A_TIME = 2  # each hash occupies a processor
_WAIT_S = 10.0


class Logins:
    """Checks passwords. Users of the settings take precedence over those of the catalog.

    A correct password is cached for a minute, as a digest with a secret key, so that Basic credentials can be
    sent with every request. All other checks compute one hash, whether the user exists or not.
    """

    def __init__(
        self,
        configured: ConfiguredCredentials,
        users: UserRepository,
        hasher: PasswordHasher,
        throttle: LoginThrottle,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configured = configured
        self._users = users
        self._hasher = hasher
        self._throttle = throttle
        self._now = now
        self._key = secrets.token_bytes(32)
        self._decoy: str | None = None
        self._slots = threading.BoundedSemaphore(_AT_A_TIME)
        self._lock = threading.Lock()
        self._right: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def ever(self) -> bool:
        return self._users.ever()

    def proof(self, user: str) -> bytes | None:
        """A value that changes with the password; None if there is no such user."""
        known = self._known(user)
        return None if known is None else known[1]

    def actor(self, user: str) -> Actor:
        """
        Raises:
            Unauthenticated: there is no such user.
        """
        known = self._known(user)
        if known is None:
            raise _wrong()
        return replace(known[0], origin=Origin(credential=f"user/{user}"))

    def authenticate(self, user: str, password: str, address: str) -> Actor:
        """Raises as `Authenticator.authenticate_password`."""
        self._throttle.check(user, address)
        if self._remembers(user, password):
            return self.actor(user)
        if not self._slots.acquire(timeout=_WAIT_S):
            raise TooManyRequests("too many people log in at this moment; try again", retry_after_s=_WAIT_S)
        try:
            self._throttle.check(user, address)  # others may have guessed meanwhile
            if not (self._remembers(user, password) or self._right_now(user, password)):
                self._throttle.failed(user, address)
                raise _wrong()
            self._throttle.succeeded(user, address)
            return self.actor(user)
        finally:
            self._slots.release()

    def _known(self, user: str) -> tuple[Actor, bytes] | None:
        configured = self._configured.user(user)
        if configured is not None:
            return configured
        stored = self._users.by_name().get(user)
        return None if stored is None else (stored.actor, stored.password_hash.encode())

    def _right_now(self, user: str, password: str) -> bool:
        """Check the password by its hash. Takes equally long for users of the settings and for unknown
        users."""
        if self._decoy is None:
            self._decoy = self._hasher.hash(secrets.token_hex())
        configured = self._configured.user(user)
        stored = None if configured is not None else self._users.by_name().get(user)
        hash = self._decoy if stored is None else stored.password_hash
        right = self._hasher.verify(hash, password) and stored is not None
        if configured is not None:
            right = hmac.compare_digest(configured[1], self._configured.digest(password))
        if right:
            self._remember(user, password)
        return right

    def _remembers(self, user: str, password: str) -> bool:
        with self._lock:
            proof, until = self._right.get(self._digest(user, password), (b"", 0.0))
        return self._now() < until and self.proof(user) == proof

    def _remember(self, user: str, password: str) -> None:
        proof = self.proof(user)
        if proof is None:
            return
        with self._lock:
            digest = self._digest(user, password)
            self._right[digest] = (proof, self._now() + _REMEMBER_S)
            self._right.move_to_end(digest)
            while len(self._right) > _REMEMBERED:
                self._right.popitem(last=False)

    def _digest(self, user: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{len(user)}:{user}{password}".encode(), "sha256")


def _wrong() -> Unauthenticated:
    return Unauthenticated("the user or the password is wrong")
