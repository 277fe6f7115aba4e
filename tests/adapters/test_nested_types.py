"""Types that the request gives: lists, structs, and times of a zone."""

from datetime import UTC, datetime

import polars as pl
import pytest

from flight_core.adapters.parsers.column_types.given import given_type
from flight_core.domain.errors import InvalidOption, UnreadableData
from tests.adapters.parsing import parsed, types


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("list<int64>", pl.List(pl.Int64)),
        ("list<list<timestamp[us, tz=UTC]>>", pl.List(pl.List(pl.Datetime("us", "UTC")))),
        (
            "struct<a: int64, b: list<decimal(10, 2)>, c: struct<d: date>>",
            pl.Struct({"a": pl.Int64, "b": pl.List(pl.Decimal(10, 2)), "c": pl.Struct({"d": pl.Date})}),
        ),
        ("decimal(10,2)", pl.Decimal(10, 2)),
        ("timestamp[ms, tz=Europe/Berlin]", pl.Datetime("us", "Europe/Berlin")),
    ],
)
def test_names_of_types(name, type):
    assert given_type(name).type == type


@pytest.mark.parametrize(
    "name",
    [
        "list<>",
        "list<int64",
        "struct<>",
        "struct<a>",
        "struct<a: int64, a: date>",
        "list<colour>",
        "timestamp[us, tz=Europe/Nowhere]",
        "list<" * 20 + "int64" + ">" * 20,
    ],
)
def test_what_is_no_name_of_a_type_is_refused(name):
    with pytest.raises(InvalidOption, match="types"):
        parsed(b"a\n1\n", types={"a": name})


def test_nested_columns_get_another_type():
    content = b'{"v": [1, 2], "s": {"x": 1, "y": "a"}}\n{"v": null, "s": {"x": null}}\n'
    table = parsed(content, types={"v": "list<int8>", "s": "struct<y: string, x: int32, z: date>"})
    assert types(table) == {"v": "list<element: int8>", "s": "struct<y: string, x: int32, z: date32[day]>"}
    assert table.to_pylist() == [
        {"v": [1, 2], "s": {"y": "a", "x": 1, "z": None}},
        {"v": None, "s": {"y": None, "x": None, "z": None}},
    ]


@pytest.mark.parametrize(
    ("content", "type"),
    [
        (b'{"v": [1]}\n{"v": [300]}\n', "list<int8>"),
        (b'{"v": {"x": 1}}\n{"v": {"x": 1, "y": 2}}\n', "struct<x: int64>"),
        (b"v\n[1]\n[1.5]\n", "list<int64>"),
        (b'v\n[1]\n"{""a"": 1}"\n', "list<int64>"),
        (b"v\n[1]\n[1\n", "list<int64>"),
    ],
)
def test_a_nested_value_that_loses_something_is_named(content, type):
    with pytest.raises(UnreadableData, match="column 'v', row 2"):
        parsed(content, types={"v": type})


def test_text_that_is_json_becomes_nested():
    content = b'v\n"{""x"": [1, null], ""y"": ""a""}"\n\n"{""x"": []}"\n'
    table = parsed(content + b"null\n", types={"v": "struct<x: list<int64>, y: string>"})
    assert table["v"].to_pylist() == [{"x": [1, None], "y": "a"}, {"x": [], "y": None}, None]


def test_times_are_of_the_zone_unless_they_say_another():
    content = b"t\n2026-01-31 10:00:00\n2026-07-31T10:00:00Z\n2026-07-31 10:00:00+05:00\n"
    table = parsed(content, types={"t": "timestamp[us, tz=Europe/Berlin]"})
    assert [moment.astimezone(UTC) for moment in table["t"].to_pylist()] == [
        datetime(2026, 1, 31, 9, tzinfo=UTC),
        datetime(2026, 7, 31, 10, tzinfo=UTC),
        datetime(2026, 7, 31, 5, tzinfo=UTC),
    ]
    counted = parsed(b'{"t": 1000}', types={"t": "timestamp[ms, tz=Europe/Berlin]"})
    assert counted["t"][0].as_py().astimezone(UTC) == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize("hour", ["2026-03-29 02:30:00", "2026-10-25 02:30:00"])
def test_hours_that_a_zone_skips_or_repeats_do_not_fit(hour):
    with pytest.raises(UnreadableData, match="row 1"):
        parsed(f"t\n{hour}\n".encode(), types={"t": "timestamp[us, tz=Europe/Berlin]"})
