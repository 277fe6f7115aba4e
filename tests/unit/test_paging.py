"""Pages while the list changes underneath."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_api.paging import cursor_of, page_after, place_of
from flight_core.domain.errors import InvalidRequest

STORED = st.integers(1 - 2**63, 2**63 - 1)  # as databases hold them
PLACES = st.tuples(st.integers(-3, 3), st.text(max_size=4))
CHANGES = st.lists(st.tuples(st.sets(PLACES, max_size=4), st.sets(PLACES, max_size=4)), max_size=12)


def itself(place):
    return place


def walk(items, limit, changes=()):
    """Every item that is shown from the first page to the last, while `changes` happen in between."""
    items, shown, after = set(items), [], None
    changes = iter(changes)
    while True:
        page, after = page_after(sorted(items), after, limit, place=itself)
        assert len(page) <= limit
        shown += page
        if after is None:
            return shown
        after = place_of(cursor_of(after), like=(0, ""))
        added, removed = next(changes, (set(), set()))
        items = (items | added) - removed


@given(st.sets(PLACES, max_size=40), st.integers(1, 50))
def test_pages_show_everything_once_in_order(items, limit):
    assert walk(items, limit) == sorted(items)


@given(st.sets(PLACES, max_size=40), st.integers(1, 5), CHANGES)
def test_what_stays_is_shown_once_whatever_comes_and_goes(items, limit, changes):
    shown = walk(items, limit, changes)
    assert len(set(shown)) == len(shown)
    assert shown == sorted(shown)
    stays = items - {each for _, removed in changes for each in removed}
    assert stays <= set(shown)


@given(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text(), STORED))
def test_cursors_come_back_as_they_were(place):
    assert place_of(cursor_of(place), like=(0.0, "", 0)) == place


@given(st.one_of(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps)))
def test_what_is_no_cursor_is_refused_as_such(text):
    with pytest.raises(InvalidRequest):
        place_of(text, like=(0.0, "", 0.0, 0))
