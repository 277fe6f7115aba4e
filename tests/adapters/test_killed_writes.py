"""SIGKILL of a server at random moments of writes by clients: all or nothing, and what it confirmed stays.

Clients write to datasets, and to a table of their own, in each of the ways there are, all at once, until the
server dies at some step of theirs or of its start. What the next server shows them is what they were told.

SKEIN_TEST_KILLS=1000 makes the ordinary run longer, SKEIN_TEST_SEED repeats a run.
"""

import json
import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.application.ports.clock import utc_now
from flight_core.domain.contract import ColumnContract, Contract
from flight_core.domain.dataset import DatasetName
from skein.directory import Role
from skein.runtime import RuntimeFile
from tests.adapters.conftest import Worker
from tests.adapters.whole_process import WholeProcess, data_of, whole_process
from tests.stack import until

KILLS = int(os.environ.get("SKEIN_TEST_KILLS", "4"))
SEED = int(os.environ.get("SKEIN_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
STEPS = 1500  # a start takes 130 to 250 of them
DEADLINE_S = 60

Rows = list[tuple]
State = Rows | None  # None: there is no such dataset

BROKEN = [(1, None, "no number"), (2, None, "none either")]
COLUMNS = pa.schema([("part", pa.int64()), ("id", pa.int64()), ("text", pa.string())])
GONE = (pa.ArrowException, fl.FlightError, adbc.Error, adbc.Warning, OSError)
OUR_FAILURE = re.compile(r"\[[a-z]+(_[a-z]+)+\]")  # a code: a living server refused


def rows_of(number: int) -> Rows:
    """Of the write of that number: of two parts, with ids that those of neighbours have as well."""
    return [
        (part, part * 10 + n % 10, f"{number}") for part in (number % 3, 3) for n in range(number, number + 5)
    ]


def table_of(rows: Rows) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(COLUMNS.names, row, strict=True)) for row in rows], COLUMNS)


def values_of(number: int) -> str:
    return ", ".join(f"({part}, {id}, '{text}')" for part, id, text in rows_of(number))


class Client:
    """Of one server. Statements on `transactions` wait for its commit."""

    def __init__(self, uri: str, stack: ExitStack) -> None:
        self.flight = stack.enter_context(fl.connect(uri))
        self.sql = stack.enter_context(adbc.connect(uri, autocommit=True))
        self.transactions = stack.enter_context(adbc.connect(uri))

    def put(self, name: str, rows: Rows, **options: str) -> None:
        headers = [(f"x-skein-{option}".encode(), value.encode()) for option, value in options.items()]
        call = fl.FlightCallOptions(timeout=DEADLINE_S, headers=headers)
        writer, reader = self.flight.do_put(fl.FlightDescriptor.for_path(name), COLUMNS, call)
        with writer:
            writer.write_table(table_of(rows), max_chunksize=4)
            writer.done_writing()
            answer = reader.read()
        assert json.loads(answer.to_pybytes())["rows"] == len([row for row in rows if row not in BROKEN])

    def ingest(self, name: str, number: int, schema: str) -> None:
        rows = table_of(rows_of(number))
        with self.sql.cursor() as cursor:
            assert cursor.adbc_ingest(name, rows, mode="create_append", db_schema_name=schema) == len(rows)

    def commit(self, sql: str) -> None:
        with self.transactions.cursor() as cursor:
            cursor.execute(sql)
        self.transactions.commit()

    def execute(self, sql: str) -> None:
        with self.sql.cursor() as cursor:
            cursor.execute(sql)

    def read(self, sql: str) -> State:
        try:
            with self.sql.cursor() as cursor:
                cursor.execute(sql)
                return sorted(cursor.fetchall())
        except adbc.Error as error:
            if "_not_found]" in str(error):
                return None
            raise


Write = Callable[[Client, str, int], None]
After = Callable[[Rows, int], Rows]


@dataclass
class Lane:
    """Writes to one dataset, one after the other. `possible`: what it may hold now."""

    name: str
    write: Write
    after: After
    query: str = "SELECT part, id, text FROM {}"
    number: int = 0  # of the write that is next
    versions: int = 0
    possible: list[State] = field(default_factory=lambda: [None])

    def write_until_death(self, uri: str) -> None:
        """What the last server left first; then as much as this one lives to see."""
        with ExitStack() as stack:
            try:
                client = Client(uri, stack)
                self.look(client)
                while True:
                    self.write_once(client)
            except GONE as error:
                if OUR_FAILURE.search(str(error)):
                    raise

    def look(self, client: Client) -> None:
        found = client.read(self.query.format(self.name))
        assert found in self.possible, (SEED, self.name, self.number)
        if len(self.possible) == 2 and found == self.possible[1]:
            self.versions += 1
        self.possible = [found]

    def write_once(self, client: Client) -> None:
        (before,) = self.possible
        after = sorted(self.after(before or [], self.number))
        self.possible = [before] if after == before else [before, after]
        self.number += 1
        self.write(client, self.name, self.number - 1)
        self.versions += len(self.possible) - 1
        self.possible = [after]


def replaced(_: Rows, number: int) -> Rows:
    return rows_of(number)


def appended(before: Rows, number: int) -> Rows:
    return before + rows_of(number)


def upserted(before: Rows, number: int) -> Rows:
    ids = {row[1] for row in rows_of(number)}
    return [row for row in before if row[1] not in ids] + rows_of(number)


def parts_replaced(before: Rows, number: int) -> Rows:
    parts = {row[0] for row in rows_of(number)}
    return [row for row in before if row[0] not in parts] + rows_of(number)


def ingested_or_deleted(before: Rows, number: int) -> Rows:
    return [row for row in before if row[0] == 3] if number % 2 else appended(before, number)


def checked(before: Rows, number: int) -> Rows:
    rejected = [(-1, id + len(BROKEN), text) for part, id, text in before if part == -1]
    return [row for row in before if row[0] != -1] + rows_of(number) + (rejected or [(-1, len(BROKEN), "")])


def put(**options: str) -> Write:
    return lambda client, name, number: client.put(name, rows_of(number), **options)


def put_with_broken_rows(client: Client, name: str, number: int) -> None:
    client.put(name, rows_of(number) + BROKEN)


def execute(sql: str) -> Write:
    return lambda client, name, number: client.execute(sql.format(name=name, values=values_of(number)))


def ingest(schema: str) -> Write:
    return lambda client, name, number: client.ingest(name, number, schema)


def ingest_or_delete(client: Client, name: str, number: int) -> None:
    if number % 2:
        client.execute(f"DELETE FROM datasets.{name} WHERE part <> 3")
    else:
        client.ingest(name, number, "datasets")


def in_transaction(client: Client, name: str, number: int) -> None:
    client.commit(f"INSERT INTO datasets.{name} VALUES {values_of(number)}")


CHECKED = "SELECT part, id, text FROM {0} UNION ALL SELECT -1, count(*), '' FROM {0}_rejects WHERE committed"


def lanes() -> list[Lane]:
    values = "SELECT * FROM (VALUES {values}) AS v (part, id, text)"
    return [
        Lane("put_append", put(), appended),
        Lane("put_replace", put(mode="replace"), replaced),
        Lane("put_upsert", put(mode="upsert", keys="id"), upserted),
        Lane("put_parts", put(mode="replace_partitions", keys="part"), parts_replaced),
        Lane("checked", put_with_broken_rows, checked, CHECKED),
        Lane("ingested", ingest("datasets"), appended),
        Lane("deleted", ingest_or_delete, ingested_or_deleted, versions=1, possible=[[]]),
        Lane("created", execute("CREATE OR REPLACE TABLE datasets.{name} AS " + values), replaced),
        Lane("inserted", in_transaction, appended, versions=1, possible=[[]]),
        Lane("own_table", ingest("main"), appended),
    ]


@dataclass
class Servers:
    """One after the other in a folder, each in a process that dies at some step."""

    folder: Path
    worker: Worker
    pool: ThreadPoolExecutor

    @contextmanager
    def serving(self, last_step: int) -> Iterator[tuple[Future[int | None], str | None]]:
        """How it ends, and where it is; None if it died before it was anywhere."""
        runtime = RuntimeFile(data_of(self.folder) / "skein.json")
        end = self.pool.submit(self.worker, self.folder, last_step, "serve")
        until(lambda: end.done() or runtime.read(), deadline_s=DEADLINE_S)
        found = runtime.read()
        try:
            yield end, found.get("flight")
        finally:
            if not end.done() and found:
                os.kill(found["pid"], signal.SIGTERM)


def under_contract(process: WholeProcess, name: str) -> None:
    contract = Contract(columns=(ColumnContract("id", "int64", nullable=False),))
    repository = process.parts.catalog.contracts
    repository.put(DatasetName(name), contract, actor="ann", at=utc_now())


# ADBC closes statements of a dead server twice, and a connection that could not be made never.
@pytest.mark.filterwarnings("ignore:Failed to close cursor:ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*(Cursor|Connection).__del__:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(300)
def test_what_a_killed_server_acknowledged_is_there_and_the_rest_is_there_or_not(tmp_path, worker):
    dice = random.Random(SEED)
    every = lanes()
    with whole_process(tmp_path, Role.FLIGHT) as process:
        under_contract(process, "checked")
        for name in ("deleted", "inserted"):
            process.write(name, table_of([]))
    with ThreadPoolExecutor(len(every) + 1) as pool:
        servers = Servers(tmp_path, worker, pool)
        for _ in range(KILLS):
            with servers.serving(dice.randint(1, STEPS)) as (end, uri):
                if uri is not None:
                    list(pool.map(lambda lane, at=uri: lane.write_until_death(at), every))
                assert end.result(DEADLINE_S) is None, SEED
        with servers.serving(0) as (end, uri), ExitStack() as stack:
            client = Client(uri, stack)
            for lane in every:
                lane.look(client)
                lane.write_once(client)
                lane.look(client)
        assert end.result(DEADLINE_S), SEED
    with whole_process(tmp_path, Role.FLIGHT) as process:
        ids = dict(process.ids())
        for lane in every:
            if lane.name in ids:
                assert len(process.parts.store.history(ids[lane.name])) == lane.versions, (SEED, lane.name)
        process.expect_nothing_left_behind()
