"""When schedules are due."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_core.adapters.calendar.cron import next_cron_time
from flight_core.domain.errors import InvalidOption
from flight_core.domain.schedule import Cron, Interval

START = datetime(2026, 1, 1, tzinfo=UTC)


@given(every_s=st.floats(1.0, 1e6), passed_s=st.floats(0.0, 1e8))
def test_an_interval_comes_up_in_its_own_rhythm_and_always_later(every_s, passed_s):
    now = START + timedelta(seconds=passed_s)
    following = Interval(every_s).next_after(now, anchor=START)
    assert now < following <= now + timedelta(seconds=every_s + 1e-3)
    assert (following - START) % timedelta(seconds=every_s) == timedelta()


@pytest.mark.parametrize("every_s", [0, 0.5, -1, 1e9, float("nan"), float("inf")])
def test_an_interval_has_sensible_bounds(every_s):
    with pytest.raises(InvalidOption, match="every 1 to"):
        Interval(every_s)


@pytest.mark.parametrize(
    ("after", "due"),
    [
        ("2026-01-05T05:00:00Z", "2026-01-06T05:00:00Z"),  # in winter 6 o'clock in Berlin is 5 UTC
        ("2026-07-01T00:00:00Z", "2026-07-01T04:00:00Z"),
    ],
)
def test_cron_means_the_clock_of_its_zone(after, due):
    cron = Cron("0 6 * * *", "Europe/Berlin")
    assert next_cron_time(cron, datetime.fromisoformat(after)) == datetime.fromisoformat(due)


def test_a_time_that_the_clock_leaves_out_comes_right_after_and_one_that_comes_twice_once():
    cron = Cron("30 2 * * *", "Europe/Berlin")
    spring = next_cron_time(cron, datetime(2026, 3, 29, 0, tzinfo=UTC))
    assert spring.date() == datetime(2026, 3, 29, tzinfo=UTC).date()
    autumn = next_cron_time(cron, datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert autumn.date() == datetime(2026, 10, 25, tzinfo=UTC).date()
    assert next_cron_time(cron, autumn).date() == datetime(2026, 10, 26, tzinfo=UTC).date()


@pytest.mark.parametrize(
    ("cron", "complaint"),
    [
        (Cron("often"), "not a cron expression"),
        (Cron("61 * * * *"), "Bad minute"),
        (Cron(""), "not a cron expression"),
        (Cron("0 0 31 2 *"), "never comes up|not a cron expression"),
        (Cron("* * * * *", "Mars/Olympus"), "not a time zone"),
        (Cron("* * * * *", "../etc"), "not a time zone"),
        (Cron("* * * * *", ""), "not a time zone"),
        (Cron("* * * * *", "Europe"), "not a time zone"),
    ],
    ids=str,
)
def test_what_is_no_time_is_refused(cron, complaint):
    with pytest.raises(InvalidOption, match=complaint):
        next_cron_time(cron, START)
