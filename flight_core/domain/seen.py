"""People of an issuer, as they were when they last showed a good token."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """`name` is that of the actor. `grant` is the value of the claim that counted: what it stands for is
    said by the settings, which may change. `until`: what they asked for goes on."""

    name: str
    issuer: str
    grant: str
    until: datetime
