"""What is seen of rows while they are written."""

import io
import re

import polars as pl
import pytest

from flight_core.adapters.parsers.column_types.contract import coercion, type_of
from flight_core.adapters.parsers.column_types.inference import Reading, kinds_of
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


READ_AS_TEXT = pl.scan_csv(b"column\n", schema={"column": pl.String})
CONVERTED = {
    "inferred": [
        Reading(kind, blank=blank).typed("column") for kind in kinds_of(".", None) for blank in (False, True)
    ],
    "given": [
        way.typed if way.quick is None else way.quick
        for name in ("bool", "int8", "uint64", "float", "double", "decimal(12, 2)", "date", "timestamp")
        for way in [coercion("column", pl.String(), type_of(name), None)]
        if way is not None
    ],
}


@pytest.mark.parametrize("conversions", CONVERTED.values(), ids=list(CONVERTED))
def test_values_are_converted_batch_by_batch(conversions):
    for conversion in conversions:
        frame = READ_AS_TEXT.with_columns(conversion.alias("column"))
        plan = frame.show_graph(engine="streaming", plan_stage="physical", raw_output=True, show=False)
        assert plan is not None
        assert not {"columnar-function", "in-memory-map", "multiplexer"} & set(re.findall(r"[\w-]+", plan)), (
            plan
        )
