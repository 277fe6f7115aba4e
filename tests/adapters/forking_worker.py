"""A worker that can be killed cheaply: `python -m tests.adapters.forking_worker FOLDER`.

Each line on standard input is a number. A child is forked that works on the jobs of the folder until none
is left, or kills itself with SIGKILL at the step of that number (0: never). The answer is a line: how it
ended, and the steps it took. Steps are what an outside observer can tell apart: calls of the file system,
and statements and commits of the catalog.

Files are parsed in the worker itself, by the code of the parsing process: starting that takes longer than
everything else together. What happens when it dies is tested elsewhere.
"""

import gc
import io
import itertools
import os
import signal
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import sqlalchemy as sa

from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.unpacking import Unpacked, UnpackLimits
from flight_core.adapters.parsers.worker import Request, parse
from flight_core.application.ports.parsing import ParsedFiles
from flight_core.domain.ingestion import Reading
from flight_core.domain.job import JobFilter, JobState, Phase, Progress
from tests.adapters.ingestion_stack import IngestionStack

_FILES = frozenset(
    ("open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "os.truncate")
)
_UNFINISHED = JobFilter(states=frozenset({JobState.QUEUED, JobState.RUNNING}))


class InProcessParser:
    """The work of the parsing process, without the process."""

    def check(self, *, format, options): ...

    async def parse(self, files, folder, report, *, format, options, check=None):
        assert check is None
        unpacked = [Unpacked(file.path, file.label) for file in files]
        request = Request(unpacked, folder, format, options, UnpackLimits(1 << 30, 100))
        await report(Progress(Phase.PARSING))
        answer = await anyio.to_thread.run_sync(parse, request, Meter(io.StringIO()))
        paths = tuple(folder / name for name in answer["files"])
        return ParsedFiles(paths, answer["row_count"], Reading(**answer["reading"]))


class Steps:
    """Counts steps from all threads, and dies at one of them."""

    def __init__(self, last: int) -> None:
        self.taken = 0
        self._last = last
        self._count = itertools.count(1)

    def step(self, *_: object) -> None:
        self.taken = next(self._count)  # no lock: this is called in the middle of anything
        if self.taken == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, _arguments: object) -> None:
        if event in _FILES:
            self.step()

    def watch(self) -> None:
        sys.addaudithook(self.audit)
        sa.event.listen(sa.Engine, "before_cursor_execute", self.step)
        sa.event.listen(sa.Engine, "commit", self.step)


async def work(folder: Path) -> None:
    stack = IngestionStack(folder)
    stack.parser = InProcessParser()
    async with stack.working(concurrency=8, max_attempts=1000):
        while stack.registry.list(_UNFINISHED, limit=1):
            await anyio.sleep(0.01)
    stack.close()


def child(folder: Path, last_step: int, answer: int) -> None:
    steps = Steps(last_step)
    steps.watch()
    anyio.run(work, folder)
    os.write(answer, b"%d" % steps.taken)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(folder: Path) -> None:
    gc.freeze()
    say("ready")
    for line in sys.stdin:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                child(folder, int(line), writer)
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as answer:
            steps = answer.read().decode()
        os.waitpid(pid, 0)
        say(f"done {steps}" if steps else "killed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
