"""What the instances of one process share."""

import subprocess
import sys
from pathlib import Path

import pytest

_CODE = """
import os, sys
from pathlib import Path
from flight_core.infrastructure.duckdb_pool import CursorPool, DuckDbOptions, open_database

threads = lambda: len(os.listdir("/proc/self/task"))
options = DuckDbOptions(None, (), Path(sys.argv[1]))
pool = CursorPool(open_database(options))
pool.fresh()
print(threads())
open_database(options).close()
print(threads())
pool.fresh()
print(threads())
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted there")
def test_freed_memory_goes_back_also_after_another_instance_of_the_process_has_closed(tmp_path):
    command = [sys.executable, "-P", "-c", _CODE, str(tmp_path)]
    counts = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    before, closed, after = map(int, counts)
    assert closed < before == after
