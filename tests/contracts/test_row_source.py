"""What every kind of source promises that has rows rather than bytes."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from pydantic import TypeAdapter

from flight_core.adapters.sources.adbc import AdbcOptions, AdbcSource
from flight_core.adapters.sources.file import FileSourceOptions
from flight_core.adapters.sources.flight import FlightSource
from flight_core.adapters.sources.sql import SqlSource
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.ports.sources import RowSource
from flight_core.application.queries.admission import Admission, AdmissionLimits
from flight_core.application.queries.log import QueryLog
from flight_core.application.queries.reader import Reader
from flight_core.application.queries.reads import OpenQuery, PlanQuery
from flight_core.domain.access import LOCAL
from flight_core.domain.errors import Cancelled, InvalidSource
from flight_core.domain.ingestion import SourceSpec
from flight_core.infrastructure.http_client import AddressPolicy
from schemas.sources import Source as SourceModel
from skein.registry import ROW_SOURCE_FACTORIES
from tests.contracts.query_engines import duckdb_engine
from tests.fakes.lake import FakeLake

NUMBERS = pa.table({"n": pa.array(range(10_000), pa.int64())})


@dataclass
class Example:
    """A source, and the fields that make it give `NUMBERS`, none of them, and numbers without an end."""

    source: RowSource
    some: dict[str, Any]
    none: dict[str, Any]
    endless: dict[str, Any]


@contextmanager
def sql_example(folder: Path) -> Iterator[Example]:
    (folder / "lake").mkdir()
    lake = FakeLake(folder / "lake")
    lake.commit("numbers", NUMBERS)
    datasets: Any = SimpleNamespace(lake_state=lambda: lake.state)
    with closing(duckdb_engine(lake, folder)) as engine:
        nobody: Any = None
        reader = Reader(datasets, engine, nobody, nobody)
        log = QueryLog(utc_now, new_id)
        source = SqlSource(
            PlanQuery(reader, new_id), OpenQuery(reader, Admission(AdmissionLimits(2, 0)), log)
        )
        ask = "SELECT n FROM numbers"
        yield Example(
            source,
            {"sql": ask},
            {"sql": f"{ask} WHERE n < 0"},
            {"sql": "SELECT a.n FROM numbers a, numbers b, numbers c"},
        )


@contextmanager
def adbc_example(folder: Path) -> Iterator[Example]:
    with closing(sqlite3.connect(folder / "numbers.db")) as database:
        database.execute("CREATE TABLE numbers (n INTEGER)")
        database.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(NUMBERS.num_rows)])
        database.commit()
    options = AdbcOptions(files=FileSourceOptions(roots=(folder,)), policy=AddressPolicy())
    ask = "SELECT n FROM numbers"
    fields = {"driver": "sqlite", "uri": "numbers.db"}
    yield Example(
        AdbcSource(options),
        {**fields, "sql": ask},
        {**fields, "sql": f"{ask} WHERE n < 0"},
        {**fields, "sql": "SELECT a.n FROM numbers a, numbers b, numbers c"},
    )


class Server(fl.FlightServerBase):
    """Flights by the first part of their path."""

    def get_flight_info(self, context, descriptor):
        endpoints = [fl.FlightEndpoint(descriptor.path[0], [])]
        return fl.FlightInfo(NUMBERS.schema, descriptor, endpoints, -1, -1)

    def do_get(self, context, ticket):
        return fl.GeneratorStream(NUMBERS.schema, self._batches(ticket.ticket, context))

    def _batches(self, name, context):
        yield from NUMBERS.slice(0, 0 if name == b"none" else None).to_batches()
        while name == b"endless" and not context.is_cancelled():
            yield from NUMBERS.to_batches()


@contextmanager
def flight_example(folder: Path) -> Iterator[Example]:
    with Server("grpc://127.0.0.1:0") as server:
        flights = (
            {"uri": f"grpc://127.0.0.1:{server.port}", "path": [n]} for n in ("some", "none", "endless")
        )
        yield Example(FlightSource(AddressPolicy(allow_loopback=True)), *flights)


EXAMPLES: dict[str, Callable[[Path], AbstractContextManager[Example]]] = {
    "sql": sql_example,
    "adbc": adbc_example,
    "flight": flight_example,
}


def test_every_kind_has_an_example():
    assert set(EXAMPLES) == set(ROW_SOURCE_FACTORIES)


@pytest.fixture(params=EXAMPLES)
def kind(request):
    return request.param


@pytest.fixture
def example(kind, tmp_path):
    with EXAMPLES[kind](tmp_path) as made:
        yield made


@pytest.fixture
def opened(example, kind):
    def rows(fields, run_id="run"):
        return closing(example.source.open(SourceSpec(kind, fields), actor=LOCAL, run_id=run_id))

    return rows


def test_the_rows_come_in_order_with_their_columns(example, opened):
    with opened(example.some) as rows:
        assert rows.schema.names == ["n"]
        table = pa.Table.from_batches(list(rows), rows.schema)
        rows.close()
    assert table.cast(NUMBERS.schema) == NUMBERS


def test_no_rows_have_columns_all_the_same(example, opened):
    with opened(example.none) as rows:
        assert rows.schema.names == ["n"]
        assert sum(batch.num_rows for batch in rows) == 0


def test_a_field_that_the_kind_does_not_have_is_refused(example, kind):
    spec = SourceSpec(kind, example.some)
    example.source.check(spec, actor=LOCAL)
    with pytest.raises(InvalidSource, match="'colour'"):
        example.source.check(replace(spec, fields={**spec.fields, "colour": "red"}), actor=LOCAL)


def test_the_model_of_the_kind_agrees(example, kind):
    fields = {"kind": kind, **example.some}
    assert TypeAdapter(SourceModel).validate_python(fields).model_dump(exclude_defaults=True) == example.some


def test_rows_that_are_being_read_can_be_cancelled_from_another_thread(example, opened):
    with opened(example.endless) as rows:
        batches = iter(rows)
        next(batches)
        cancelling = threading.Timer(0.05, example.source.cancel, ["run"])
        cancelling.start()
        with pytest.raises(Cancelled):
            for _ in batches:
                pass
        cancelling.join()


def test_rows_that_nobody_reads_to_their_end_can_be_closed_and_cancelled_afterwards(example, opened):
    with opened(example.endless) as rows:
        next(iter(rows))
    example.source.cancel("run")
    example.source.cancel("never heard of")
    with opened(example.some, "other") as rows:
        assert sum(batch.num_rows for batch in rows) == NUMBERS.num_rows
