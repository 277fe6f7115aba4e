"""A server whose disks get full: `python -P -m tests.adapters.full_disk FOLDER`, in a mount namespace.

`data` in the folder, `data/lake` and `backups` are small file systems of their own. Exits with 0 if all is
right.
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.flight as fl

from flight_core.domain.errors import OutOfDisk
from flight_core.infrastructure.database import Database
from skein.backup import back_up
from skein.directory import DataDirectory
from tests.stack import Stack, skein_stack

LEFT = 1_000_000  # bytes: enough for the catalog, and for nothing of what is written
DICE = random.Random(1)
TEXTS = [f"{DICE.getrandbits(512):x}" for _ in range(30_000)]
WAIT = {"Prefer": "wait=60"}


class Server:
    def __init__(self, stack: Stack, client: httpx.Client, files: Path) -> None:
        self.stack = stack
        self.client = client
        self.files = files

    def ingest(self, dataset: str, file: str, mode: str = "append") -> str:
        source = {"kind": "file", "path": str(self.files / file)}
        body = {"dataset": dataset, "source": source, "mode": mode}
        return self._outcome(self.client.post("/api/v1/ingestions", json=body, headers=WAIT))

    def compact(self) -> str:
        url = "/api/v1/datasets/large/compact"
        return self._outcome(self.client.post(url, json={"everything": True}, headers=WAIT))

    def upload(self) -> str:
        content = (self.files / "large.csv").read_bytes()
        answer = self.client.post("/api/v1/uploads", content=content, headers={"Content-Type": "text/csv"})
        return "succeeded" if answer.is_success else answer.json()["code"]

    def put(self) -> str:
        table = pa.table({"id": range(len(TEXTS)), "text": TEXTS})
        try:
            with self.stack.flight() as client:
                writer, reader = client.do_put(fl.FlightDescriptor.for_path("put"), table.schema)
                with writer:
                    writer.write_table(table)
                    writer.done_writing()
                    reader.read()
        except fl.FlightError as error:
            return str(error).partition("]")[0].removeprefix("[")
        return "succeeded"

    def insert(self) -> str:
        """Into a table of the users' own, so many rows that they are written when they are committed."""
        sql = f"INSERT INTO own SELECT range, md5(range::VARCHAR) FROM range({len(TEXTS)})"
        answer = self.client.post("/api/v1/query", json={"sql": sql})
        return "succeeded" if answer.is_success else answer.json()["code"]

    def back_up(self, target: Path) -> str:
        try:
            back_up(DataDirectory(self.stack.data), target, catalog=True, advance=lambda *_: None)
        except OutOfDisk as error:
            return error.code
        return "succeeded"

    def rows(self, dataset: str) -> int | str:
        answer = self.client.post("/api/v1/query", json={"sql": f"SELECT count(*) AS n FROM {dataset}"})
        return answer.json()["rows"][0]["n"] if answer.is_success else answer.json()["code"]

    def stored(self) -> list[int | str]:
        return [self.rows(name) for name in ("small", "checked", "checked_rejects", "large", "put")]

    def expect_reads(self) -> None:
        """Also of results that there is no room for in the cache."""
        answer = self.client.post("/api/v1/queries", json={"sql": "SELECT * FROM large"})
        assert answer.status_code == 200, answer.text[:300]
        assert len(answer.content) > LEFT
        assert self.client.get("/healthz").status_code == 200

    def _outcome(self, answer: httpx.Response) -> str:
        """How the job ended, or why there is none."""
        found = answer.json()
        error = found.get("error") or (None if answer.is_success else found)
        told = found.get("detail") or (found.get("error") or {}).get("message", "")
        assert "/" not in told, told
        return error["code"] if error else found["state"]


@contextmanager
def full(folder: Path, left: int) -> Iterator[None]:
    disk = os.statvfs(folder)
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        file.truncate(0)
        file.write(bytes(max(0, disk.f_bavail * disk.f_frsize - left)))
    yield
    filler.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", folder], check=True)


def write_files(files: Path) -> None:
    files.mkdir()
    lines = [f"{number},{text}\n" for number, text in enumerate(TEXTS)]
    bad = [f"x{line}" for line in lines[:-100]] + lines[-100:]
    for name, content in (("small", lines[:1000]), ("large", lines), ("bad", bad)):
        (files / f"{name}.csv").write_text("id,text\n" + "".join(content))


def expect(server: Server, code: str, *, lake_only: bool) -> None:
    """Everything that writes says why it cannot, and nothing has changed."""
    before = server.stored()
    assert server.ingest("small", "large.csv") == code
    assert server.ingest("small", "large.csv", "replace") == code
    assert server.ingest("checked", "bad.csv") == code
    if lake_only:
        assert server.compact() == code
        assert server.put() == code
    else:
        assert server.upload() == code
        assert server.insert() == code
        assert server.rows("own") == 1
    assert server.stored() == before
    server.expect_reads()


def main(folder: Path) -> None:
    files, data = folder / "files", folder / "data"
    lake, backups = data / "lake", folder / "backups"
    write_files(files)
    stack = skein_stack(data, ingest_roots=str(files), cache_min_run_s=0)
    with stack as running, running.http(timeout=90) as client:
        server = Server(running, client, files)
        for dataset, file in (("small", "small.csv"), ("checked", "small.csv"), ("large", "large.csv")):
            assert server.ingest(dataset, file) == "succeeded"
        contract = {"columns": [{"name": "id", "type": "int64", "nullable": False}]}
        assert client.put("/api/v1/datasets/checked/contract", json=contract).is_success
        assert server.stored() == [1000, 1000, "dataset_not_found", len(TEXTS), "dataset_not_found"]
        sql = "CREATE TABLE own AS SELECT 0::BIGINT AS i, '' AS text"
        assert client.post("/api/v1/query", json={"sql": sql}).is_success
        with full(lake, LEFT):
            expect(server, "out_of_disk", lake_only=True)
        with full(data, LEFT):
            expect(server, "out_of_disk", lake_only=False)
        with full(data, 0):
            assert server.ingest("small", "small.csv") == "out_of_disk"
            server.expect_reads()
            assert client.get("/api/v1/datasets").status_code == 200
        with read_only(lake):
            expect(server, "dependency_failed", lake_only=True)
        for done in (
            server.ingest("small", "small.csv"),
            server.ingest("checked", "bad.csv"),
            server.compact(),
            server.upload(),
            server.insert(),
            server.put(),
        ):
            assert done == "succeeded"
        kept = len(TEXTS) - 100
        assert server.stored() == [2000, 1100, kept, len(TEXTS), len(TEXTS)]
        assert not any((data / "jobs").iterdir())
        with full(backups, LEFT):
            assert server.back_up(backups / "copy") == "out_of_disk"
        assert server.back_up(backups / "copy") == "succeeded"
    with full(data, 0):
        expect_no_start(data)


def expect_no_start(data: Path) -> None:
    """At once: nobody makes room while it waits."""
    database = Database(DataDirectory(data).catalog_url)
    try:
        database.migrate()
    except OutOfDisk:
        return
    raise AssertionError("there was room")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
