"""A client of live queries that tests drive step by step."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from websockets.sync.client import ClientConnection, connect

from schemas.live import FRAME_HEADER

TIMEOUT_S = 30


@dataclass(frozen=True)
class Result:
    head: dict
    table: pa.Table
    end: dict

    @property
    def mode(self) -> str:
        return self.head["mode"]

    @property
    def versions(self) -> dict[str, int]:
        return self.head["datasets"]

    def rows(self, column: str = "x") -> list:
        return self.table[column].to_pylist()


class LiveClient:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def say(self, **request: object) -> None:
        self.connection.send(json.dumps(request))

    def hear(self) -> dict:
        """The next message, which is no frame."""
        return json.loads(self.connection.recv(timeout=TIMEOUT_S))

    def frame(self) -> tuple[int, int, pa.Table]:
        frame = self.connection.recv(timeout=TIMEOUT_S)
        channel, number = FRAME_HEADER.unpack_from(frame)
        return channel, number, pa.ipc.open_stream(frame[FRAME_HEADER.size :]).read_all()

    def follow(self, sql: str, **options: object) -> dict:
        self.say(subscribe={"id": "q", "sql": sql, "interval_ms": 0, **options})
        return self.hear()

    def result(self) -> Result:
        """The next one, if only one subscription has any."""
        head = self.hear()
        assert head["type"] == "result", head
        tables = []
        while isinstance(message := self.connection.recv(timeout=TIMEOUT_S), bytes):
            assert FRAME_HEADER.unpack_from(message) == (head["channel"], len(tables))
            tables.append(pa.ipc.open_stream(message[FRAME_HEADER.size :]).read_all())
        end = json.loads(message)
        assert end["type"] == "end", end
        table = pa.concat_tables(tables)
        assert (end["number"], end["batches"], end["rows"]) == (head["number"], len(tables), table.num_rows)
        return Result(head, table, end)


@contextlib.contextmanager
def live_client(base: str, **options: object) -> Iterator[LiveClient]:
    url = f"{base.replace('http', 'ws', 1)}/api/v1/live"
    with connect(url, close_timeout=1, max_size=None, **options) as connection:
        yield LiveClient(connection)
