"""What is added to a dataset is read by the types of its columns."""

from datetime import date, datetime

import pyarrow as pa
import pytest

from flight_core.application.ports.clock import utc_now
from flight_core.domain.contract import ColumnContract, Contract
from flight_core.domain.dataset import DatasetName, SchemaPolicy, WriteMode
from flight_core.domain.job import JobState
from tests.adapters.test_excel import workbook

SHOPS = DatasetName("shops")
FIRST = b"zip,n,day,at,share\n00501,1,2026-01-02,2026-01-02 10:30:00,1.5\n"
TYPES = {"zip": "string", "n": "int32", "day": "date", "at": "timestamp", "share": "decimal(6, 2)"}


async def ended(stack, content: bytes, **options):
    async with stack.working():
        return await stack.until(stack.start("shops", path=stack.file("shops", content), **options))


async def added(stack, content: bytes, **options) -> pa.Table:
    """The rows that come after the first."""
    await ended(stack, FIRST, options={"types": TYPES})
    job = await ended(stack, content, **options)
    assert (job.state, job.error_message) == (JobState.SUCCEEDED, None)
    return stack.table("shops")


ROW = {
    "zip": "12345",
    "n": 2,
    "day": date(2026, 2, 3),
    "at": datetime(2026, 2, 3, 4, 5),  # noqa: DTZ001
    "share": 2,
}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "content",
    [
        b"ZIP,n,day,at,share\n12345,2,2026-02-03,2026-02-03 04:05:00,2\n",
        b'{"zip": 12345, "n": 2, "day": "2026-02-03", "at": "2026-02-03T04:05:00", "share": 2}\n',
        b'[{"zip": "12345", "n": "2", "day": "2026-02-03", "at": "2026-02-03 04:05", "share": 2.0}]',
        workbook(S=[["zip", "n", "day", "at", "share"], [12345, 2, "2026-02-03", "2026-02-03 04:05", 2]]),
    ],
    ids=["csv", "ndjson", "json", "excel"],
)
async def test_formats_that_say_no_types_take_those_of_the_dataset(stack, content):
    table = await added(stack, content)
    assert table.to_pylist()[1] == ROW
    assert str(table.schema.field("zip").type) == "string"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("mode", "keys"), [(WriteMode.UPSERT, ("zip",)), (WriteMode.REPLACE_PARTITIONS, ("zip",))]
)
async def test_so_do_the_other_modes_that_keep_the_columns(stack, mode, keys):
    table = await added(stack, b"zip,n\n12345,2\n", mode=mode, keys=keys)
    assert sorted(table["zip"].to_pylist()) == ["00501", "12345"]


@pytest.mark.anyio
async def test_replacing_brings_types_of_its_own(stack):
    table = await added(stack, b"zip\n12345\n", mode=WriteMode.REPLACE)
    assert table.to_pydict() == {"zip": [12345]}


@pytest.mark.anyio
async def test_numbers_of_one_column_stay_as_they_were_written(stack):
    content = b'{"zip": 1}\n{"zip": 1.5}\n{"zip": 12345678901234567890}\n{"zip": "x"}\n'
    assert (await added(stack, content))["zip"].to_pylist()[1:] == ["1", "1.5", "12345678901234567890", "x"]
    await ended(stack, workbook(S=[["zip"], [7], [7.5]]))
    assert stack.table("shops")["zip"].to_pylist()[-2:] == ["7", "7.5"]


@pytest.mark.anyio
async def test_columns_may_be_empty_or_new(stack):
    content = b"n,day,more\n,,1\n"
    table = await added(stack, content, schema_policy=SchemaPolicy.ADD)
    assert table.to_pylist()[1] == dict.fromkeys(ROW) | {"more": 1}


@pytest.mark.anyio
async def test_numbers_still_become_wider_where_that_is_asked_for(stack):
    table = await added(stack, b"zip,n\n12345,3000000000\n", schema_policy=SchemaPolicy.WIDEN)
    assert table.to_pylist()[1]["n"] == 3_000_000_000
    assert table.to_pylist()[1]["zip"] == "12345"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "content",
    [b"zip,n\n1,%b\n" % b"\n1,".join([b"7"] * 20_000 + [b"many"]), b'{"n": 7}\n' * 20_000 + b'{"n": "many"}'],
    ids=["csv", "ndjson"],
)
async def test_a_value_that_does_not_fit_is_named(stack, content):
    await ended(stack, FIRST, options={"types": TYPES})
    job = await ended(stack, content)
    assert job.error_code == "unreadable_data"
    assert "column 'n', row 20001: 'many' is not of the type int32, which it has in the dataset" in str(
        job.error_message
    )
    assert stack.table("shops").num_rows == 1


@pytest.mark.anyio
async def test_what_the_request_says_wins_over_the_dataset(stack):
    await ended(stack, FIRST, options={"types": TYPES})
    content = b"day\n03.02.2026\n"
    assert (await ended(stack, content)).error_code == "unreadable_data"
    types = {"day": {"type": "date", "format": "%d.%m.%Y"}}
    assert (await ended(stack, content, options={"types": types})).state is JobState.SUCCEEDED
    assert stack.table("shops")["day"].to_pylist()[1] == ROW["day"]


@pytest.mark.anyio
async def test_under_a_contract_it_is_rejected(stack):
    """Also where the contract leaves the type of the column open."""
    await ended(stack, FIRST, options={"types": TYPES})
    contract = Contract(columns=(ColumnContract("zip", nullable=False),))
    stack.contracts.put(SHOPS, contract, actor="ann", at=utc_now())
    job = await ended(stack, b"zip,n\n12345,2\n12346,many\n")
    assert (job.state, job.check.rejected_rows) == (JobState.SUCCEEDED, 1)
    assert stack.table("shops")["zip"].to_pylist() == ["00501", "12345"]
    (rejected,) = stack.table("shops_rejects").to_pylist()
    assert (rejected["row"], rejected["rules"], dict(rejected["raw"])["n"]) == (2, ["n.type"], "many")
