"""A process that can be killed cheaply: `python -m tests.adapters.forking_worker`.

Each line on standard input is what to do, a number and a folder. A child is forked that does it to the
end, or kills itself with SIGKILL at the step of that number (0: never). The answer is a line: how it ended,
and the steps it took. Steps are what an outside observer can tell apart: calls of the file system, and
statements and commits of the catalog.

`work` is what `WholeProcess` does by itself until none is left, and the chores of the folder: what a user
asks for and waits for. `serve` is what `skein serve-flight` does, until SIGTERM. Files are parsed in the
child itself, by the code of the parsing process: starting that takes longer than everything else together.
What happens when it dies is tested elsewhere.
"""

import gc
import io
import itertools
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
import sqlalchemy as sa

from flight_core.adapters.parsers import worker as parsing
from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.polars import ParserOptions, PolarsParser
from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import CommitConflict
from flight_core.domain.job import JobFilter, JobState
from skein.directory import Role
from skein.lifecycle import run
from skein.settings import load_settings
from tests.adapters.whole_process import WholeProcess, data_of, whole_process

CHORES = "chores.json"

_FILES = frozenset(
    ("open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "os.truncate")
)
_UNFINISHED = JobFilter(states=frozenset({JobState.QUEUED, JobState.RUNNING}))


class InProcessParser(PolarsParser):
    """The work of the parsing process, without the process."""

    async def _ask(self, request, *_):
        request = parsing._request(json.loads(json.dumps(request)))
        answer = await anyio.to_thread.run_sync(parsing._answer, request, Meter(io.StringIO()))
        return answer["result"]


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


async def work(process: WholeProcess, chores: list[list]) -> None:
    process.reconcile()
    async with anyio.create_task_group() as tasks:
        worker = process.worker(max_attempts=1000, poll_s=0.05, progress_s=0.02)
        tasks.start_soon(worker.run)
        for chore in chores:
            await anyio.to_thread.run_sync(ask, process, *chore)
        while await anyio.to_thread.run_sync(busy, process):
            await anyio.sleep(0.01)
        worker.stop()


def busy(process: WholeProcess) -> bool:
    unfinished = process.parts.catalog.jobs.list(_UNFINISHED, limit=1)
    return bool(process.fire_schedules() + process.refresh_due() or unfinished)


def ask(process: WholeProcess, what: str, name: str, *arguments) -> None:
    """As somebody does who was not answered, and asks again."""
    if what == "delete":
        process.delete_rows(DatasetName(name), *arguments, actor=LOCAL)
    else:
        version, expected = arguments
        with suppress(CommitConflict):  # it had happened
            process.versions.restore(DatasetName(name), version, actor=LOCAL, expected=expected)


def do_work(folder: Path, steps: Steps) -> None:
    with whole_process(folder, Role.CONTROL, InProcessParser(ParserOptions())) as process:
        steps.watch()
        anyio.run(work, process, json.loads((process.inputs / CHORES).read_text()))


def serve(folder: Path, steps: Steps) -> None:
    PolarsParser._ask = InProcessParser._ask
    steps.watch()
    settings = load_settings(data=data_of(folder), flight_port=0, memory_limit="512MB", threads=1)
    run(settings, {Role.FLIGHT}, prepare=lambda _: None, announce=lambda *_: None)


def child(do: str, folder: Path, last_step: int, answer: int) -> None:
    steps = Steps(last_step)
    {"work": do_work, "serve": serve}[do](folder, steps)
    os.write(answer, b"%d" % steps.taken)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    gc.freeze()
    say("ready")
    for line in sys.stdin:
        do, last_step, folder = line.rstrip("\n").split(" ", 2)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                child(do, Path(folder), int(last_step), writer)
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as answer:
            steps = answer.read().decode()
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        say("killed" if killed else f"done {steps}" if steps else "failed")


if __name__ == "__main__":
    main()
