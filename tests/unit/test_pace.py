"""How fast a job is, told from looks at its progress."""

import pytest

from flight_core.application.jobs.lease import Pace
from flight_core.domain.job import Phase, Progress


def rates(*looks: tuple[float, Progress]) -> tuple[float | None, float | None]:
    moments = iter(moment for moment, _ in looks)
    pace = Pace(lambda: next(moments))
    told = [pace(progress) for _, progress in looks]
    return told[-1].bytes_per_s, told[-1].rows_per_s


def at(done_bytes: int, phase: Phase = Phase.PARSING) -> Progress:
    return Progress(phase, done_bytes, 10_000, rows=done_bytes // 10)


@pytest.mark.parametrize("pause_s", [0.25, 1.0])
def test_rates_are_those_of_the_last_five_seconds_however_often_one_looks(pause_s):
    seconds = [pause_s * number for number in range(int(20 / pause_s) + 1)]
    slow_then_fast = [(now, at(int(10 * now if now <= 10 else 100 + 300 * (now - 10)))) for now in seconds]
    assert rates(*slow_then_fast) == (300.0, 30.0)


def test_rates_of_rare_looks_are_those_since_the_last_one():
    assert rates((0, at(0)), (8, at(80)), (18, at(1080))) == (100.0, 10.0)


def test_a_phase_has_rates_of_its_own_and_none_at_first():
    assert rates((0, at(0, Phase.FETCHING)), (1, at(1000))) == (None, None)
    assert rates((0, at(0, Phase.FETCHING)), (1, at(1000)), (2, at(1500))) == (500.0, 50.0)
