"""Compaction and vacuum while somebody reads: streams, transactions and valid tickets keep their rows."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta

import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.application.maintenance.vacuum import Vacuumed, VacuumOptions
from flight_core.application.ports.clock import utc_now
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.domain.errors import Cancelled, InvalidRequest
from flight_core.domain.versions import RetentionPolicy
from skein.directory import Role
from tests.stack import Stack, skein_stack

SALES = DatasetName("sales")
ROWS = 600_000
PARTS = 12
DESCRIPTOR = fl.FlightDescriptor.for_path("sales")


@dataclass(frozen=True)
class Lake:
    """`reading` serves Flight, `writing` maintains the tables; they may be two processes."""

    reading: Stack
    writing: Stack

    def compact_and_expire(self) -> None:
        skein = self.writing.skein
        skein.compact(SALES, actor=LOCAL)
        skein.control.versions.set_retention(SALES, RetentionPolicy(keep_versions=1), actor=LOCAL)

    def vacuum(self, grace: timedelta = timedelta(0), *, later: timedelta = timedelta(0)) -> Vacuumed:
        """Once all processes have said what they read; after a while, in which they said nothing."""
        for stack in (self.reading, self.writing):
            stack.skein.open_read_reporter.report()
        vacuum = replace(
            self.writing.skein.vacuum,
            options=VacuumOptions(grace=grace),
            clock=lambda: utc_now() + later,
        )
        return vacuum(SALES, actor=LOCAL)

    @property
    def files(self) -> int:
        return len(list((self.writing.data / "lake").rglob("*/*/*.parquet")))


@pytest.fixture(params=["one process", "two processes"])
def lake(request, tmp_path) -> Iterator[Lake]:
    with ExitStack() as stack:
        if request.param == "one process":
            both = stack.enter_context(skein_stack(tmp_path))
            made = Lake(both, both)
        else:
            made = Lake(
                stack.enter_context(skein_stack(tmp_path, roles={Role.FLIGHT})),
                stack.enter_context(skein_stack(tmp_path, roles={Role.CONTROL})),
            )
        for part in range(PARTS):
            numbers = range(part * ROWS // PARTS, (part + 1) * ROWS // PARTS)
            made.writing.write(
                "sales", pa.table({"n": numbers, "text": [f"row {n} of many" for n in numbers]})
            )
        yield made


def test_a_slow_reader_gets_every_row_while_the_table_is_compacted_and_vacuumed(lake):
    with lake.reading.flight() as client:
        reader = client.do_get(client.get_flight_info(DESCRIPTOR).endpoints[0].ticket)
        first = reader.read_chunk().data
        lake.compact_and_expire()
        assert lake.vacuum().expired == list(range(PARTS))
        held = lake.vacuum()
        assert (held.deleted, held.removed.files, held.waiting) == ([], 0, list(range(PARTS)))
        rest = reader.read_all()
        numbers = [*first["n"].to_pylist(), *rest["n"].to_pylist()]
        assert numbers == list(range(ROWS))
        with lake.reading.flight() as another:
            ticket = another.get_flight_info(DESCRIPTOR).endpoints[0].ticket
            assert another.do_get(ticket).read_all()["n"].to_pylist() == numbers
    done = lake.vacuum()
    assert (done.deleted, done.removed.files) == (list(range(PARTS)), PARTS)
    assert lake.files == 1


def test_a_ticket_is_good_as_long_as_it_says_and_not_longer(lake):
    with lake.reading.flight() as client:
        ticket = client.get_flight_info(DESCRIPTOR).endpoints[0].ticket
        lake.compact_and_expire()
        lake.vacuum(grace=timedelta(hours=1))
        assert lake.vacuum(grace=timedelta(hours=1)).deleted == []
        assert client.do_get(ticket).read_all()["n"].to_pylist() == list(range(ROWS))
        gone = lake.vacuum(grace=timedelta(hours=1), later=timedelta(hours=2))
        assert gone.removed.files == PARTS
        with pytest.raises(pa.ArrowKeyError, match=r"\[version_expired\] version 11 has expired"):
            client.do_get(ticket).read_all()
        fresh = client.get_flight_info(DESCRIPTOR).endpoints[0].ticket
        assert client.do_get(fresh).read_all()["n"].to_pylist() == list(range(ROWS))


def test_a_transaction_reads_on_what_it_saw_first(lake):
    with flight_sql.connect(lake.reading.flight_uri) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT max(n) FROM sales")
        cursor.fetchall()
        lake.writing.write("sales", pa.table({"n": [7], "text": ["new"]}), WriteMode.REPLACE)
        lake.compact_and_expire()
        lake.vacuum()
        assert lake.vacuum().deleted == []
        cursor.execute("SELECT count(*), sum(n) FROM sales")
        assert cursor.fetchall() == [(ROWS, sum(range(ROWS)))]
        connection.commit()
        assert lake.vacuum().removed.files == PARTS
        cursor.execute("SELECT n FROM sales")
        assert cursor.fetchall() == [(7,)]
        connection.rollback()


def test_a_sorted_compaction_has_the_same_rows_in_order(lake):
    shuffled = pa.table({"n": [5, 3, 9], "text": ["b", "a", None]})
    lake.writing.write("sales", shuffled, WriteMode.REPLACE)
    lake.writing.write("sales", pa.table({"n": [4], "text": ["a"]}))
    made = lake.writing.skein.compact(SALES, actor=LOCAL, sort_by=["Text", "n"], message="faster filters")
    with lake.reading.flight() as client:
        rows = client.do_get(client.get_flight_info(DESCRIPTOR).endpoints[0].ticket).read_all()
    assert rows.to_pydict() == {"n": [3, 4, 5, 9], "text": ["a", "a", "b", None]}
    assert made.commit_info == {
        "actor": "local",
        "mode": "compact",
        "sort_by": "Text, n",
        "message": "faster filters",
    }


def test_a_compaction_can_be_watched_and_stopped_at_any_moment(lake):
    compact = lake.writing.skein.compact
    for options in ({}, {"sort_by": ["n"]}):
        stop, steps = Cancellation(), []

        def report(step, stop=stop, steps=steps):
            steps.append(step)
            if len(steps) == 2:
                stop.request()

        with pytest.raises(Cancelled):
            compact(SALES, actor=LOCAL, report=report, cancellation=stop, **options)
        assert [step.total for step in steps] == [ROWS, ROWS]
        assert 0 < steps[0].done < steps[1].done < ROWS
    assert lake.files == PARTS
    with pytest.raises(InvalidRequest, match="no column 'nn' to sort by"):
        compact(SALES, actor=LOCAL, sort_by=["nn"])
    first = compact(SALES, actor=LOCAL, job_id="job")
    assert compact(SALES, actor=LOCAL, job_id="job") == first
    assert compact(SALES, actor=LOCAL) == first
