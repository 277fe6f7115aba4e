"""A disk that is full in the middle of an ingestion: the job says so, and the dataset is as it was."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIZE = "6m"

# Small enough for the disk once, and not with the rows of the large file beside them.
SCRIPT = textwrap.dedent("""
    import random, sys
    from pathlib import Path
    import anyio
    from flight_core.domain.dataset import WriteMode
    from tests.adapters.ingestion_stack import IngestionStack

    def rows(count):
        dice = random.Random(count)
        return ("text\\n" + "".join(f"{dice.getrandbits(512):x}\\n" for _ in range(count))).encode()

    async def main():
        stack = IngestionStack(Path(sys.argv[1]))
        async with stack.working():
            first = await stack.until(stack.start("d", path=stack.file("small.csv", rows(1000))))
            print(first.state, first.error_code)
            before = stack.table("d").to_pydict()
            for mode in (WriteMode.APPEND, WriteMode.REPLACE):
                large = stack.start("d", path=stack.file("large.csv", rows(200_000)), mode=mode)
                failed = await stack.until(large)
                kept = stack.table("d").to_pydict() == before
                print(failed.state, failed.error_code, kept, "/" in failed.error_message)
            again = await stack.until(stack.start("d", path="small.csv"))
            print(again.state, stack.table("d").num_rows, stack.leftovers())

    anyio.run(main)
""")


def in_a_namespace(script: str) -> list[str]:
    """A process that may mount file systems which nobody else sees."""
    return ["unshare", "--mount", "sh", "-euc", script]


@pytest.fixture(scope="module", autouse=True)
def _needs_to_mount():
    try:
        tried = subprocess.run(in_a_namespace("mount -t tmpfs tmpfs /mnt"), capture_output=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if tried.returncode:
        pytest.skip("file systems cannot be mounted here")


@pytest.mark.parametrize("full", ["lake", "jobs"])
def test_the_job_fails_and_the_dataset_is_as_it_was(tmp_path, full):
    (tmp_path / full).mkdir()
    mounted = f'mount -t tmpfs -o size={SIZE} tmpfs "{tmp_path / full}"; exec "$0" -P -c "$1" "$2"'
    done = subprocess.run(
        [*in_a_namespace(mounted), sys.executable, SCRIPT, str(tmp_path)],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout.splitlines() == [
        "succeeded None",
        "failed out_of_disk True False",
        "failed out_of_disk True False",
        "succeeded 2000 []",
    ], done.stderr
