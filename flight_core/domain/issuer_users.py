"""Users of an OpenID Connect issuer: what their latest valid token granted."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class IssuerUser:
    """`name` is the name of the actor. `grant` is the claim value that decided on the rights; the settings
    say which rights it stands for. `until` is how long jobs and schedules of the user go on with these
    rights."""

    name: str
    issuer: str
    grant: str
    until: datetime
