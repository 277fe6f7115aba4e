"""Types that a request gives to columns, and numbers as other countries write them."""

import io
import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_core.domain.errors import InvalidOption, SchemaMismatch, UnreadableData
from tests.adapters.parsing import parsed, types

PEOPLE = b"zip,day,n,amount\n501,2020-01-02,1,1.50\n10001,2020-02-03,2,2\n"


def test_a_given_type_wins_over_the_one_that_would_be_found():
    wanted = {"zip": "string", "day": "string", "n": "int16", "amount": "decimal128(9, 2)"}
    table = parsed(PEOPLE, types=wanted)
    assert types(table) == wanted
    assert table["zip"].to_pylist() == ["501", "10001"]
    assert table["amount"].to_pylist() == [Decimal("1.50"), Decimal("2.00")]


def test_dates_are_read_in_the_format_given():
    table = parsed(
        b"day,at\n31.01.2026,31.01.2026 10:30\n01.02.2026,\n",
        types={
            "day": {"type": "date", "format": "%d.%m.%Y"},
            "at": {"type": "timestamp", "format": "%d.%m.%Y %H:%M"},
        },
    )
    assert table["day"].to_pylist() == [date(2026, 1, 31), date(2026, 2, 1)]
    assert table["at"].to_pylist() == [datetime(2026, 1, 31, 10, 30), None]  # noqa: DTZ001


def test_moments_may_be_written_in_several_ways():
    clocks = b"2026-01-31\n2026-01-31 10:00\n2026-01-31T10:00:00.5\n"
    assert parsed(b"at\n" + clocks, types={"at": "timestamp"})["at"].to_pylist() == [
        datetime(2026, 1, 31),  # noqa: DTZ001
        datetime(2026, 1, 31, 10),  # noqa: DTZ001
        datetime(2026, 1, 31, 10, 0, 0, 500_000),  # noqa: DTZ001
    ]
    zoned = b"2026-01-31T10:00Z\n2026-01-31 12:00:00+02:00\n"
    moments = parsed(b"at\n" + zoned + clocks, types={"at": "timestamp[us, tz=UTC]"})["at"].to_pylist()
    assert moments[:2] == [datetime(2026, 1, 31, 10, tzinfo=UTC)] * 2
    assert moments[2] == datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "number"),
    [("s", 1517853010), ("ms", 1517853010000), ("us", 1517853010000000), ("ns", 1517853010000000000)],
)
def test_numbers_become_moments_by_their_unit(name, number):
    content = json.dumps([{"time": number}, {"time": None}, {"time": -number}]).encode()
    table = parsed(content, types={"time": f"timestamp[{name}, tz=UTC]"})
    moment = datetime(2018, 2, 5, 17, 50, 10, tzinfo=UTC)
    assert table["time"].to_pylist() == [moment, None, datetime.fromtimestamp(-1517853010, UTC)]


def test_every_format_honours_given_types(tmp_path):
    frame = pl.DataFrame({"n": [1, 2]})
    for name, write in (("a.parquet", frame.write_parquet), ("a.arrow", frame.write_ipc)):
        write(tmp_path / name)
        assert types(parsed(tmp_path / name, types={"n": "string"})) == {"n": "string"}
    assert types(parsed(b'{"n": 1}\n{"n": 2}\n', types={"n": "double"})) == {"n": "double"}


@pytest.mark.parametrize(
    "content", [b"n\n%bx\n" % (b"1\n" * 70_000), b'{"n": 1}\n' * 70_000 + b'{"n": "x"}\n']
)
def test_a_value_that_does_not_fit_is_named_with_its_row(content):
    with pytest.raises(UnreadableData) as caught:
        parsed(content, types={"n": "int64"})
    assert dict(caught.value.details) == {"column": "n", "row": 70_001, "value": "x"}
    assert "column 'n', row 70001: 'x' is not of the type int64" in str(caught.value)


def test_a_number_that_would_lose_something_does_not_fit():
    for content, type in ((b"n\n1.5\n", "int64"), (b"n\n300\n", "int8"), (b"n\n1.234\n", "decimal128(9, 2)")):
        with pytest.raises(UnreadableData):
            parsed(content, types={"n": type})


@pytest.mark.parametrize("type", ["double", "float32"])
@pytest.mark.parametrize("content", [b"n\n1.5\n-1e400\n", b'{"n": 1.5}\n{"n": -1e400}\n'])
def test_a_number_beyond_all_floats_is_none(content, type):
    with pytest.raises(UnreadableData, match=f"column 'n', row 2: '-1e400' is not of the type {type}"):
        parsed(content, types={"n": type})
    assert parsed(b"n\n1.5\n-Inf\n", types={"n": type})["n"].to_pylist() == [1.5, -math.inf]


@pytest.mark.parametrize("content", [b"n\n1.5\n%d\n", b'{"n": 1.5}\n{"n": %d}\n', b'{"n": %d}\n{"n": 1}\n'])
@pytest.mark.parametrize(("type", "least"), [("double", 2**53), ("float32", 2**24)])
def test_an_integer_that_a_float_would_round_is_none(content, type, least):
    assert float(least) in parsed(content % least, types={"n": type})["n"].to_pylist()
    with pytest.raises(
        UnreadableData, match=f"column 'n', row [12]: '?{least + 1}(\\.0)?'? is not of the type {type}"
    ):
        parsed(content % (least + 1), types={"n": type})


def test_large_floats_are_read_by_the_type_that_is_given():
    content = b"n\n1e20\n+7\n007\n-20000000000000000\n12345678901234567.5\n"
    numbers = [1e20, 7.0, 7.0, -2e16, 12345678901234567.5]
    assert parsed(content, types={"n": "double"})["n"].to_pylist() == numbers


def test_a_column_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(SchemaMismatch, match=r"'age'.*there are: zip, day, n, amount"):
        parsed(PEOPLE, types={"age": "int64"})


@pytest.mark.parametrize(
    "wrong",
    ["int", "varchar", "list<int>", "timestamp[m]", {"type": "int64", "format": "%d"}, {"format": "x"}],
)
def test_a_type_that_there_is_not_is_refused(wrong):
    with pytest.raises(InvalidOption, match="types"):
        parsed(PEOPLE, types={"n": wrong})


def test_a_format_by_which_nothing_can_be_read_is_told():
    with pytest.raises(InvalidOption, match=r"'types\.n' .* both hour and minute"):
        parsed(PEOPLE, types={"n": {"type": "timestamp", "format": "%Y-%m-%d %H"}})


def test_decimal_commas_are_found_out():
    table = parsed(b"name;price\nA;1,5\nB;-1234,25\nC;3\n")
    assert table["price"].to_pylist() == [1.5, -1234.25, 3.0]


@pytest.mark.parametrize("cells", [("1,234", "5,678"), ("1,5", "2.5")])
def test_commas_that_may_mean_something_else_stay_text(cells):
    table = parsed("v;w\n{};x\n{};y\n".format(*cells).encode())
    assert table["v"].to_pylist() == list(cells)


def test_points_among_decimal_commas_are_no_decimal_points():
    content = b"v;w\n1,5;2.500\n2,25;x\n"
    assert parsed(content.replace(b"x", b"3.125")).to_pydict() == {"v": [1.5, 2.25], "w": ["2.500", "3.125"]}
    assert parsed(content.replace(b"x", b"0.125"))["w"].to_pylist() == [2.5, 0.125]
    assert parsed(content.replace(b"x", b"1"), thousands=".")["w"].to_pylist() == [2500, 1]


def test_a_late_point_among_decimal_commas_is_no_decimal_point():
    content = b"v;w\n" + b"1,5;2,5\n" * 20_000 + b"1,5;2.500\n"
    table = parsed(content)
    assert types(table) == {"v": "double", "w": "string"}
    assert table["w"][-1].as_py() == "2.500"
    with pytest.raises(
        UnreadableData, match=r"row 20001: '2\.500 \(with a point\)' is not of the type double"
    ):
        parsed(content, types={"w": "double"})


@pytest.mark.parametrize("type", ["decimal(9, 2)", "double", "float32"])
def test_decimal_commas_are_read_by_the_type_that_is_given(type):
    table = parsed(b"v;w\n1,5;2,5\n1,5;-3,25\n", types={"w": type})
    assert [float(value) for value in table["w"].to_pylist()] == [2.5, -3.25]


@pytest.mark.parametrize(
    ("decimal", "thousands", "text"),
    [
        (",", ".", "1.234.567,5"),
        (".", ",", "1,234,567.5"),
        (",", " ", "1 234 567,5"),
        (".", "'", "1'234'567.5"),
    ],
)
def test_thousands_are_parted_as_the_request_says(decimal, thousands, text):
    table = parsed(f"v;n\n{text};{text[:9]}\n2;3\n".encode(), decimal=decimal, thousands=thousands)
    assert table["v"].to_pylist() == [1234567.5, 2.0]
    assert table["n"].to_pylist() == [1234567, 3]


def test_a_group_of_the_wrong_size_is_no_number():
    table = parsed(b"v\n1,23\n12,345\n", thousands=",", delimiter=";")
    assert table["v"].to_pylist() == ["1,23", "12,345"]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=30))
def test_numbers_with_decimal_commas_are_the_numbers_with_points(numbers):
    texts = [f"{number:.4f}" for number in numbers]
    table = parsed(
        "\n".join(["v", *(text.replace(".", ",") for text in texts), "0,5"]).encode(), delimiter=";"
    )
    assert table["v"].to_pylist() == [*map(float, texts), 0.5]


def test_lines_before_the_header_can_be_skipped():
    table = parsed(b"exported by x\n\na,b\n1,2\n", skip_rows=2)
    assert table.to_pydict() == {"a": [1], "b": [2]}


@pytest.mark.parametrize("width", [pa.float32(), pa.float64()])
def test_floats_become_the_decimals_that_they_are_written_as(width):
    numbers = ["0.07", "-1.1", "0.1", "1.5e-7", "123456.75", "-3", "9007199254740992", None]
    table = pa.table({"x": pa.array([number and float(number) for number in numbers], width)})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    stored = parsed(sink.getvalue(), types={"x": "decimal(38, 20)"})["x"].to_pylist()
    assert stored == [number and Decimal(number) for number in numbers]
