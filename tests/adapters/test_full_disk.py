"""Disks that are full or read-only: whoever writes is told, nothing is there by half, the server goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOUNT = 'mount -t tmpfs -o size=32m tmpfs "$1"'
RUN = """
for disk in "$1/data" "$1/data/lake" "$1/backups"; do
    mkdir "$disk"
    mount -t tmpfs -o size=32m tmpfs "$disk"
done
exec "$PYTHON" -P -m tests.adapters.full_disk "$1"
"""


def in_a_namespace(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """In a process that may mount file systems which nobody else sees."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-euc", script, "sh", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_a_disk_without_room_costs_the_work_and_nothing_else(tmp_path):
    try:
        tried = in_a_namespace(MOUNT, tmp_path)
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if tried.returncode:
        pytest.skip("file systems cannot be mounted here")
    done = in_a_namespace(RUN, tmp_path)
    assert done.returncode == 0, done.stderr[-6000:]
