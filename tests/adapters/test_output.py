"""What is seen of rows while they are written."""

import io

import polars as pl
import pytest

from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.output import RowCounter, Target, write_parquet

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("numbers", "holds_nan"),
    [
        ([1.5, None, NAN], True),
        ([INFINITY, 1.0, -INFINITY], False),
        ([INFINITY, NAN, -INFINITY], True),
        ([1e308, 1e308, -1e308], False),
        ([None], False),
    ],
)
def test_columns_with_a_nan_are_told_apart_from_those_with_infinities(tmp_path, numbers, holds_nan):
    target = Target(tmp_path)
    frame = pl.LazyFrame({"x": numbers, "y": [1.0] * len(numbers)}, schema={"x": pl.Float64, "y": pl.Float32})
    write_parquet(frame, target, RowCounter(Meter(io.StringIO()), bytes_per_row=1))
    assert target.nan_columns == ({"x"} if holds_nan else set())
