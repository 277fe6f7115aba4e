"""JSON text of every type DuckDB and Arrow have, against what the rules of the reference say."""

import json
from datetime import date, timedelta
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

from control_api.json_text import json_rows, json_text, plain_text, unique
from flight_core.domain.errors import UnsupportedType

CASES = {
    "NULL": None,
    "true": True,
    "-7::TINYINT": -7,
    "9007199254740991": 9007199254740991,
    "9007199254740992": "9007199254740992",
    "-9007199254740991": -9007199254740991,
    "-9007199254740992": "-9007199254740992",
    "18446744073709551615::UBIGINT": "18446744073709551615",
    "12::UBIGINT": 12,
    "12::HUGEINT": 12,
    "170141183460469231731687303715884105727::HUGEINT": "170141183460469231731687303715884105727",
    "12.50::DECIMAL(10, 2)": "12.50",
    "-0.001::DECIMAL(38, 10)": "-0.0010000000",
    "0.1::FLOAT": 0.1,
    "0.1::DOUBLE": 0.1,
    "1e300::DOUBLE": 1e300,
    "'nan'::DOUBLE": "NaN",
    "'inf'::DOUBLE": "Infinity",
    "'-inf'::FLOAT": "-Infinity",
    "''": "",
    "'Zürich \U0001f600'": "Zürich \U0001f600",
    "'\"quoted\" \\ back'": '"quoted" \\ back',
    "chr(9) || chr(10) || chr(1) || chr(31) || chr(127)": "\t\n\x01\x1f\x7f",
    "DATE '2024-02-29'": "2024-02-29",
    "DATE '0044-03-15 (BC)'": "-0043-03-15",
    "DATE '99999-02-28'": "99999-02-28",
    "DATE '40001-03-15 (BC)'": "-40000-03-15",
    "DATE 'infinity'": "infinity",
    "DATE '-infinity'": "-infinity",
    "TIME '12:34:56.789'": "12:34:56.789000",
    "TIME '24:00:00'": "24:00:00.000000",
    "'24:00:00'::TIME_NS": "24:00:00.000000000",
    "TIMESTAMP '2024-02-29 12:34:56.789'": "2024-02-29T12:34:56.789000",
    "TIMESTAMP_S '2024-02-29 12:34:56'": "2024-02-29T12:34:56",
    "TIMESTAMP_NS '2024-02-29 12:34:56.123456789'": "2024-02-29T12:34:56.123456789",
    "TIMESTAMP '99999-12-31 23:59:59.000001'": "99999-12-31T23:59:59.000001",
    "TIMESTAMP_S '99999-12-31 23:59:59'": "99999-12-31T23:59:59",
    "TIMESTAMP 'infinity'": "infinity",
    "TIMESTAMPTZ '2024-07-01 12:00:00+02'": "2024-07-01T10:00:00.000000Z",
    "TIMESTAMPTZ '99999-07-01 12:00:00+02'": "99999-07-01T10:00:00.000000Z",
    "TIMESTAMPTZ '-infinity'": "-infinity",
    "INTERVAL '14 months 3 days 4.5 seconds'": "P14M3DT4.5S",
    "INTERVAL '-1 second'": "PT-1S",
    "INTERVAL '0 days'": "PT0S",
    "'\\x00\\xFFab'::BLOB": "AP9hYg==",
    "'2f0d8e71-c6cd-4f6a-99e7-ca6b8f5088b7'::UUID": "2f0d8e71-c6cd-4f6a-99e7-ca6b8f5088b7",
    "'x'::ENUM('x', 'y')": "x",
    "[1, NULL, 3]": [1, None, 3],
    "[]::INTEGER[]": [],
    "[['a'], NULL, []]": [["a"], None, []],
    "[1.5, 2.5]::DOUBLE[2]": [1.5, 2.5],
    "{'a': 1, 'b': {'c': NULL, 'd': [DATE '2024-01-01']}}": {"a": 1, "b": {"c": None, "d": ["2024-01-01"]}},
    "MAP {'k\"': 1, 'l': NULL}": {'k"': 1, "l": None},
    "MAP {1: 'a'}": {"1": "a"},
    "MAP {DATE '2024-01-01': 1.5::DECIMAL(3, 1)}": {"2024-01-01": "1.5"},
    "union_value(k := 2)": {"k": 2},
}


@pytest.fixture(scope="module")
def database():
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Europe/Zurich'")
        yield connection


@pytest.mark.parametrize("expression", CASES)
def test_a_value_of_every_type_keeps_its_meaning(database, expression):
    # The value stands between others, in an array that is a slice, as batches may be.
    table = database.sql(
        f"SELECT CASE WHEN i = 1 THEN {expression} END AS v FROM range(3) r(i) ORDER BY i"
    ).to_arrow_table()
    column = table.combine_chunks().column("v").chunk(0).slice(1)
    first, second = (json.loads(text) for text in json_text(column).to_pylist())
    assert first == CASES[expression]
    assert type(first) is type(CASES[expression])
    assert second in (None, {"k": None})  # a NULL union is its first member in Arrow


def test_rows_are_objects_that_the_standard_library_reads():
    batch = pa.record_batch({'a "b"': [1, None], "ü": ["x", "y"]})
    text = "".join(json_rows(batch, batch.schema.names, separator="\n").to_pylist())
    assert [json.loads(line) for line in text.splitlines()] == batch.to_pylist()


def test_columns_of_one_name_are_told_apart():
    assert unique(["a", "a", "b", "a", "a_1"]) == ["a", "a_1", "b", "a_2", "a_1_1"]


def test_structs_without_members_are_empty_objects():
    assert json_text(pa.array([{}, None, {}], pa.struct([]))).to_pylist() == ["{}", "null", "{}"]


def test_structs_with_members_of_one_name_lose_none():
    values = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["", ""])
    assert json.loads(json_text(values)[0].as_py()) == {"": 1, "_1": 2}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([timedelta(days=1, microseconds=5)], pa.duration("us")), "PT86400.000005S"),
        (pa.array([b"\x01\x02"], pa.binary(2)), "AQI="),
        (pa.array([Decimal("12")], pa.decimal256(50, 0)), 12),
        (pa.array([1.5], pa.float16()), 1.5),
        (pa.array(["a"], pa.large_string()), "a"),
        (pa.array(["a"], pa.string_view()), "a"),
        (pa.array([[1]], pa.large_list(pa.int8())), [1]),
        (pa.array([date(2024, 1, 1)], pa.date64()), "2024-01-01"),
    ],
)
def test_types_that_only_datasets_have_work_too(values, expected):
    assert json.loads(json_text(values)[0].as_py()) == expected


def test_plain_text_has_no_quotes_and_keeps_nulls():
    assert plain_text(pa.array(["a", None]).dictionary_encode()).to_pylist() == ["a", None]
    assert plain_text(pa.array([b"a", None])).to_pylist() == ["YQ==", None]
    assert plain_text(pa.array([["a"], None])).to_pylist() == ['["a"]', None]


def test_a_type_without_a_form_is_refused():
    with pytest.raises(UnsupportedType, match="run_end_encoded"):
        json_text(pa.RunEndEncodedArray.from_arrays([2], [1]))
