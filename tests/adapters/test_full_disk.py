"""Disks that are full or read-only: whoever writes is told, nothing is there by half, the server goes on."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from tests.stack import skein_process

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


def test_files_larger_than_the_system_allows_are_told_at_every_door(tmp_path):
    texts = [f"{number}-{hash(str(number)):x}" for number in range(400_000)]
    (tmp_path / "large.csv").write_text("text\n" + "\n".join(texts))
    with (
        skein_process(tmp_path / "data", "--ingest-roots", str(tmp_path)) as server,
        httpx.Client(base_url=server.endpoints["http"], timeout=90) as client,
        fl.connect(server.endpoints["flight"]) as flight,
    ):
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
        body = {"dataset": "d", "source": {"kind": "file", "path": str(tmp_path / "large.csv")}}
        parsed = client.post("/api/v1/ingestions", json=body, headers={"Prefer": "wait=60"}).json()
        body["source"] = {"kind": "sql", "sql": "SELECT md5(range::VARCHAR) AS text FROM range(400000)"}
        read = client.post("/api/v1/ingestions", json=body, headers={"Prefer": "wait=60"}).json()
        content = (tmp_path / "large.csv").read_bytes()
        uploaded = client.post(
            "/api/v1/uploads", content=content, headers={"Content-Type": "text/csv"}
        ).json()
        own = {"sql": "CREATE TABLE own AS SELECT md5(range::VARCHAR) AS text FROM range(400000)"}
        kept = client.post("/api/v1/query", json=own).json()
        table = pa.table({"text": texts})
        with pytest.raises(fl.FlightError) as put:
            _put(flight, table)
        for told in (
            parsed["error"]["message"],
            read["error"]["message"],
            uploaded["detail"],
            kept["detail"],
        ):
            assert "ulimit -f" in told, told
        assert "[limit_exceeded]" in str(put.value)
        assert client.get("/api/v1/datasets").json()["items"] == []
        server.stop()
    assert '"level": "error"' not in "".join(server.errors)


def _put(client: fl.FlightClient, table: pa.Table) -> None:
    writer, reader = client.do_put(fl.FlightDescriptor.for_path("d"), table.schema)
    with writer:
        writer.write_table(table)
        writer.done_writing()
        reader.read()
