"""JSON and NDJSON: where the records are, their types, and what is wrong with them."""

import json
from decimal import Decimal

import duckdb
import pytest

from flight_core.domain.errors import InvalidOption, LimitExceeded, UnreadableData
from tests.adapters.parsing import format_of, parsed, reading_of, types


def lines(*records) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def document(value) -> bytes:
    return json.dumps(value, indent=1).encode()


RECORDS = [{"a": 1, "b": "x"}, {"a": 2, "b": None}, {"b": "z", "c": [1.5, 2]}]
TABLE = {"a": [1, 2, None], "b": ["x", None, "z"], "c": [None, None, [1.5, 2.0]]}


@pytest.mark.parametrize(
    "content",
    [
        lines(*RECORDS),
        document(RECORDS),
        json.dumps(RECORDS).encode(),
        document({"count": 3, "tags": ["p", "q"], "rows": RECORDS, "next": None}),
        lines(*RECORDS).replace(b"\n", b"\r\n\r\n"),
        b"\xef\xbb\xbf" + lines(*RECORDS),
        "".join(map(json.dumps, RECORDS)).encode(),
        json.dumps({"gaps": [None, {}], "rows": RECORDS}).encode(),
        lines(*RECORDS).decode().encode("utf-16"),
    ],
    ids=["lines", "pretty", "compact", "wrapped", "blank", "bom", "run together", "after null", "utf-16"],
)
def test_records_are_found_wherever_they_are(content):
    assert parsed(content).to_pydict() == TABLE


def test_a_record_path_leads_to_the_records():
    content = document({"first": [{"no": 1}], "result": {"meta": {}, "rows": RECORDS}})
    assert parsed(content, record_path="result.rows").to_pydict() == TABLE


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (document({"count": 2, "rows": RECORDS}), "rows"),
        (document({"a.b": RECORDS}), None),  # no option says that
        (document(RECORDS), None),
        (document({"result": {"rows": RECORDS}}), None),
    ],
)
def test_the_path_that_was_found_is_told_and_leads_there_again(content, path):
    told = reading_of(content)["options"]
    assert told.get("record_path") == path
    assert parsed(content, **told).equals(parsed(content))


def test_a_record_path_that_leads_nowhere_is_refused():
    with pytest.raises(InvalidOption, match=r"no array at 'result\.lines'"):
        parsed(document({"result": {"rows": RECORDS}}), record_path="result.lines")


FRACTIONS = ["0.12345678901234567890", "12345678901234567.25", "0.07", "1e-3", "-2.5E2", "3", "null"]


@pytest.mark.parametrize("fractions", [FRACTIONS, FRACTIONS[2:]], ids=["long", "short"])
@pytest.mark.parametrize("template", ["{}", "[{}]", '{{"rows": [{}]}}'], ids=["lines", "array", "document"])
def test_fractions_become_decimals_with_all_their_digits(template, fractions):
    records = [f'{{"x": {fraction}, "y": 0.1234567890123456789}}' for fraction in fractions]
    content = template.format(("\n" if template == "{}" else ",").join(records)).encode()
    table = parsed(content, types={"x": "decimal(38, 20)"}).to_pydict()
    assert table["x"] == [None if each == "null" else Decimal(each) for each in fractions]
    assert set(table["y"]) == {0.1234567890123456789}


def test_numbers_become_text_as_they_are_written():
    versions = ["1.0", "2.10", "3.14", "1e3", "0.12345678901234567890", "7", '"8-beta"']
    content = "\n".join(f'{{"version": {version}}}' for version in versions).encode()
    expected = [version.strip('"') for version in versions]
    assert parsed(content)["version"].to_pylist() == expected
    asked = {"types": {"version": "string"}}
    for some in (content.rpartition(b"\n")[0], b"[" + content.replace(b"\n", b",") + b"]"):
        assert parsed(some, **asked)["version"].to_pylist() == expected[: some.count(b"version")]


def test_of_a_field_that_a_record_has_twice_the_last_value_counts_in_documents():
    content = b'{"a": 1, "b": {"x": 1, "x": 2}, "a": 3}\n{"a": null, "a": "z"}\n'
    assert parsed(content, format="json").to_pydict() == {"a": ["3", "z"], "b": [{"x": 2}, None]}


def test_a_single_object_is_a_single_row():
    assert parsed(b'{"a": 1, "b": [1, 2]}').to_pydict() == {"a": [1], "b": [[1, 2]]}


def test_the_format_is_told():
    assert format_of(lines(*RECORDS)) == "ndjson"
    assert format_of(document(RECORDS)) == "json"


def test_geojson_features_become_rows():
    features = [
        {
            "type": "Feature",
            "id": f"f{number}",
            "properties": {"mag": number / 2, "type": "earthquake"},
            "geometry": {"type": "Point", "coordinates": [number, 34.5, 8.25]},
        }
        for number in range(3)
    ]
    table = parsed(document({"type": "FeatureCollection", "metadata": {"count": 3}, "features": features}))
    assert table.column_names == ["id", "mag", "type", "geometry"]
    assert table["mag"].to_pylist() == [0.0, 0.5, 1.0]
    assert table["geometry"][2].as_py() == {"type": "Point", "coordinates": [2.0, 34.5, 8.25]}


def test_geojson_features_may_be_lines():
    table = parsed(lines(*({"type": "Feature", "properties": {"n": n}, "geometry": None} for n in range(2))))
    assert table.column_names == ["n", "geometry"]


@pytest.mark.parametrize("more", [[], [{"id": 2, "items": [None]}], [{"id": "b"}], [{"id": 1.5}]])
def test_lines_are_records_whatever_lists_they_hold(more):
    records = [{"id": 1, "items": [{"of": "x"}, {"of": "z"}]}, *more]
    content = lines(*records).replace(b"1.5", b"NaN")  # one of those that Polars does not read
    table = parsed(content, format="ndjson")
    assert table.column_names == ["id", "items"]
    assert table["items"].to_pylist() == [record.get("items") for record in records]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\ud83d\ude00 \uD83D\uDE00", "😀 😀"),
        (r"cut \ud83d", "cut \ufffd"),
        (r"\ude00\ud83d.", "\ufffd\ufffd."),
        (r"\ud83d\ud83d\ude00\ude00", "\ufffd😀\ufffd"),
        (r"\\ud83d", r"\ud83d"),
    ],
)
@pytest.mark.parametrize("form", ['{"a": "%s"}\n{"a": "b"}', '[{"a": "%s"}]'], ids=["lines", "document"])
def test_half_a_character_is_replaced(form, text, expected):
    assert parsed((form % text).encode())["a"][0].as_py() == expected


@pytest.mark.parametrize(
    "field",
    [
        {"b": 'say "hi"\n\\'},
        ['"', "\\", {"b": 1}],
        ["a\\b", 'say "hi"\\'],
        [['"']],
        {"b": {"c": "\x01", "d": [1, "\\"]}},
    ],
    ids=["object", "mixed list", "texts", "list", "nested"],
)
def test_what_becomes_json_text_can_be_read_as_json(field):
    table = parsed(lines({"a": field, "z": {"a": field}}, {"a": 5, "z": {"a": "t"}}))
    assert json.loads(table["a"][0].as_py()) == field
    assert json.loads(table["z"][0].as_py()["a"]) == field
    elements = parsed(lines({"a": ["x]", field]}, {"a": []}))["a"][0].as_py()
    assert (elements[0], json.loads(elements[1])) == ("x]", field)
    far = [{"c": "x" * 1000}] * 1500  # the types of a file are found in parts of 1 MiB
    table = parsed(lines({"a": field, "z": {"a": field}}, *far, {"a": 5, "z": {"a": "t"}}))
    assert [json.loads(table["a"][0].as_py()), json.loads(table["z"][0].as_py()["a"])] == [field, field]


def test_names_that_are_written_with_escapes_are_found():
    field = ["a\\b"]
    first, second = {"\u00e9": field, "z": {"\u00e9": field}}, {"\u00e9": "t", "z": {"\u00e9": "t"}}
    table = parsed("\n".join(json.dumps(record, ensure_ascii=True) for record in (first, second)).encode())
    assert json.loads(table["\u00e9"][0].as_py()) == field
    assert json.loads(table["z"][0].as_py()["\u00e9"]) == field


def test_the_elements_of_a_list_become_text_where_they_disagree():
    shapes = [
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "LineString", "coordinates": [[1, 2], [3, 4]]},
    ]
    features = [{"type": "Feature", "properties": {}, "geometry": shape} for shape in shapes]
    table = parsed(document({"type": "FeatureCollection", "features": features}))
    assert [shape["coordinates"] for shape in table["geometry"].to_pylist()] == [
        ["1", "2"],
        ["[1, 2]", "[3, 4]"],
    ]


@pytest.mark.parametrize(
    ("values", "type", "expected"),
    [
        ([1, 2.5], "double", [1.0, 2.5]),
        ([1, "x"], "string", ["1", "x"]),
        ([True, 1], "string", ["true", "1"]),
        ([True, None], "bool", [True, None]),
        ([300, "Jun 12 1998"], "string", ["300", "Jun 12 1998"]),
        ([1, {"b": 2}], "string", ["1", '{"b": 2}']),
        ([[1], 2], "string", ["[1]", "2"]),
        ([[1], ["x"]], "list<element: string>", [["1"], ["x"]]),
        ([{"x": 1}, {"y": "z"}], "struct<x: int64, y: string>", [{"x": 1, "y": None}, {"x": None, "y": "z"}]),
        ([None, None], "string", [None, None]),
        ([{}, {}], "string", ["{}", "{}"]),
        ([2**63 - 1, -(2**63)], "int64", [2**63 - 1, -(2**63)]),
        ([2**63, 1], "string", [str(2**63), "1"]),
        ([10**40, 1], "string", [str(10**40), "1"]),
        ([2**53 - 1, 1.5], "double", [float(2**53 - 1), 1.5]),
        ([2**53 + 1, 1.5], "string", [str(2**53 + 1), "1.5"]),  # a float would round it
        ([2**63, 1.5], "string", [str(2**63), "1.5"]),
        ([1e20, 1.5, 1], "double", [1e20, 1.5, 1.0]),
        ([[2**53 + 1], [1.5]], "list<element: string>", [[str(2**53 + 1)], ["1.5"]]),
        ([{"x": 2**53 + 1}, {"x": 1.5}], "struct<x: string>", [{"x": str(2**53 + 1)}, {"x": "1.5"}]),
        (["2026-01-31", "2026-02-01"], "string", ["2026-01-31", "2026-02-01"]),
        (["00501", "10001"], "string", ["00501", "10001"]),
    ],
)
@pytest.mark.parametrize("write", [lines, lambda *records: document(records)], ids=["lines", "document"])
def test_a_field_gets_the_narrowest_type_that_loses_nothing(values, type, expected, write):
    table = parsed(write(*({"a": value} for value in values)))
    assert (types(table), table["a"].to_pylist()) == ({"a": type}, expected)


@pytest.mark.parametrize("late", [{"a": "x"}, {"a": {"b": 1}}, {"b": 1}], ids=["text", "object", "new field"])
def test_a_late_record_counts_as_much_as_an_early_one(late):
    table = parsed(lines(*[{"a": 1}] * 200_000, late))
    assert table.num_rows == 200_001
    assert [key for key, values in table.slice(200_000).to_pydict().items() if values != [None]] == list(late)


def test_not_a_number_is_null():
    assert parsed(b'{"a": NaN}\n{"a": 1.5}\n{"a": -Infinity}\n')["a"].to_pylist() == [None, 1.5, None]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{"a": 1}\n{"a": \n', 3),
        (b'{"a": 1}\n{"a": 2}}\n', 2),
        (b'[{"a": 1},\n{"a": 2]', 2),
        (b'[{"a": 1},\n{"a": 2},\n', 3),
        (b'{"a": 1}\n{"a": 2}\n[1]\n', 3),
        (b'[{"a": 1}, 2]', 1),
    ],
)
def test_broken_json_is_refused_with_its_line(content, line):
    with pytest.raises(UnreadableData, match=f"f0, line {line}") as failure:
        parsed(content)
    assert failure.value.details["line"] == line


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b"[{}, {}]", b"{}\n{}\n"], ids=["array", "object", "objects", "lines"]
)
def test_nothing_at_all_is_refused(content):
    with pytest.raises(UnreadableData):
        parsed(content)


@pytest.mark.parametrize("depth", [200, 100_000])
def test_deep_nesting_is_refused(depth):
    deep = b"[" * depth + b"1" + b"]" * depth
    with pytest.raises(UnreadableData, match="nested"):
        parsed(b'{"a": ' + deep + b"}\n" + b'{"a": 1}\n')
    with pytest.raises(UnreadableData, match="nested"):
        parsed(b'[{"a": ' + deep + b"}]")


def test_nesting_within_reason_is_kept():
    value = {"a": {"b": {"c": [{"d": [[1, 2], [3]]}]}}}
    assert parsed(lines(value, value)).to_pylist() == [value, value]


def test_too_many_different_fields_are_refused():
    with pytest.raises(LimitExceeded, match="at most 10000"):
        parsed(lines(*({f"k{number}": 1} for number in range(10_001))))


@pytest.mark.parametrize("content", [b'[{"a": 1e999}, {"a": 1.5}]', b'{"a": 1e999}\n{"a": 1.5}\n'])
def test_a_number_that_no_float_holds_is_text(content):
    assert parsed(content)["a"].to_pylist() == ["1e999", "1.5"]


@pytest.mark.parametrize("chunk", ["first", "last"])
def test_a_single_long_integer_makes_fractions_text_wherever_it_is(chunk):
    records = [{"a": 1.5}] * 100_000
    records.insert(0 if chunk == "first" else len(records), {"a": 2**53 + 1})
    assert parsed(lines(*records))["a"].unique().sort().to_pylist() == ["1.5", str(2**53 + 1)]


def test_text_that_is_not_utf_8_is_refused_unless_named():
    content = '[{"a": "café"}]'.encode("latin-1")
    with pytest.raises(UnreadableData, match="set the option 'encoding'"):
        parsed(content)
    assert parsed(content, encoding="latin-1")["a"].to_pylist() == ["café"]


def test_several_files_become_one_table():
    table = parsed(lines({"a": 1}), lines({"a": 2.5, "b": "x"}), format="ndjson")
    assert table.to_pydict() == {"a": [1.0, 2.5], "b": [None, "x"]}


def test_a_large_file_is_read_as_duckdb_reads_it(tmp_path):
    path = tmp_path / "t.ndjson"
    query = """
        SELECT i AS id, i % 7 = 0 AS flag, i / 8 AS share, {'x': i, 'y': [i, i + 1]} AS nested,
               CASE WHEN i % 11 = 0 THEN NULL ELSE 'row "' || i || '"' END AS label
        FROM range(50000) t(i)
    """
    with duckdb.connect() as connection:
        connection.sql(f"COPY ({query}) TO '{path}' (format json)")
        expected = connection.sql(query).to_arrow_table()
    assert parsed(path).cast(expected.schema).equals(expected)
