"""Many clients that read and change one dataset at once: whatever is read is one whole version of it."""

import random
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.domain.errors import CommitConflict
from flight_core.domain.query import Statement
from flight_core.domain.versions import TagName
from tests.stack import Stack, skein_stack

NAME = DatasetName("shared")
CHANGES = 40  # of each writer
TOKENS = {"owner": "own3r", "reader": "r3ader"}

Content = frozenset[tuple[int, int]]  # the writes whose rows it holds, and how many each


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("many") / "data"
    tokens = f"owner={TOKENS['owner']},reader/read={TOKENS['reader']}"
    with skein_stack(data, tokens=tokens, cache_bytes=0) as made:  # which would hide what is not pinned
        yield made


def rows_of(write: int, rows: int) -> pa.Table:
    return pa.table({"write": [write] * rows, "rows": [rows] * rows})


def content(table: pa.Table) -> Content:
    """Each write is there with all of its rows, or not at all."""
    found = table.group_by(["write", "rows"]).aggregate([("rows", "count")]).to_pylist()
    assert all(write["rows_count"] == write["rows"] for write in found), found
    return frozenset((write["write"], write["rows"]) for write in found)


def over_http(stack: Stack, who: str, name: str) -> tuple[int, Content]:
    """With the version that the answer tells."""
    accept = {"Accept": "application/vnd.apache.arrow.stream", "Authorization": f"Bearer {TOKENS[who]}"}
    with stack.http(headers=accept, timeout=60) as client:
        reply = client.post("/api/v1/query", json={"sql": f'SELECT * FROM "{name}"'})
        assert reply.status_code == 200, reply.text
        (version,) = re.findall(r"@v(\d+)", reply.headers["Skein-Datasets"])
        return int(version), content(pa.ipc.open_stream(reply.content).read_all())


def over_flight(stack: Stack, who: str, name: str) -> tuple[fl.Ticket, Content]:
    """With the ticket, which reads the same again."""
    command = fl.FlightDescriptor.for_command(f'SELECT * FROM "{name}"'.encode())
    with stack.flight() as client:
        ticket = client.get_flight_info(command, options_of(who)).endpoints[0].ticket
        return ticket, content(client.do_get(ticket, options_of(who)).read_all())


def options_of(who: str) -> fl.FlightCallOptions:
    return fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {TOKENS[who]}".encode())])


def changes(stack: Stack, writes: Iterator[int], chance: random.Random) -> list[Callable[[], object]]:
    """What a writer does now and then; the first most often."""
    versions = stack.skein.control.versions
    deletes = stack.skein.control.queries.run

    def write(mode: WriteMode) -> None:
        stack.write(str(NAME), rows_of(next(writes), chance.randint(1, 2000)), mode)

    def delete() -> None:
        sql = f"DELETE FROM datasets.{NAME} WHERE write % 5 = {chance.randint(0, 4)}"
        deletes(Statement(sql), actor=LOCAL, started=lambda _: None)

    def restore() -> None:
        newest = stack.skein.control.datasets.get(NAME, actor=LOCAL).version
        versions.restore(NAME, chance.randint(0, newest), actor=LOCAL)

    return [
        lambda: write(WriteMode.APPEND),
        lambda: write(WriteMode.REPLACE),
        delete,
        restore,
        lambda: stack.skein.compact(NAME, actor=LOCAL),
        lambda: versions.tag(NAME, TagName("gold"), actor=LOCAL),
    ]


def test_what_is_read_while_others_write_is_one_version_as_a_whole(stack):
    writes = count()
    stack.write(str(NAME), rows_of(next(writes), 10), WriteMode.REPLACE)
    stack.skein.control.versions.tag(NAME, TagName("gold"), actor=LOCAL)
    written = threading.Event()

    def change(writer: int) -> None:
        chance = random.Random(writer)
        some = changes(stack, writes, chance)
        for _ in range(CHANGES):
            with suppress(CommitConflict):
                chance.choices(some, [6, 1, 1, 1, 2, 2])[0]()

    def read(reader: int) -> list[tuple[int | fl.Ticket, Content]]:
        chance = random.Random(reader)
        found: list[tuple[int | fl.Ticket, Content]] = []
        while not written.is_set():
            door = chance.choice([over_http, over_flight])
            found.append(door(stack, chance.choice(list(TOKENS)), chance.choice([str(NAME), f"{NAME}@gold"])))
        return found

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read, reader) for reader in range(4)]
        try:
            list(pool.map(change, range(2)))
        finally:
            written.set()
        found = [each for reader in readers for each in reader.result(60)]

    newest, _ = over_http(stack, "owner", str(NAME))
    versions = dict(over_http(stack, "owner", f"{NAME}@v{number}") for number in range(newest + 1))
    assert len({read_then for _, read_then in found}) > 1
    with stack.flight() as client:
        for version, read_then in found:
            if isinstance(version, int):
                assert read_then == versions[version]
            else:
                assert read_then in versions.values()
                for who in TOKENS:
                    again = client.do_get(version, options_of(who)).read_all()
                    assert content(again) == read_then
