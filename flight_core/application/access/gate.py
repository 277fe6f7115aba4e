"""Authentication of callers, the same for all protocols."""

from collections.abc import Callable
from dataclasses import dataclass, field

from flight_core.application.access.audit import LOG_IN, AuditLog
from flight_core.application.access.request_rate import RequestRate
from flight_core.application.access.tokens import refuse_reserved
from flight_core.application.access.watch import AccessWatch
from flight_core.application.ports.authentication import Authenticator
from flight_core.domain.access import Actor, Origin
from flight_core.domain.audit import AuditEntry, Decision
from flight_core.domain.errors import FlightCoreError, Unauthenticated
from flight_core.domain.limits import NO_LIMITS, Limits


@dataclass(frozen=True, slots=True)
class Token:
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Password:
    user: str
    secret: str = field(repr=False)


Shown = Token | Password | None


class Gate:
    """Authenticates callers, enforces their request rate, and notes refusals in the audit log.

    Raises as `Authenticator`; ReservedName; TooManyRequests; Unauthenticated if credentials are needed and
    none were sent.
    """

    def __init__(self, authenticator: Authenticator, audit: AuditLog, defaults: Limits = NO_LIMITS) -> None:
        self._defaults = defaults
        self._rate = RequestRate()
        self.authenticator = authenticator
        self._audit = audit
        self._watch: AccessWatch[tuple[Shown, Actor]] = AccessWatch(self._still_the_same)

    @property
    def open(self) -> bool:
        """Whether no credentials are needed."""
        return self.authenticator.anonymous is not None

    def __call__(self, shown: Shown, *, door: str, address: str = "") -> Actor:
        try:
            known = self._recognised(shown, address)
        except FlightCoreError as refusal:
            self._note(shown.user if isinstance(shown, Password) else "", Origin(door, address), refusal)
            raise
        origin = Origin(door, address, known.origin.credential)
        limits = known.limits.over(self._defaults)
        actor = Actor(known.name, known.scopes, known.datasets, origin, limits)
        try:
            self._rate.check(actor)
        except FlightCoreError as refusal:
            self._note(actor.name, origin, refusal)
            raise
        return actor

    def session_token(self, actor: Actor) -> str:
        """A token for an actor who has just logged in, see `Authenticator.issue_token`."""
        return self.authenticator.issue_token(actor)

    def logged_in(self, actor: Actor, address: str = "") -> None:
        """Note a successful login, with the client's address if it is known."""
        self._note(actor.name, Origin(actor.origin.door, address, actor.origin.credential), None)

    def hold(self, shown: Shown, actor: Actor, end: Callable[[Unauthenticated], None]) -> Callable[[], None]:
        """Call `end`, from another thread, if the credentials become invalid, or no longer stand for `actor`
        and its rights. Returns a function that stops the watch."""
        return self._watch.hold((shown, actor), end)

    def turned_away(self, code: str, *, door: str, address: str) -> None:
        """Note a caller that was refused for another reason than its credentials."""
        self._noted("", Origin(door, address), code)

    def _recognised(self, shown: Shown, address: str = "") -> Actor:
        anonymous = self.authenticator.anonymous
        if anonymous is not None:
            return anonymous
        match shown:
            case Token():
                return _allowed(self.authenticator.authenticate_token(shown.secret))
            case Password():
                return _allowed(
                    self.authenticator.authenticate_password(shown.user, shown.secret, address=address)
                )
        raise Unauthenticated(
            "this server wants credentials: send the header 'authorization: Bearer <token>', or Basic with a"
            " user and a password"
        )

    def _still_the_same(self, held: tuple[Shown, Actor]) -> None:
        shown, actor = held
        if self._recognised(shown) != actor:
            raise Unauthenticated("these credentials stand for other rights than before; ask again")

    def _note(self, name: str, came: Origin, refusal: FlightCoreError | None) -> None:
        self._noted(name, came, refusal.code if refusal else "")

    def _noted(self, name: str, came: Origin, code: str) -> None:
        decision = Decision.REFUSED if code else Decision.ALLOWED
        entry = AuditEntry(self._audit.clock(), name[:64], came, LOG_IN, decision, code=code)
        self._audit.note(entry)


def _allowed(actor: Actor) -> Actor:
    """New credentials cannot have a reserved name, but old ones may."""
    refuse_reserved(actor.name)
    return actor
