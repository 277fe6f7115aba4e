"""What clients are told of a failure."""

import logging
from uuid import uuid4

from flight_core.domain.errors import FlightCoreError
from flight_core.domain.system_errors import system_failure

logger = logging.getLogger(__name__)


def failure_to_tell(error: BaseException) -> FlightCoreError:
    """A failure of ours as it is, and one of the system by what it means. Anything else is logged, and told
    as `internal_error` with the reference that the log has."""
    if isinstance(error, FlightCoreError):
        return error
    if failure := system_failure(error):
        return failure
    reference = uuid4().hex[:12]
    logger.error("unexpected failure", exc_info=error, extra={"reference": reference})
    return FlightCoreError(f"internal error; the server's log tells more under {reference}")
