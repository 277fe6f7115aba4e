"""For tests of several modules: ingestions in this process, fetches, and a process that can be killed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.adapters.http_fetching import Fetch
from tests.adapters.ingestion_stack import IngestionStack

ROOT = Path(__file__).parents[2]
Worker = Callable[..., int | None]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[IngestionStack]:
    made = IngestionStack(tmp_path)
    yield made
    made.close()


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    return Fetch(tmp_path)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """Call it with a folder, the step at which the next process dies, and what it does, see `forking_worker`:
    the steps of one that has come to an end."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.adapters.forking_worker"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(folder: Path, last_step: int, do: str = "work") -> int | None:
        process.stdin.write(f"{do} {last_step} {folder}\n")
        process.stdin.flush()
        answer = process.stdout.readline().split()
        assert answer != ["failed"], "see what it printed"
        return None if answer == ["killed"] else int(answer[1])

    try:
        assert process.stdout.readline() == "ready\n"
        yield run
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()
