"""Finding the rows that were added since a version."""

from flight_core.application.ports.storage import TableStore
from flight_core.domain.dataset import AddedRows, VersionRef
from flight_core.domain.errors import NotFound


def added_rows(store: TableStore, before: VersionRef, now: VersionRef) -> AddedRows | None:
    """The rows that `now` has and `before` has not, if nothing else is different; None if something is, or if
    that is unknown."""
    if before.dataset_id != now.dataset_id:
        return None
    try:
        old, new = store.files(before), store.files(now)
    except NotFound:  # expired meanwhile
        return None
    if not set(old.uris) <= set(new.uris) or not old.schema.equals(new.schema):
        return None
    return AddedRows(now.dataset_id, now.version, before.version)
