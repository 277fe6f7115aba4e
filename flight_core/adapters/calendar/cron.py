"""Cron expressions, by cronsim: as in Debian's cron, also when daylight saving time begins or ends."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from flight_core.domain.errors import InvalidOption
from flight_core.domain.schedule import Cron


def next_cron_time(cron: Cron, after: datetime) -> datetime:
    """See `CronTimes`."""
    try:
        zone = UTC if cron.timezone == "UTC" else ZoneInfo(cron.timezone)
    except (KeyError, OSError, ValueError):  # unknown, or a folder, or no name at all
        raise InvalidOption(
            f"'{cron.timezone[:60]}' is not a time zone; write one such as Europe/Berlin, or UTC"
        ) from None
    try:
        following = next(CronSim(cron.expression, after.astimezone(zone)))
    except CronSimError as error:
        raise InvalidOption(
            f"'{cron.expression[:100]}' is not a cron expression ({error}); write minute, hour, day,"
            " month and weekday, such as '0 6 * * MON-FRI'"
        ) from None
    except (StopIteration, OverflowError):
        raise InvalidOption(f"'{cron.expression[:100]}' never comes up; check day and month") from None
    return following.astimezone(UTC)
