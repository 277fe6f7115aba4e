"""Attempts that others are faster than."""

import threading
from contextlib import contextmanager

import pytest

from flight_core.application.writes import conflicts
from flight_core.application.writes.conflicts import Turns, despite_conflicts
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import CommitConflict

SALES = DatasetName("sales")


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_the_last_of_so_many_attempts_tells_of_its_conflict(attempts):
    made = []

    def attempt() -> None:
        made.append(1)
        raise CommitConflict(f"number {len(made)}")

    with pytest.raises(CommitConflict, match=f"number {attempts}$"):
        despite_conflicts(attempt, attempts=attempts)


def test_from_the_second_attempt_on_it_is_its_turn():
    seen = []
    now = [False]

    @contextmanager
    def turn():
        now[0] = True
        yield
        now[0] = False

    def attempt() -> str:
        seen.append(now[0])
        if len(seen) < 3:
            raise CommitConflict("others were first")
        return "done"

    assert despite_conflicts(attempt, attempts=5, turn=turn) == "done"
    assert seen == [False, True, True]


def test_a_turn_is_one_threads_alone_for_that_dataset_in_any_spelling():
    turns, order = Turns(), []
    inside = threading.Event()

    def other() -> None:
        inside.wait()
        with turns.of(DatasetName("SALES")):
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    with turns.of(SALES), turns.of(SALES):
        inside.set()
        thread.join(timeout=0.2)
        order.append("first")
    thread.join(timeout=60)
    assert order == ["first", "other"]


def test_nobody_waits_for_ever(monkeypatch):
    monkeypatch.setattr(conflicts, "_PATIENCE_S", 0.05)
    turns, went_on = Turns(), threading.Event()

    def other() -> None:
        with turns.of(SALES):
            went_on.set()

    with turns.of(SALES):
        threading.Thread(target=other).start()
        assert went_on.wait(timeout=60)
