"""When a dataset needs maintenance."""

from datetime import UTC, datetime, timedelta

import pytest

from flight_core.application.maintenance.due import MaintenanceDue, MaintenanceOptions, due

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOURS = timedelta(hours=1)
OPTIONS = MaintenanceOptions(compact_files=10, vacuum_every=24 * HOURS)
NEVER = MaintenanceOptions(compact_files=None, vacuum_every=None)


@pytest.mark.parametrize(
    ("options", "small_files", "last_vacuum_at", "expected"),
    [
        (OPTIONS, 9, NOW - 23 * HOURS, MaintenanceDue(compact=False, vacuum=False)),
        (OPTIONS, 10, NOW - 23 * HOURS, MaintenanceDue(compact=True, vacuum=False)),
        (OPTIONS, 0, NOW - 24 * HOURS, MaintenanceDue(compact=False, vacuum=True)),
        (OPTIONS, 0, None, MaintenanceDue(compact=False, vacuum=True)),
        (NEVER, 10_000, None, MaintenanceDue(compact=False, vacuum=False)),
    ],
)
def test_maintenance_is_due_by_files_and_by_time(options, small_files, last_vacuum_at, expected):
    assert due(options, small_files=small_files, last_vacuum_at=last_vacuum_at, now=NOW) == expected
