"""What every log of events promises."""

import threading
from datetime import UTC, datetime

from flight_core.domain.events import Event, EventKind

NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)


def event(number=0):
    data = {"number": number, "text": "ž", "none": None, "list": [1, {"a": 0.5}]}
    return Event(EventKind.INGESTION_PROGRESSED, "Flights", data, NOW)


def seqs(stored):
    return [one.seq for one in stored]


def test_an_empty_log_has_no_bounds(events):
    assert events.bounds() == (0, 0)
    assert list(events.after(0)) == []


def test_events_come_back_as_they_were_in_order(events):
    stored = [events.append(event(number)) for number in range(5)]
    assert list(events.after(0)) == stored
    assert [one.event for one in stored] == [event(number) for number in range(5)]
    assert seqs(stored) == sorted(set(seqs(stored)))


def test_reading_goes_on_after_a_number_up_to_a_limit(events):
    numbers = seqs(events.append(event()) for _ in range(5))
    assert seqs(events.after(numbers[1])) == numbers[2:]
    assert seqs(events.after(numbers[1], limit=2)) == numbers[2:4]
    assert events.after(numbers[4]) == []
    assert events.bounds() == (numbers[0], numbers[4])


def test_pruning_keeps_the_newest(events):
    numbers = seqs(events.append(event()) for _ in range(5))
    assert events.prune(keep=2) == 3
    assert seqs(events.after(0)) == numbers[3:]
    assert events.bounds() == (numbers[3], numbers[4])
    assert events.prune(keep=2) == 0


def test_numbers_are_never_used_again_even_when_all_events_are_gone(events):
    numbers = seqs(events.append(event()) for _ in range(3))
    assert events.prune(keep=0) == 3
    assert events.bounds() == (0, 0)
    assert events.append(event()).seq > numbers[-1]


def test_many_writers_leave_no_gap_and_a_reader_never_sees_a_later_number_first(events):
    """A reader that goes on from the last number it saw must not miss one that commits late."""
    writers = [threading.Thread(target=lambda: [events.append(event()) for _ in range(25)]) for _ in range(4)]
    for writer in writers:
        writer.start()
    seen: list[int] = []
    while len(seen) < 100:
        seen += seqs(events.after(seen[-1] if seen else 0, limit=7))
    for writer in writers:
        writer.join(30)
    assert seen == list(range(seen[0], seen[0] + 100))
