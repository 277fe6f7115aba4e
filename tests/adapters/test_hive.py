"""Parquet files in folders that are named after values."""

from datetime import date

import polars as pl
import pytest

from flight_core.adapters.parsers.formats.hive import untold

FRAME = pl.DataFrame({"n": [1, 2]})


async def ingested(stack, *places, frame=FRAME):
    for place in places:
        path = stack.inputs / "lake" / place / "part-0.parquet"
        path.parent.mkdir(parents=True)
        frame.write_parquet(path)
    async with stack.working():
        job = await stack.until(stack.start("d", path="lake"))
    assert job.error_message is None
    return stack.table("d")


@pytest.mark.anyio
async def test_folders_become_columns_of_the_types_that_fit(stack):
    table = await ingested(
        stack,
        "year=2025/month=01/day=2025-01-02/region=a%20b",
        "year=2026/month=12/day=2026-12-31/region=__HIVE_DEFAULT_PARTITION__",
    )
    assert table.select(["n", "year", "month", "day", "region"]).to_pylist() == [
        {"n": n, "year": year, "month": month, "day": day, "region": region}
        for year, month, day, region in (
            (2025, "01", date(2025, 1, 2), "a b"),
            (2026, "12", date(2026, 12, 31), None),
        )
        for n in (1, 2)
    ]


@pytest.mark.anyio
async def test_a_column_of_the_files_stays(stack):
    table = await ingested(stack, "N=7/k=1", "N=8/k=2")
    assert table.to_pydict() == {"n": [1, 2, 1, 2], "k": [1, 1, 2, 2]}


@pytest.mark.anyio
async def test_folders_of_different_names_mean_nothing(stack):
    table = await ingested(stack, "a=1", "b=2")
    assert table.column_names == ["n"]


@pytest.mark.parametrize(
    ("labels", "columns", "warned"),
    [
        (["k=1/a.csv", "k=2/a.csv"], ["n"], True),
        (["k=1/a.parquet", "k=2/a.parquet"], ["n", "K"], False),
        (["k=1/a.parquet", "j=2/a.parquet"], ["n"], True),
        (["plain/a.csv"], ["n"], False),
    ],
)
def test_folders_that_become_no_columns_are_told(labels, columns, warned):
    assert ["'k=1'" in warning for warning in untold(labels, columns)] == [True] * warned
