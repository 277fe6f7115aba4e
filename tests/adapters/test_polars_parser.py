"""The parsing process: it may crash, explode or hang, and nothing else does."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import anyio
import psutil
import pytest

from flight_core.adapters.parsers.polars import ParserOptions, PolarsParser
from flight_core.adapters.parsers.processes import ParsingProcesses
from flight_core.application.ports.parsing import ParseRequest
from flight_core.application.ports.sources import FetchedFile, unreported
from flight_core.domain.errors import (
    DeadlineExceeded,
    DependencyFailed,
    LimitExceeded,
    OutOfDisk,
    UnreadableData,
)
from tests.adapters.parsing_processes import PROCESSES, parsing_processes

DEADLINE_S = 60


@pytest.fixture
def endless(tmp_path) -> FetchedFile:
    """A file that keeps whoever reads it waiting."""
    path = tmp_path / "endless"
    os.mkfifo(path)
    return FetchedFile(path, "endless.csv", 0, temporary=True)


async def parse(file: FetchedFile, folder: Path, **options) -> None:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    parser = PolarsParser(ParserOptions(**options), PROCESSES)
    await parser.parse(ParseRequest([file], out), unreported)


async def started(parent: int) -> psutil.Process:
    with anyio.fail_after(DEADLINE_S):
        while not (found := parsing_processes(parent)):
            await anyio.sleep(0.01)
    return found[0]


@pytest.mark.anyio
async def test_what_follows_an_open_quote_does_not_fill_the_memory(tmp_path):
    path = tmp_path / "open.csv"
    with path.open("wb") as file:
        file.write(b'a,b\n1,"2\n')
        file.writelines([b'"3","%b"\n' % (b"4" * 1000)] * 150_000)
    with pytest.raises(UnreadableData, match="line 2: the quote that begins a field here"):
        await parse(
            FetchedFile(path, "open.csv", path.stat().st_size, temporary=True),
            tmp_path,
            memory_bytes=400 << 20,
        )


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("number", "failure", "text"),
    [
        (signal.SIGSEGV, UnreadableData, "endless.csv crashed the parser"),
        (signal.SIGABRT, UnreadableData, "endless.csv crashed the parser"),
        (signal.SIGKILL, LimitExceeded, "the process that parsed endless.csv was killed"),
    ],
    ids=["segmentation fault", "abort", "killed"],
)
async def test_a_crash_is_a_failure_of_the_file(endless, tmp_path, number, failure, text):
    caught = []
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            try:
                await parse(endless, tmp_path)
            except failure as error:
                caught.append(error)

        tasks.start_soon(run)
        (await started(os.getpid())).send_signal(number)
    assert text in caught[0].message


class DyingTemplates(ParsingProcesses):
    """So many of them die before they see the job that they were given."""

    def __init__(self, deaths: int) -> None:
        super().__init__()
        self._deaths = deaths

    def start(self) -> socket.socket:
        if not self._deaths:
            return super().start()
        self._deaths -= 1
        super().start().close()
        template = psutil.Process(self._template.pid)
        template.suspend()
        job = super().start()
        template.kill()
        self._template.wait()
        return job


as_in_the_server = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"]
)


async def rows_parsed_though_templates_die(folder: Path, deaths: int) -> int:
    path, out = folder / "in.csv", folder / "out"
    path.write_bytes(b"a\n1\n")
    out.mkdir()
    parser = PolarsParser(ParserOptions(), DyingTemplates(deaths))
    try:
        request = ParseRequest([FetchedFile(path, "in.csv", 4, temporary=True)], out)
        return (await parser.parse(request, unreported)).row_count
    finally:
        parser.close()


@pytest.mark.anyio
@as_in_the_server
async def test_a_job_whose_template_was_killed_is_given_to_the_next_one(tmp_path):
    assert await rows_parsed_though_templates_die(tmp_path, deaths=1) == 1


@pytest.mark.anyio
@as_in_the_server
async def test_templates_that_are_killed_again_and_again_are_told(tmp_path):
    with pytest.raises(DependencyFailed, match="ended 3 times before it began"):
        await rows_parsed_though_templates_die(tmp_path, deaths=3)


@pytest.mark.anyio
async def test_a_parse_that_takes_too_much_memory_is_stopped(endless, tmp_path):
    with anyio.fail_after(DEADLINE_S), pytest.raises(LimitExceeded, match="more than 1 MiB of memory"):
        await parse(endless, tmp_path, memory_bytes=1 << 20)
    assert parsing_processes(os.getpid()) == []


@pytest.mark.anyio
async def test_a_parse_that_takes_too_long_is_stopped(endless, tmp_path):
    with anyio.fail_after(DEADLINE_S), pytest.raises(DeadlineExceeded, match=r"not parsed within 0\.2 s"):
        await parse(endless, tmp_path, timeout_s=0.2)
    assert parsing_processes(os.getpid()) == []


@pytest.mark.anyio
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize(
    "content", [b"a,b\n" + b"1,x\n" * 1000, b'[{"a": 1}, {"a": "x"}]', b'{"a": 1}\n{"a": {"b": 2}}\n']
)
async def test_a_full_disk_is_told(tmp_path, content):
    for attempt in ("rows-1", "rows-2"):
        (tmp_path / "out" / attempt).mkdir(parents=True)
        (tmp_path / "out" / attempt / "00000.parquet").symlink_to("/dev/full")
    (tmp_path / "in").write_bytes(content)
    with pytest.raises(OutOfDisk, match="the disk is full"):
        await parse(FetchedFile(tmp_path / "in", "in", len(content), temporary=True), tmp_path)


@pytest.mark.anyio
async def test_a_cancelled_parse_leaves_no_process(endless, tmp_path):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(parse, endless, tmp_path)
        process = await started(os.getpid())
        tasks.cancel_scope.cancel()
    _, alive = psutil.wait_procs([process], timeout=10)
    assert not alive


def test_the_process_ends_with_the_server(endless, tmp_path):
    program = textwrap.dedent("""
        import sys, anyio
        from pathlib import Path
        from tests.adapters.test_polars_parser import FetchedFile, parse
        anyio.run(parse, FetchedFile(Path(sys.argv[1]), "endless.csv", 0, True), Path(sys.argv[2]))
    """)
    server = subprocess.Popen(
        [sys.executable, "-c", program, endless.path, tmp_path], cwd=Path(__file__).parents[2]
    )
    try:
        process = anyio.run(started, server.pid)
    finally:
        server.kill()
        server.wait()
    deadline = time.monotonic() + DEADLINE_S
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the parsing process outlived its server"
        time.sleep(0.01)
