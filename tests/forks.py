"""The `skein` command without the second that it takes to start: forked from a process that has loaded it.

Most commands and servers of tests would spend most of their time on that."""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.loaded"])


class Fork(_FORKS.Process):
    """`skein` with these arguments, from now on; as much of `subprocess.Popen` as tests use.

    `files` are the descriptors of its standard input, output and error; the caller closes them."""

    def __init__(
        self, arguments: Sequence[str], *, files: Sequence[int], cwd: Path, env: Mapping[str, str]
    ) -> None:
        super().__init__(daemon=True)
        self._arguments = list(arguments)
        self._files = [Connection(os.dup(file)) for file in files]  # this is how multiprocessing sends them
        self._cwd = cwd
        self._environment = dict(env)
        self.start()
        for file in self._files:
            file.close()

    def run(self) -> None:
        """In the fork."""
        from skein.cli.main import run

        os.chdir(self._cwd)
        os.environ.clear()
        os.environ.update(self._environment)
        for descriptor, file in enumerate(self._files):
            os.dup2(file.fileno(), descriptor)
            file.close()
        sys.stdin = os.fdopen(0)
        sys.stdout = os.fdopen(1, "w")
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
        sys.argv = ["skein", *self._arguments]
        run()

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self, timeout_s: float) -> int:
        self.join(timeout_s)
        assert self.exitcode is not None, "it did not end in time"
        return self.exitcode

    def send_signal(self, number: int) -> None:
        assert self.pid is not None
        os.kill(self.pid, number)
