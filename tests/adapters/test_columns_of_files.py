"""Several files of one table whose columns are in another order, or not all there."""

import io

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flight_core.domain.errors import InvalidOption, SchemaMismatch, UnreadableData
from tests.adapters.parsing import parsed, types


def parquet(frame):
    out = io.BytesIO()
    pq.write_table(frame.to_arrow(), out)
    return out.getvalue()


def special_parquet(frame):
    """With a column that Polars is not asked to read by itself."""
    out = io.BytesIO()
    table = frame.to_arrow()
    pq.write_table(table.append_column("id", pa.array([b"0" * 16] * len(table), pa.uuid())), out)
    return out.getvalue()


def stream(frame):
    out = io.BytesIO()
    with pa.ipc.new_stream(out, frame.to_arrow().schema) as writer:
        writer.write_table(frame.to_arrow())
    return out.getvalue()


def avro(frame):
    out = io.BytesIO()
    frame.write_avro(out)
    return out.getvalue()


def csv(frame):
    return frame.write_csv().encode()


WRITERS = [parquet, special_parquet, stream, avro, csv]
JANUARY = pl.DataFrame({"n": [1, 2], "s": ["a", "b"]})
TURNED = pl.DataFrame({"s": ["c"], "n": [3]})
MORE = pl.DataFrame({"x": [0.5], "n": [4]})


def rows(table):
    return table.select([name for name in table.column_names if name != "id"]).to_pylist()


@pytest.mark.parametrize("write", WRITERS)
def test_columns_go_by_their_names(write):
    table = parsed(write(JANUARY), write(TURNED), write(JANUARY))
    assert rows(table) == [*JANUARY.rows(named=True), {"n": 3, "s": "c"}, *JANUARY.rows(named=True)]


@pytest.mark.parametrize("write", WRITERS)
def test_what_differs_is_named(write):
    with pytest.raises(SchemaMismatch, match=r"f2 lacks 's' and has 'x' besides, compared with f0; .*union"):
        parsed(write(JANUARY), write(TURNED), write(MORE))


@pytest.mark.parametrize("write", WRITERS)
def test_a_union_has_nulls_where_files_lack_columns(write):
    table = parsed(write(JANUARY), write(MORE), write(TURNED), columns="union")
    assert [name for name in table.column_names if name != "id"] == ["n", "s", "x"]
    assert types(table)["x"] == "double"
    assert rows(table) == [
        {"n": 1, "s": "a", "x": None},
        {"n": 2, "s": "b", "x": None},
        {"n": 4, "s": None, "x": 0.5},
        {"n": 3, "s": "c", "x": None},
    ]


def test_nested_columns_can_be_missing():
    places = pl.DataFrame({"n": [5], "place": [{"x": 1, "tags": ["a"]}]})
    table = parsed(parquet(JANUARY), parquet(places), columns="union")
    assert table["place"].to_pylist() == [None, None, {"x": 1, "tags": ["a"]}]


def test_types_of_a_column_still_have_to_agree():
    with pytest.raises(SchemaMismatch, match="column 'x' is large_string in f2 and double in f1"):
        parsed(stream(JANUARY), stream(MORE), stream(pl.DataFrame({"x": ["a"]})), columns="union")


def test_types_in_text_are_found_over_all_files():
    table = parsed(b"n,code\n1,7\n", b"code\n007\n", b"m,n\n2.5,x\n", columns="union")
    assert types(table) == {"n": "string", "code": "string", "m": "double"}
    assert table.to_pylist() == [
        {"n": "1", "code": "7", "m": None},
        {"n": None, "code": "007", "m": None},
        {"n": "x", "code": None, "m": 2.5},
    ]


def test_rows_that_are_too_short_are_noticed_in_every_file():
    for files in ([b"a,b\n1,2\n", b"b,a\n3\n"], [b"a,b\n1\n", b"b,a\n3,4\n"]):
        with pytest.raises(UnreadableData, match="line 2"):
            parsed(*files)
    with pytest.raises(UnreadableData, match="f1, line 3"):
        parsed(b"a,b,c\n1,2,3\n", b'b,a\n"x,y",1\n3\n', columns="union")


def test_given_types_reach_columns_that_some_files_lack():
    table = parsed(b"a\n1\n", b"b\n007\n", columns="union", types={"b": "string", "a": "int32"})
    assert types(table) == {"a": "int32", "b": "string"}
    assert table["b"].to_pylist() == [None, "007"]


def test_json_has_all_fields_anyway():
    table = parsed(b'{"a": 1}\n{"a": 2}\n', b'{"b": 3}\n{"b": 4}\n')
    assert table.to_pydict() == {"a": [1, 2, None, None], "b": [None, None, 3, 4]}
    with pytest.raises(InvalidOption):
        parsed(b"a\n1\n", columns="some")
