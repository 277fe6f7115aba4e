"""Rejected rows that are held against a contract once more, also by workers that die at it."""

import datetime as dt
import io
from dataclasses import replace
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_series_equal

from flight_core.adapters.parsers.checks.nested_texts import as_text, from_text
from flight_core.application.ingestion.replay import ReplayRejects
from flight_core.application.ports.clock import utc_now
from flight_core.application.writes.quarantine import Quarantine
from flight_core.domain.access import LOCAL
from flight_core.domain.contract import ColumnContract, Contract, RuleCount, Severity, UniqueKey
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.domain.errors import DatasetNotFound, InvalidDatasetName
from flight_core.domain.job import JobState

ORDERS = DatasetName("orders")
CSV = b"id,day,more\n1,2026-01-31,10\n2,01.02.2026,20\n3,soon,30\nx,02.02.2026,40\n"
STRICT = Contract(columns=(ColumnContract("id", "int64"), ColumnContract("day", "date")))
GERMAN = Contract(columns=(ColumnContract("id", "int64"), ColumnContract("day", "date", format="%d.%m.%Y")))


def put(stack, contract: Contract) -> None:
    stack.contracts.put(ORDERS, contract, actor="ann", at=utc_now())


async def ingested(stack, content: bytes = CSV, **options):
    async with stack.working():
        return await stack.until(stack.start("orders", path=stack.file("orders.csv", content), **options))


def replay(stack):
    return ReplayRejects(stack.datasets, stack.start_ingestion)(ORDERS, actor=LOCAL)


async def replayed(stack):
    job = replay(stack)
    async with stack.working():
        return await stack.until(job)


def rules(stack) -> list[tuple]:
    rows = stack.table("orders_rejects").to_pylist()
    return sorted((row["source"], row["row"], tuple(row["rules"])) for row in rows)


@pytest.mark.anyio
async def test_rows_that_are_good_by_now_leave_the_quarantine(stack):
    put(stack, STRICT)
    first = await ingested(stack)
    assert rules(stack) == [
        ("orders.csv", 2, ("day.type",)),
        ("orders.csv", 3, ("day.type",)),
        ("orders.csv", 4, ("id.type", "day.type")),
    ]
    put(stack, GERMAN)
    job = await replayed(stack)
    assert job.state is JobState.SUCCEEDED, job.error_message
    assert stack.table("orders").column("id").to_pylist() == [1, 2]
    assert stack.table("orders").column("more").to_pylist() == [10, 20]
    assert rules(stack) == [("orders.csv", 3, ("day.type",)), ("orders.csv", 4, ("id.type",))]
    assert (job.check.contract_version, job.check.rows, job.check.rejected_rows) == (2, 3, 2)
    assert {row["job"] for row in stack.table("orders_rejects").to_pylist()} == {first.id}
    assert {row["contract_version"] for row in stack.table("orders_rejects").to_pylist()} == {2}
    job = await replayed(stack)
    assert (job.state, job.check.rejected_rows) == (JobState.SUCCEEDED, 2)
    assert stack.table("orders").num_rows == 2
    assert len(rules(stack)) == 2


@pytest.mark.anyio
async def test_all_rows_may_leave_and_keys_are_looked_at_again(stack):
    put(stack, replace(STRICT, unique=(UniqueKey(("id",)),)))
    await ingested(stack, b"id,day\n1,2026-01-31\n2,x\n1,2026-02-01\n")
    put(stack, Contract(columns=(ColumnContract("id", "int64"),), unique=(UniqueKey(("id",)),)))
    job = await replayed(stack)  # the day is a date in the dataset, and 'x' is none
    assert job.check.rules == (
        RuleCount("type", "day", Severity.REJECT, 1),
        RuleCount("unique", "id", Severity.REJECT, 1),
    )
    put(stack, Contract(columns=(ColumnContract("id", "int64"),)))
    await ingested(stack, b"id,day\n7,2026-01-31\n", mode=WriteMode.REPLACE)
    put(stack, STRICT)
    await replayed(stack)
    assert stack.table("orders").column("id").to_pylist() == [7, 1]
    assert rules(stack) == [("orders.csv", 2, ("day.type",))]


@pytest.mark.anyio
async def test_rows_of_jobs_that_committed_nothing_are_not_replayed(stack):
    put(stack, replace(STRICT, limits=replace(STRICT.limits, max_rejected_rows=0)))
    await ingested(stack)
    put(stack, GERMAN)
    await replayed(stack)
    assert stack.datasets.find(ORDERS) is None or stack.table("orders").num_rows == 0
    assert len(rules(stack)) == 3


STRUCT = pa.struct([("day", pa.date32()), ("sums", pa.list_(pa.decimal128(9, 2))), ("raw", pa.binary())])
NESTED = pa.table(
    {
        "id": [1, -2, -3, -4],
        "bytes": pa.array([b"", b"\x00\xff", None, b"abc"], pa.binary()),
        "numbers": pa.array([[], [1.5, float("nan"), None], None, [1e300]], pa.list_(pa.float64())),
        "texts": pa.array([None, ["a", '"\n', None], [], [""]], pa.list_(pa.string())),
        "days": pa.array(
            [[(7, dt.date(2026, 1, 31)), (8, None)], None, [], [(-1, dt.date(1, 1, 1))]],
            pa.map_(pa.int64(), pa.date32()),
        ),
        "maps": pa.array(
            [[{"m": [("a", b"\x00\xff")]}], [{"m": None}, {"m": []}, None], None, [{"m": [('"', b"")]}]],
            pa.list_(pa.struct([("m", pa.map_(pa.string(), pa.binary()))])),
        ),
        "one": pa.array(
            [
                None,
                {"day": dt.date(2026, 1, 31), "sums": [Decimal("1.50"), None], "raw": b"\x01"},
                {"day": None, "sums": None, "raw": None},
                {"day": dt.date(1, 1, 1), "sums": [], "raw": b""},
            ],
            STRUCT,
        ),
    }
)


@pytest.mark.anyio
async def test_nested_and_binary_values_come_back_as_they_were(stack):
    positive = Contract(columns=(ColumnContract("id", "int64", ge=0),))
    put(stack, positive)
    sink = io.BytesIO()
    pq.write_table(NESTED, sink)
    job = await ingested(stack, sink.getvalue())
    assert job.check.rejected_rows == 3, job.error_message
    stored = stack.table("orders")
    put(stack, Contract())
    job = await replayed(stack)
    assert (job.state, job.check.rejected_rows) == (JobState.SUCCEEDED, 0), job.error_message
    table = stack.table("orders")
    assert table.schema == stored.schema
    assert str(table.sort_by([("id", "descending")]).to_pylist()) == str(NESTED.to_pylist())


_EARLY = dt.datetime(1, 1, 2)  # noqa: DTZ001 - hypothesis wants it like this
SCALARS = {
    pl.Int64(): st.integers(-(2**63), 2**63 - 1),
    pl.Float64(): st.floats(),
    pl.String(): st.text(),
    pl.Binary(): st.binary(max_size=9),
    pl.Boolean(): st.booleans(),
    pl.Date(): st.dates(),
    pl.Datetime("us"): st.datetimes(min_value=_EARLY),
    pl.Datetime("us", "UTC"): st.datetimes(min_value=_EARLY, timezones=st.just(dt.UTC)),
    pl.Decimal(20, 3): st.decimals(-(10**16), 10**16, places=3),
}


def _nested(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(pl.List, inner) | st.builds(lambda a, b: pl.Struct({"a": a, "b": b}), inner, inner)


TYPES = st.recursive(st.sampled_from(list(SCALARS)), _nested, max_leaves=3).filter(
    lambda each: each.is_nested() or each == pl.Binary
)


def values_of(type: pl.DataType) -> st.SearchStrategy:
    match type:
        case pl.List():
            return st.none() | st.lists(values_of(type.inner), max_size=3)
        case pl.Struct():
            return st.none() | st.fixed_dictionaries(
                {each.name: values_of(each.dtype) for each in type.fields}
            )
    return st.none() | SCALARS[type]


@settings(max_examples=150)
@given(TYPES.flatmap(lambda each: st.tuples(st.just(each), st.lists(values_of(each), max_size=4))))
def test_what_is_kept_as_text_is_read_back_whatever_it_was(drawn):
    type, values = drawn
    kept = pl.Series("c", values, dtype=type)
    assert_series_equal(from_text(as_text(kept), type), kept)


def test_text_that_is_no_value_of_the_type_is_null():
    texts = pl.Series(["free", '{"value":["x"]}', '{"value":[1]}', None])
    assert from_text(texts, pl.List(pl.Int64())).to_list() == [None, None, [1], None]
    assert from_text(pl.Series(["YQ==", "?"]), pl.Binary()).to_list() == [b"a", None]


@pytest.mark.anyio
async def test_of_two_replays_asked_for_together_one_fails(stack):
    put(stack, STRICT)
    await ingested(stack)
    put(stack, GERMAN)
    jobs = [replay(stack), replay(stack)]
    async with stack.working():
        ended = [await stack.until(job) for job in jobs]
    assert sorted(job.state for job in ended) == [JobState.FAILED, JobState.SUCCEEDED]
    assert stack.table("orders").num_rows == 2


def test_there_has_to_be_something_to_replay(stack):
    with pytest.raises(DatasetNotFound, match="nothing to replay"):
        replay(stack)


def test_the_names_of_quarantines_are_kept_for_them(stack):
    with pytest.raises(InvalidDatasetName, match="_rejects"):
        stack.start("orders_rejects", path=stack.file("orders.csv", CSV))


class Death(BaseException):
    """Takes a worker away at once, as kill -9 does: nothing is cleaned up, nobody is told."""


@pytest.mark.anyio
@pytest.mark.parametrize("contract", [GERMAN, STRICT], ids=["some good", "all bad"])
@pytest.mark.parametrize("step", ["before", "after"])
@pytest.mark.parametrize("kind", ["ingest", "replay"])
async def test_a_job_whose_worker_died_between_two_commits_has_each_once(
    stack, monkeypatch, kind, step, contract
):
    put(stack, STRICT)
    if kind == "replay":
        await ingested(stack)
        put(stack, contract)
        job = replay(stack)
    else:
        job = stack.start("orders", path=stack.file("orders.csv", CSV))
    ran = stack.run_ingestion()
    folder = stack.jobs / "first"
    folder.mkdir()
    settle = Quarantine.settle

    def dies(self, ingestion, version):
        if step == "after":
            settle(self, ingestion, version)
        raise Death

    async def report(progress):
        pass

    monkeypatch.setattr(Quarantine, "settle", dies)
    with pytest.raises(Death):
        await ran(stack.get(job), folder, report)
    monkeypatch.setattr(Quarantine, "settle", settle)
    async with stack.working():
        job = await stack.until(job)
    assert job.state is JobState.SUCCEEDED
    good = 2 if (kind, contract) == ("replay", GERMAN) else 1
    assert stack.table("orders").num_rows == good
    assert len(rules(stack)) == 4 - good
    assert job.check.rejected_rows == 4 - good
