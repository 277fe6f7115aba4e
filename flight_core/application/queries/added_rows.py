"""What has come on top of a version."""

from flight_core.application.ports.storage import TableStore
from flight_core.domain.dataset import AddedRows, VersionRef
from flight_core.domain.errors import NotFound


def added_rows(store: TableStore, before: VersionRef, now: VersionRef) -> AddedRows | None:
    """The rows of `now` that `before` lacks, if they are all that is different; None if more is, or if that
    cannot be told."""
    if before.dataset_id != now.dataset_id:
        return None
    try:
        old, new = store.files(before), store.files(now)
    except NotFound:  # expired meanwhile
        return None
    if not set(old.uris) <= set(new.uris) or not old.schema.equals(new.schema):
        return None
    return AddedRows(now.dataset_id, now.version, before.version)
