"""Letting callers in, the same way at every door."""

from dataclasses import dataclass, field, replace

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


@dataclass(frozen=True, slots=True)
class Gate:
    """Recognises who comes in at a door, and notes whom it keeps out.

    Raises as `Authenticator`; Unauthenticated where credentials are needed and none are shown.
    """

    authenticator: Authenticator
    audit: AuditLog

    @property
    def open(self) -> bool:
        """Whether everybody comes in, whatever they show."""
        return self.authenticator.anonymous is not None

    def __call__(self, shown: Token | Password | None, *, door: str, address: str = "") -> Actor:
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

    def turned_away(self, code: str, *, door: str, address: str) -> None:
        """Somebody came in a way that no credentials make good."""
        self._note("", Origin(door, address), Decision.REFUSED, code)

    def _recognised(self, shown: Token | Password | None, address: str) -> Actor:
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
        entry = AuditEntry(self.audit.clock(), name[:64], came, "log_in", decision, code=code)
        self.audit.note(entry)
