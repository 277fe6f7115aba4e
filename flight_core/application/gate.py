"""Letting callers in, the same way at every door."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from flight_core.application.access_watch import AccessWatch
from flight_core.application.audit import AuditLog, code_of, decision_of
from flight_core.application.ports.authentication import Authenticator
from flight_core.domain.access import Actor, Origin
from flight_core.domain.audit import AuditEntry, Decision
from flight_core.domain.errors import FlightCoreError, Unauthenticated


@dataclass(frozen=True, slots=True)
class Token:
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Password:
    user: str
    secret: str = field(repr=False)


Shown = Token | Password | None


class Gate:
    """Recognises who comes in at a door, and notes whom it keeps out.

    Raises as `Authenticator`; Unauthenticated where credentials are needed and none are shown.
    """

    def __init__(self, authenticator: Authenticator, audit: AuditLog) -> None:
        self.authenticator = authenticator
        self._audit = audit
        self._watch: AccessWatch[Shown] = AccessWatch(self._recognised)

    @property
    def open(self) -> bool:
        """Whether everybody comes in, whatever they show."""
        return self.authenticator.anonymous is not None

    def __call__(self, shown: Shown, *, door: str, address: str = "") -> Actor:
        came = Origin(door, address)
        try:
            actor = self._recognised(shown, address)
        except FlightCoreError as refusal:
            name = shown.user if isinstance(shown, Password) else ""
            self._note(name, came, decision_of(refusal), code_of(refusal))
            raise
        return replace(actor, origin=replace(came, credential=actor.origin.credential))

    def session_token(self, actor: Actor) -> str:
        """For somebody who has just shown a password, see `Authenticator.issue_token`."""
        self._note(actor.name, actor.origin, Decision.ALLOWED, "")
        return self.authenticator.issue_token(actor)

    def hold(self, shown: Shown, end: Callable[[Unauthenticated], None]) -> Callable[[], None]:
        """Have `end` called, from another thread, should what was shown become worthless before what this
        returns is called."""
        return self._watch.hold(shown, end)

    def turned_away(self, code: str, *, door: str, address: str) -> None:
        """Somebody came in a way that no credentials make good."""
        self._note("", Origin(door, address), Decision.REFUSED, code)

    def _recognised(self, shown: Shown, address: str = "") -> Actor:
        anonymous = self.authenticator.anonymous
        if anonymous is not None:
            return anonymous
        match shown:
            case Token():
                return self.authenticator.authenticate_token(shown.secret)
            case Password():
                return self.authenticator.authenticate_password(shown.user, shown.secret, address=address)
        raise Unauthenticated(
            "this server wants credentials: send the header 'authorization: Bearer <token>', or Basic with a"
            " user and a password"
        )

    def _note(self, name: str, came: Origin, decision: Decision, code: str) -> None:
        entry = AuditEntry(self._audit.clock(), name[:64], came, "log_in", decision, code=code)
        self._audit.note(entry)
