"""What is seen of rows while they are written."""

import io
import re

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_core.adapters.parsers.column_types.contract import coercion, type_of
from flight_core.adapters.parsers.column_types.inference import Reading, kinds_of
from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.output import (
    FILE_ROW_GROUPS,
    ROW_GROUP_BYTES,
    RowCounter,
    Target,
    write_parquet,
)
from tests.adapters.parsing import stored

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


def row_groups(path):
    """The number of rows of each."""
    footer = pq.read_metadata(path)
    return [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]


def test_row_groups_and_files_of_wide_rows_have_fewer_rows(tmp_path):
    target = Target(tmp_path, row_bytes=ROW_GROUP_BYTES / 100)
    target.write(pl.LazyFrame({"a": range(FILE_ROW_GROUPS * 100 + 1)}))
    assert [row_groups(file) for file in target.files] == [[100] * FILE_ROW_GROUPS, [1]]


WIDE = pl.DataFrame({"id": range(2000), "text": [f"{number:06}" * 2000 for number in range(2000)]})
WRITERS = {
    "csv": WIDE.write_csv,
    "ndjson": WIDE.write_ndjson,
    "json": WIDE.write_json,
    "parquet": WIDE.write_parquet,
    "arrow": WIDE.write_ipc,
    "avro": WIDE.write_avro,
}


@pytest.mark.parametrize("format", WRITERS)
def test_every_format_tells_how_wide_its_rows_are(tmp_path, format):
    path = tmp_path / "wide"
    WRITERS[format](path)
    with stored(path) as (file,):
        assert 1000 < max(row_groups(file)) < 1500


def test_rows_that_did_not_become_fewer_by_a_large_dictionary(tmp_path):
    path = tmp_path / "narrow.arrow"
    words = pa.array([f"{number:020}" for number in range(200_000)])
    codes = pa.array(range(500), pa.int32())
    table = pa.table({"word": pa.DictionaryArray.from_arrays(codes, words)})
    with pa.ipc.new_file(path, table.schema) as writer:
        for _ in range(200):
            writer.write_table(table)
    with stored(path) as (file,):
        assert row_groups(file)[0] == 61_440
