"""What every memory of carried out requests promises."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from flight_core.adapters.catalog.idempotency import SqlIdempotencyRepository
from flight_core.domain.access import Actor, Scope
from flight_core.domain.errors import IdempotencyKeyPending, IdempotencyKeyReused, InvalidOption
from flight_core.domain.idempotency import IdempotencyKey

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ANN = Actor("ann")
KEY = IdempotencyKey.of("mine", b"POST /schedules", actor=ANN)


@pytest.fixture
def keys(database):
    return SqlIdempotencyRepository(database)


def test_a_key_stands_for_what_its_request_made(keys):
    assert keys.claim(KEY, NOW) is None
    with pytest.raises(IdempotencyKeyPending, match="mine"):
        keys.claim(KEY, NOW)
    keys.settle(KEY, "a schedule")
    assert keys.claim(KEY, NOW + timedelta(hours=23)) == "a schedule"
    keys.release(KEY)
    assert keys.claim(KEY, NOW) == "a schedule"
    assert keys.claim(KEY, NOW + timedelta(hours=25)) is None


def test_a_request_that_failed_leaves_its_key_free(keys):
    keys.claim(KEY, NOW)
    keys.release(KEY)
    assert keys.claim(KEY, NOW) is None


def test_a_key_is_one_requests_and_one_actors_with_the_same_rights(keys):
    keys.claim(KEY, NOW)
    for less in (Actor("ann", datasets=("sales*",)), Actor("ann", frozenset({Scope.READ}))):
        with pytest.raises(IdempotencyKeyReused):
            keys.claim(IdempotencyKey.of("mine", b"POST /schedules", actor=less), NOW)
    with pytest.raises(IdempotencyKeyReused):
        keys.claim(IdempotencyKey.of("mine", b"POST /tokens", actor=ANN), NOW)
    assert keys.claim(IdempotencyKey.of("mine", b"POST /tokens", actor=Actor("bob")), NOW) is None
    with pytest.raises(InvalidOption):
        IdempotencyKey.of("tab\t", b"", actor=ANN)


def test_of_requests_at_the_same_time_one_gets_the_key(keys):
    def claim(_number):
        try:
            return keys.claim(KEY, NOW)
        except IdempotencyKeyPending:
            return "pending"

    with ThreadPoolExecutor(4) as threads:
        assert sorted(map(str, threads.map(claim, range(8)))) == ["None"] + ["pending"] * 7
