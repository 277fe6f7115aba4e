"""The audit log over a real catalog: bounded, counted, and kept when the catalog is away."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flight_core.adapters.catalog.audit import SqlAuditRepository
from flight_core.application.access.audit import AuditLog
from flight_core.domain.access import Origin
from flight_core.domain.audit import AuditEntry, AuditFilter, Decision
from flight_core.infrastructure.database import Database
from tests.catalogs import open_catalog

NOON = datetime(2031, 1, 31, 12, tzinfo=UTC)


class Unreliable:
    """A repository that can be away."""

    away = False

    def __init__(self, database: Database) -> None:
        self._real = SqlAuditRepository(database)
        self.prune, self.list = self._real.prune, self._real.list

    def append(self, entries):
        if self.away:
            raise RuntimeError("away")
        self._real.append(entries)


@pytest.fixture
def entries(tmp_path):
    with closing(open_catalog(tmp_path)) as database:
        yield Unreliable(database)


def entry(subject: str = "", *, at: datetime = NOON, action: str = "open_query", **more) -> AuditEntry:
    return AuditEntry(at, "ann", Origin("http", "10.0.0.1"), action, Decision.ALLOWED, subject, **more)


def stored(entries, **wanted):
    return [each.entry for each in entries.list(AuditFilter(**wanted), limit=1000)]


def test_the_same_within_a_moment_is_counted(entries):
    with closing(AuditLog(entries, lambda: NOON, keep=100)) as log:
        for moment in range(3):
            log.note(entry("q", at=NOON + timedelta(milliseconds=moment)))
        log.note(entry("other"))
    assert {(each.subject, each.count, each.at) for each in stored(entries)} == {
        ("q", 3, NOON),
        ("other", 1, NOON),
    }


def test_refused_logins_are_logged_without_what_was_shown_as_a_name(entries, caplog):
    with closing(AuditLog(entries, lambda: NOON, keep=100)) as log:
        refused = replace(entry(action="log_in", code="unauthenticated"), decision=Decision.REFUSED)
        for _ in range(3):
            log.note(refused)
        log.note(entry(action="log_in"))
        log.flush()
    lines = [record for record in caplog.records if record.message == "login refused"]
    assert sum(line.count for line in lines) == 3
    assert {(line.door, line.address, line.code) for line in lines} == {
        ("http", "10.0.0.1", "unauthenticated")
    }
    assert "ann" not in str([line.__dict__ for line in lines])


def test_it_forgets_the_oldest(entries):
    with closing(AuditLog(entries, lambda: NOON, keep=10)) as log:
        for number in range(25):
            log.note(entry(str(number)))
            log.flush()
    left = [int(each.subject) for each in stored(entries)]
    assert left == sorted(left, reverse=True)
    assert left[0] == 24
    assert 10 <= len(left) < 20


def test_nothing_is_lost_while_the_catalog_is_away(entries):
    with closing(AuditLog(entries, lambda: NOON, keep=100)) as log:
        entries.away = True
        log.note(entry("read"))
        log.note(entry("change", action="drop_dataset"))
        assert stored(entries) == []
        entries.away = False
        log.flush()
    assert {each.subject for each in stored(entries)} == {"read", "change"}


def test_entries_come_back_as_they_were_and_can_be_chosen(entries):
    one = entry("1", datasets=("Sales_EU", "b"), code="")
    two = entry("2", at=NOON + timedelta(hours=1), action="drop_dataset")
    entries.append([one, two])
    assert stored(entries) == [two, one]
    assert stored(entries, dataset="sales_eu") == [one]
    assert stored(entries, dataset="sales_e_") == []
    assert stored(entries, action="drop_dataset", actor="ann", decision=Decision.ALLOWED) == [two]
    assert stored(entries, since=NOON + timedelta(minutes=1)) == [two]
    assert stored(entries, actor="bob") == []
