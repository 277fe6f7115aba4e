"""Writing what was fetched."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from flight_core.domain.errors import OutOfDisk


@contextmanager
def full_disk_told() -> Iterator[None]:
    """
    Raises:
        OutOfDisk: the block found no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OutOfDisk("the disk is full; free some space and start again") from None
        raise
