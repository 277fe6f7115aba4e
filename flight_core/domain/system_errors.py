"""What it means when the operating system refuses to write or to open a file."""

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flight_core.domain.errors import (
    DependencyFailed,
    FlightCoreError,
    LimitExceeded,
    OutOfDisk,
    ResourceExhausted,
)

_FULL = (OutOfDisk, "the disk is full; make room and try again")
_TOO_MANY_FILES = (
    ResourceExhausted,
    "as many files and connections are open as the system allows (`ulimit -n`); try again later",
)
_MEANINGS: Mapping[int, tuple[type[FlightCoreError], str]] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: (
        LimitExceeded,
        "a file would be larger than the system allows (`ulimit -f`); raise that, or write less at a time",
    ),
    errno.EROFS: (DependencyFailed, "the disk is read-only; make it writable and try again"),
    errno.EMFILE: _TOO_MANY_FILES,
    errno.ENFILE: _TOO_MANY_FILES,
}
_NUMBERED = re.compile(r"\(os error (\d+)\)|\[errno (\d+)\]", re.IGNORECASE)
_NAMED = {os.strerror(number): number for number in _MEANINGS}


def system_failure(error: BaseException) -> FlightCoreError | None:
    """The failure for an error of the system, also where a library has passed on no more than its text.

    None: it is another one, or has been translated.
    """
    if isinstance(error, FlightCoreError):
        return None
    number = getattr(error, "errno", None)
    if number is None and (told := _NUMBERED.search(str(error))):
        number = int(told[1] or told[2])
    return _failure(number)


def named_system_failure(text: str) -> FlightCoreError | None:
    """Likewise for a text that has the error's name, and nothing that comes from data."""
    return next((_failure(number) for name, number in _NAMED.items() if name in text), None)


def _failure(number: int | None) -> FlightCoreError | None:
    if number is None or number not in _MEANINGS:
        return None
    kind, message = _MEANINGS[number]
    return kind(message)


@contextmanager
def system_errors() -> Iterator[None]:
    """Translate the errors of the system.

    Raises:
        OutOfDisk: the disk or the quota is full.
        LimitExceeded: a file, or the number of open files, has reached a limit of the system.
        DependencyFailed: the disk is read-only.
    """
    try:
        yield
    except Exception as error:
        if not (failure := system_failure(error)):
            raise
        raise failure from error
