"""The `skein` command: to its end, or as people and scripts start it, with pipes or on a terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import tempfile
import termios
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.forks import Fork
from tests.stack import COMMAND

DEADLINE_S = 30.0

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def environment(**variables: object) -> dict[str, str]:
    """Of this process without its SKEIN_ settings; `variables` are set, those that are None are not."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SKEIN_")}
    kept.pop("COLUMNS", None)
    given = {name: str(value) for name, value in variables.items() if value is not None}
    return {**kept, "TERM": "xterm", **given}


def skein(
    *arguments: object, stdin: str | None = None, cwd: Path | None = None, **variables: object
) -> subprocess.CompletedProcess[str]:
    """Run to the end, in a fork: most tests are about what it does. The others start it with `installed`."""
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3)]
        given, output, errors = files
        given.write(stdin or "")
        given.seek(0)
        process = Fork(
            [str(argument) for argument in arguments],
            files=[file.fileno() for file in files],
            cwd=cwd or Path.cwd(),
            env=environment(**variables),
        )
        code = process.wait(DEADLINE_S)
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(list(arguments), code, output.read(), errors.read())


def installed(*arguments: object, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run to the end, with pipes for standard output and error."""
    with started(*arguments, **variables) as process:
        output, errors = process.communicate(timeout=DEADLINE_S)
    return subprocess.CompletedProcess(list(arguments), process.returncode, output, errors)


@contextmanager
def started(*arguments: object, **variables: object) -> Iterator[subprocess.Popen[str]]:
    """Running, with pipes; killed at the end if it still does."""
    process = subprocess.Popen(
        [COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**variables),
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


class Terminal:
    """The command on a terminal of its own; `screen` is all that was written to it so far."""

    def __init__(self, *arguments: object, columns: int = 80, **variables: object) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.process = subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=environment(**variables),
        )
        os.close(theirs)
        self.raw = ""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        os.close(self._ours)

    @property
    def screen(self) -> str:
        """Without colours and cursor movements."""
        return _ESCAPES.sub("", self.raw).replace("\r\n", "\n")

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait_for(self, text: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: text in self.screen, DEADLINE_S), self.screen[-500:]

    def wait(self) -> int:
        """Its exit code, once all it wrote has been read."""
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 1 << 16)
            except OSError:  # the other side is closed
                data = b""
            with self._news:
                self.raw += data.decode(errors="replace")
                self._news.notify_all()
            if not data:
                return
