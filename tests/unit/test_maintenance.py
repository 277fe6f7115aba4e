"""When a dataset needs maintenance."""

from datetime import UTC, datetime, timedelta

import pytest

from flight_core.application.maintenance.due import MaintenanceOptions, due
from flight_core.domain.job import Task

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOURS = timedelta(hours=1)
OPTIONS = MaintenanceOptions(compact_files=10, vacuum_every=24 * HOURS)
NEVER = MaintenanceOptions(compact_files=None, vacuum_every=None)


@pytest.mark.parametrize(
    ("options", "small_files", "last_vacuum_at", "expected"),
    [
        (OPTIONS, 9, NOW - 23 * HOURS, []),
        (OPTIONS, 10, NOW - 23 * HOURS, [Task.COMPACT]),
        (OPTIONS, 0, NOW - 24 * HOURS, [Task.VACUUM]),
        (OPTIONS, 10, NOW - 24 * HOURS, [Task.COMPACT, Task.VACUUM]),
        (NEVER, 10_000, NOW - 1000 * HOURS, []),
    ],
)
def test_maintenance_is_due_by_files_and_by_time(options, small_files, last_vacuum_at, expected):
    assert list(due(options, small_files=small_files, last_vacuum_at=last_vacuum_at, now=NOW)) == expected
