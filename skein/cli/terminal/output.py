"""Where results go: files that appear when they are complete, or standard output."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from skein.cli.remote.failures import CliError


class Output(io.RawIOBase):
    """Counts what is written, and so knows its position even where a pipe does not."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.size_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._file.write(data)
        written = memoryview(data).nbytes
        self.size_bytes += written
        return written

    def tell(self) -> int:
        return self.size_bytes


@contextmanager
def open_output(path: Path | None) -> Iterator[Output]:
    """None is standard output. A file keeps what it held until the new content is complete.

    Raises:
        CliError: it cannot be written.
    """
    try:
        if path is None:
            yield Output(sys.stdout.buffer)
            sys.stdout.buffer.flush()
        elif path.exists() and not path.is_file():  # a device or a named pipe
            with path.open("wb") as file:
                yield Output(file)
        else:
            with _replacing(path) as file:
                yield Output(file)
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard output" if path is None else f"'{path}'"
        raise CliError("output_failed", f"{name} cannot be written: {error.strerror or error}") from None


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("xb") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
