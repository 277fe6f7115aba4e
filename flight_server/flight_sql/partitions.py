"""How many endpoints a client would like its results to have: one, unless it says otherwise."""

from flight_core.application.queries.parts import MAX_PARTS
from flight_core.application.sessions.session import ClientSession
from flight_core.domain.errors import InvalidOption
from flight_server.auth import Call

HEADER = "x-skein-endpoints"
OPTION = "parallel_endpoints"


def wanted_endpoints(call: Call, session: ClientSession) -> int:
    """The header of the call counts more than the option of the session. Raises InvalidOption."""
    header = call.header(HEADER)
    return session.parallel_endpoints if header is None else checked(header)


def checked(value: object) -> int:
    """A number of endpoints; None, which takes the option back, is one.

    Raises:
        InvalidOption
    """
    if value is None:
        return 1
    number = int(value) if isinstance(value, (int, str)) and str(value).isdecimal() else 0
    if not 1 <= number <= MAX_PARTS:
        raise InvalidOption(
            f"{str(value)[:40]!r} is not a number of endpoints; it can be 1 to {MAX_PARTS}", reason="value"
        )
    return number
