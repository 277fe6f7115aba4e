"""Writing fetched data to disk."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from flight_core.domain.errors import OutOfDisk


@contextmanager
def full_disk_told() -> Iterator[None]:
    """
    Raises:
        OutOfDisk: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OutOfDisk("the disk is full; free some space and start again") from None
        raise
