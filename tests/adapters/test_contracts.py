"""Ingestions whose rows are held against a contract, from the file to the quarantine."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_core.adapters.parsers.checks.contract_rules import check_contract
from flight_core.adapters.parsers.output import FILE_ROW_GROUPS, ROW_GROUP_ROWS
from flight_core.application.ingestion.replay import ReplayRejects
from flight_core.application.ports.clock import utc_now
from flight_core.domain.access import LOCAL
from flight_core.domain.contract import (
    ColumnContract,
    Contract,
    ExtraColumns,
    Freshness,
    MissingColumns,
    RejectLimits,
    RowRule,
    RuleCount,
    Severity,
    UniqueKey,
)
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.domain.errors import DatasetNotFound, InvalidContract
from flight_core.domain.job import JobState

ID = ColumnContract("id", "int64", nullable=False)
PRICE = ColumnContract("price", "decimal(8, 2)", ge=0)
ORDERS = Contract(columns=(ID, PRICE, ColumnContract("day", "date", format="%d.%m.%Y")))
CSV = b"""id,price,day
1,1.50,31.01.2026
x,2.00,01.02.2026
3,-1,02.02.2026
,free,soon
5,NA,
6,2.005,03.02.2026
"""
REJECT, WARN, FAIL = Severity.REJECT, Severity.WARN, Severity.FAIL


def put(stack, contract: Contract, name: str = "orders") -> None:
    stack.parser.check_contract(contract)
    stack.contracts.put(DatasetName(name), contract, actor="ann", at=utc_now())


async def ended(stack, content: bytes = CSV, *, name="orders", file="orders.csv", **options):
    async with stack.working():
        return await stack.until(stack.start(name, path=stack.file(file, content), **options))


def rejects(stack, name: str = "orders") -> list[dict]:
    rows = stack.table(f"{name}_rejects").to_pylist()
    return sorted(rows, key=lambda row: (row["source"], row["row"] or 0))


@pytest.mark.anyio
async def test_good_rows_are_committed_and_bad_ones_are_kept_with_what_they_broke(stack):
    put(stack, ORDERS)
    job = await ended(stack)
    assert job.state is JobState.SUCCEEDED
    table = stack.table("orders")
    assert [str(type) for type in table.schema.types] == ["int64", "decimal128(8, 2)", "date32[day]"]
    assert table.column("id").to_pylist() == [1, 5]
    assert [(row["row"], row["rules"]) for row in rejects(stack)] == [
        (2, ["id.type"]),
        (3, ["price.ge"]),
        (4, ["price.type", "day.type", "id.not_null"]),
        (6, ["price.type"]),
    ]
    assert dict(rejects(stack)[2]["raw"]) == {"id": None, "price": "free", "day": "soon"}
    assert {(row["source"], row["job"], row["contract_version"]) for row in rejects(stack)} == {
        ("orders.csv", job.id, 1)
    }
    assert all(row["committed"] for row in rejects(stack))
    assert (job.check.contract_version, job.check.rows, job.check.rejected_rows) == (1, 6, 4)
    assert set(job.check.rules) == {
        RuleCount("type", "price", REJECT, 2),
        RuleCount("type", "id", REJECT, 1),
        RuleCount("type", "day", REJECT, 1),
        RuleCount("not_null", "id", REJECT, 1),
        RuleCount("ge", "price", REJECT, 1),
    }
    assert stack.get(job).check == job.check
    assert stack.events_of(job)[-1].event.data["rejected_rows"] == 4


@pytest.mark.anyio
async def test_numbers_with_a_decimal_comma_are_checked_as_numbers(stack):
    put(stack, Contract(columns=(ID, PRICE, ColumnContract("weight", "double"))))
    job = await ended(stack, b"id;price;weight\n1;19,90;1,5\n3;5,00;0,25\nx;-5,00;1\n")
    assert job.state is JobState.SUCCEEDED
    assert stack.table("orders").to_pylist() == [
        {"id": 1, "price": Decimal("19.90"), "weight": 1.5},
        {"id": 3, "price": Decimal("5.00"), "weight": 0.25},
    ]
    assert [row["rules"] for row in rejects(stack)] == [["id.type", "price.ge"]]


def test_a_format_by_which_nothing_can_be_read_is_refused():
    with pytest.raises(InvalidContract, match=r"'day': .* both hour and minute"):
        check_contract(Contract(columns=(ColumnContract("day", "timestamp", format="%Y-%m-%d %H"),)))


@pytest.mark.anyio
async def test_a_rule_whose_decimals_overflow_is_told_and_not_taken_for_broken_data(stack):
    rules = (RowRule("squared", "price * price > 0"),)
    put(stack, Contract(columns=(ColumnContract("price", "decimal(38, 0)"),), rules=rules))
    job = await ended(stack, b"price\n1\n" + b"9" * 38 + b"\n")
    assert job.error_code == "invalid_contract"
    assert "cannot be checked on these rows" in job.error_message


@pytest.mark.anyio
async def test_clean_data_makes_no_quarantine(stack):
    put(stack, ORDERS)
    job = await ended(stack, b"id,price,day\n1,1.5,31.01.2026\n")
    assert job.check.rejected_rows == 0
    with pytest.raises(DatasetNotFound):
        stack.table("orders_rejects")


@pytest.mark.anyio
@pytest.mark.parametrize("limits", [RejectLimits(0), RejectLimits(3), RejectLimits(None, 0.5)])
async def test_too_many_bad_rows_fail_the_job_and_are_kept(stack, limits):
    put(stack, Contract(columns=ORDERS.columns, limits=limits))
    job = await ended(stack)
    assert (job.state, job.error_code) == (JobState.FAILED, "contract_violated")
    assert "4 of 6 rows were rejected" in job.error_message
    assert job.check.rejected_rows == 4
    assert not any(row["committed"] for row in rejects(stack))
    assert len(rejects(stack)) == 4
    with pytest.raises(DatasetNotFound):
        stack.table("orders")


@pytest.mark.anyio
async def test_severities_warn_of_rows_and_fail_jobs(stack):
    price = ColumnContract("price", "float64", ge=0, le=9, severities=(("ge", WARN), ("le", FAIL)))
    put(stack, Contract(columns=(price,)))
    job = await ended(stack, b"id,price\n1,-1\n2,3\n")
    assert (job.state, job.check.rules) == (JobState.SUCCEEDED, (RuleCount("ge", "price", WARN, 1),))
    assert stack.table("orders").num_rows == 2
    job = await ended(stack, b"id,price\n1,-1\n2,30\n")
    assert (job.state, job.error_code) == (JobState.FAILED, "contract_violated")
    assert "'le'" in job.error_message
    assert stack.table("orders").num_rows == 2


@pytest.mark.anyio
async def test_rows_are_checked_together_too(stack):
    rules = (RowRule("ordered", "start <= stop"), RowRule("priced", "price > 0 OR kind = 'gift'", WARN))
    columns = [("start", "date"), ("stop", "date"), ("price", "float64"), ("kind", "string")]
    put(stack, Contract(columns=tuple(ColumnContract(*column) for column in columns), rules=rules))
    job = await ended(
        stack,
        b"start,stop,price,kind\n2026-01-02,2026-01-01,1,a\n2026-01-02,,0,gift\n2026-01-02,2026-01-02,0,b\n",
    )
    assert job.check.rules == (RuleCount("ordered", "", REJECT, 1), RuleCount("priced", "", WARN, 1))
    assert stack.table("orders").num_rows == 2


@pytest.mark.anyio
async def test_many_rows_become_several_files_that_are_checked_as_one(stack):
    put(stack, Contract(columns=(ID, ColumnContract("x", "double")), unique=(UniqueKey(("id",)),)))
    file_rows = FILE_ROW_GROUPS * ROW_GROUP_ROWS
    rows = file_rows + 100_000
    lines = b"\n".join(b"%d,0.5" % number for number in range(rows))
    job = await ended(stack, b"id,x\n%s\n7,1.5\n%d,NaN\n" % (lines, rows))
    assert job.check.rules == (RuleCount("unique", "id", REJECT, 1),)
    assert [(row["row"], row["rules"]) for row in rejects(stack)] == [(rows + 1, ["unique(id)"])]
    assert (
        stack.table("orders").column("id").equals(pa.chunked_array([pa.array(range(rows + 1), pa.int64())]))
    )
    files = stack.store.files(stack.datasets.get(DatasetName("orders")).current.ref)
    assert files.row_counts == (file_rows, 100_001)
    statistics = {column.name: column for column in stack.store.statistics(files.ref)}
    assert (statistics["id"].maximum, statistics["x"].maximum) == (rows, None)


@pytest.mark.anyio
async def test_keys_are_unique_among_new_rows_and_those_that_are_there(stack):
    put(stack, Contract(columns=(ID,), unique=(UniqueKey(("id",)),)))
    await ended(stack, b"id,n\n1,a\nbad,a\n2,b\n1,c\n2,d\n3,e\n")
    assert stack.table("orders").column("n").to_pylist() == ["a", "b", "e"]
    assert [(row["row"], row["rules"]) for row in rejects(stack)] == [
        (2, ["id.type"]),
        (4, ["unique(id)"]),
        (5, ["unique(id)"]),
    ]
    job = await ended(stack, b"id,n\n3,f\n4,g\n")
    assert job.check.rules == (RuleCount("unique", "id", REJECT, 1),)
    assert stack.table("orders").column("n").to_pylist() == ["a", "b", "e", "g"]
    job = await ended(stack, b"id,n\n3,f\n4,g\n", mode=WriteMode.REPLACE)
    assert job.check.rules == ()


@pytest.mark.anyio
async def test_keys_of_several_columns_in_several_files_name_the_row_that_repeats(stack):
    key = UniqueKey(("a", "b"))
    put(stack, Contract(columns=(ColumnContract("a", "int64"), ColumnContract("b", "string")), unique=(key,)))
    stack.file("1.csv", b"a,b\n1,x\nq,x\n1,y\n")
    stack.file("2.csv", b"a,b\n,x\n,x\n1,x\n2,x\n")
    async with stack.working():
        job = await stack.until(stack.start("orders", path=["1.csv", "2.csv"]))
    assert job.state is JobState.SUCCEEDED
    assert [(row["source"], row["row"], row["rules"]) for row in rejects(stack)] == [
        ("1.csv", 2, ["a.type"]),
        ("2.csv", 3, ["unique(a, b)"]),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("severity", [WARN, FAIL])
async def test_stale_data_is_told_or_refused(stack, severity):
    column = ColumnContract("at", "timestamp")
    put(stack, Contract(columns=(column,), freshness=Freshness(3600, "at", severity)))
    old = (datetime.now(UTC) - timedelta(hours=2)).strftime("%Y-%m-%d %H:%M:%S")
    job = await ended(stack, f"at\n{old}\n".encode())
    assert job.state is (JobState.SUCCEEDED if severity is WARN else JobState.FAILED)
    assert job.check.rules == (RuleCount("freshness", "at", severity, 0),)
    new = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    job = await ended(stack, f"at\n{new}\n".encode())
    assert (job.state, job.check.rules) == (JobState.SUCCEEDED, ())
    job = await ended(stack, f"at\n{old}\n".encode())  # what is there is fresh
    assert (job.state, job.check.rules) == (JobState.SUCCEEDED, ())


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("contract", "columns"),
    [
        (Contract(columns=(ID,)), ["id", "price", "day"]),
        (Contract(columns=(ID,), extra_columns=ExtraColumns.DROP), ["id"]),
        (Contract(columns=(ID,), extra_columns=ExtraColumns.REFUSE), "'price', 'day'"),
        (Contract(columns=(ID, ColumnContract("more", "string"))), "'more'"),
        (
            Contract(
                columns=(ColumnContract("more", "date"), ID),
                missing_columns=MissingColumns.NULL,
                extra_columns=ExtraColumns.DROP,
            ),
            ["more", "id"],
        ),
        (
            Contract(
                columns=(ColumnContract("more", "date", default="2026-01-01"),),
                missing_columns=MissingColumns.DEFAULT,
                extra_columns=ExtraColumns.DROP,
            ),
            ["more"],
        ),
    ],
)
async def test_columns_too_many_and_too_few_are_treated_as_agreed(stack, contract, columns):
    put(stack, contract)
    job = await ended(stack)
    if isinstance(columns, str):
        assert (job.state, job.error_code) == (JobState.FAILED, "schema_mismatch")
        assert columns in job.error_message
    else:
        assert job.state is JobState.SUCCEEDED, job.error_message
        assert stack.table("orders").column_names == columns
        assert stack.table("orders").num_rows == (6 if columns == ["more"] else 4)


@pytest.mark.anyio
async def test_parquet_becomes_the_types_of_the_contract_where_nothing_is_lost(stack):
    table = pa.table({"a": [1, 300, None], "b": [1.0, 1.5, 2.0], "c": ["2026-01-31", "x", None]})
    path = stack.inputs / "t.parquet"
    pq.write_table(table, path)
    columns = [("a", "int8"), ("b", "int64"), ("c", "date"), ("d", "string")]
    contract = Contract(
        columns=tuple(ColumnContract(*column) for column in columns), missing_columns=MissingColumns.NULL
    )
    put(stack, contract)
    async with stack.working():
        job = await stack.until(stack.start("orders", path="t.parquet"))
    assert job.state is JobState.SUCCEEDED, job.error_message
    assert stack.table("orders").column("a").to_pylist() == [1, None]
    assert [(row["row"], row["rules"]) for row in rejects(stack)] == [(2, ["a.type", "b.type", "c.type"])]
    assert dict(rejects(stack)[0]["raw"]) == {"a": "300", "b": "1.5", "c": "x"}


@pytest.mark.anyio
async def test_json_whose_fields_have_several_types_is_sorted_out(stack):
    put(stack, Contract(columns=(ColumnContract("n", "int64"), ColumnContract("t", "timestamp[us, tz=UTC]"))))
    lines = b'{"n": 1, "t": "2026-01-31T12:00:00+01:00"}\n{"n": "many"}\n{"n": "2", "x": {"y": [1]}}\n'
    job = await ended(stack, lines, file="orders.ndjson")
    assert job.state is JobState.SUCCEEDED, job.error_message
    assert stack.table("orders").column("n").to_pylist() == [1, 2]
    assert stack.table("orders").column("t").to_pylist()[0] == datetime(2026, 1, 31, 11, tzinfo=UTC)
    assert [(row["row"], row["rules"]) for row in rejects(stack)] == [(2, ["n.type"])]


@pytest.mark.anyio
async def test_numbers_with_room_around_them_are_the_same_whatever_else_is_in_the_file(stack):
    put(stack, Contract(columns=(ColumnContract("n", "int64"), ColumnContract("m", "float64"))))
    rows = b"n,m\n 5,+1.5\n007, 2\n"
    await ended(stack, rows)
    await ended(stack, rows + b"x,3\n")
    assert stack.table("orders").to_pydict() == {"n": [5, 7, 5, 7], "m": [1.5, 2.0, 1.5, 2.0]}


@pytest.mark.anyio
async def test_rows_that_are_too_short_are_found_with_a_contract_as_well(stack):
    put(stack, Contract(columns=(ColumnContract("a", "int64"),), extra_columns=ExtraColumns.DROP))
    job = await ended(stack, b'a,b\n1,"x,y"\n2\n')
    assert (job.state, job.check.rules) == (JobState.SUCCEEDED, (RuleCount("ragged", "", REJECT, 1),))
    job = await ended(stack, b'a,b\n1,"x,y"\n2,\n')
    assert (job.state, job.check.rules) == (JobState.SUCCEEDED, ())


@pytest.mark.anyio
async def test_values_that_are_not_of_a_type_that_the_request_gives_are_rejected_as_well(stack):
    contract = Contract(columns=(ColumnContract("id", "int64", nullable=False), ColumnContract("seen")))
    put(stack, contract)
    content = b"id,seen,size\n1,2026-01-31,7\n2,soon,7\nx,later,huge\n4,2026-02-01,big\n5,,\n"
    types = {"seen": {"type": "date"}, "size": "int32", "id": "int64"}
    job = await ended(stack, content, options={"types": types})
    assert job.state is JobState.SUCCEEDED
    table = stack.table("orders")
    assert [str(type) for type in table.schema.types] == ["int64", "date32[day]", "int32"]
    assert table.column("id").to_pylist() == [1, 5]
    assert [(row["row"], sorted(row["rules"]), dict(row["raw"])) for row in rejects(stack)] == [
        (2, ["seen.type"], {"id": "2", "seen": "soon", "size": "7"}),
        (3, ["id.type", "seen.type", "size.type"], {"id": "x", "seen": "later", "size": "huge"}),
        (4, ["size.type"], {"id": "4", "seen": "2026-02-01", "size": "big"}),
    ]


RAGGED = (
    b'id,price,day\n1,1.50,31.01.2026\n2,2.00\n3,"a\nb",01.02.2026,4\n\n5,x,02.02.2026\n6,1.00,03.02.2026\n'
)


@pytest.mark.anyio
async def test_lines_that_are_no_rows_are_set_apart_with_their_text_and_stay_so_in_a_replay(stack):
    put(stack, ORDERS)
    job = await ended(stack, RAGGED)
    assert stack.table("orders").column("id").to_pylist() == [1, 6]
    assert [(row["row"], row["rules"], dict(row["raw"])) for row in rejects(stack)] == [
        (2, ["ragged"], {"line": "2,2.00"}),
        (3, ["ragged"], {"line": '3,"a\nb",01.02.2026,4'}),
        (4, ["price.type"], {"id": "5", "price": "x", "day": "02.02.2026"}),
    ]
    assert set(job.check.rules) == {RuleCount("ragged", "", REJECT, 2), RuleCount("type", "price", REJECT, 1)}
    replay = ReplayRejects(stack.datasets, stack.start_ingestion)(DatasetName("orders"), actor=LOCAL)
    async with stack.working():
        replay = await stack.until(replay)
    assert (replay.state, replay.check.rules) == (JobState.SUCCEEDED, job.check.rules)
    assert [(row["row"], dict(row["raw"])) for row in rejects(stack)][:2] == [
        (2, {"line": "2,2.00"}),
        (3, {"line": '3,"a\nb",01.02.2026,4'}),
    ]


@pytest.mark.anyio
async def test_lines_that_are_no_rows_go_to_the_quarantine_on_request_and_count_for_the_limits(stack):
    put(stack, Contract(limits=RejectLimits(1)))
    job = await ended(stack, RAGGED)
    assert (job.state, job.error_code) == (JobState.FAILED, "contract_violated")
    job = await ended(stack, RAGGED, options={"ragged": "error"})
    assert job.error_code == "unreadable_data"
    job = await ended(stack, RAGGED, name="free", options={"ragged": "quarantine"})
    assert (job.state, job.check.rejected_rows) == (JobState.SUCCEEDED, 2)
    assert stack.table("free").column("id").to_pylist() == [1, 5, 6]
    assert [row["row"] for row in rejects(stack, "free")] == [2, 3]
