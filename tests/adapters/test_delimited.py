"""CSV and TSV: types, dialects, encodings, and everything that is wrong with files."""

import csv
import io
import math
from datetime import UTC, date, datetime

import duckdb
import pytest

from flight_core.adapters.parsers.formats import mending
from flight_core.adapters.parsers.formats.delimited import SAMPLE_ROWS
from flight_core.adapters.parsers.formats.dialects import MAX_COLUMNS
from flight_core.domain.errors import InvalidOption, LimitExceeded, SchemaMismatch, UnreadableData
from tests.adapters.parsing import format_of, parsed, types

BEYOND_THE_SAMPLE = SAMPLE_ROWS + 1000


def local(text: str) -> datetime:
    return datetime.fromisoformat(text)


def column(*values: str, name: str = "a"):
    """What a CSV column of these values is read as: its type and its values."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([[name], *([value] for value in values)])
    table = parsed(out.getvalue().encode())
    return types(table)[name], table[name].to_pylist()


@pytest.mark.parametrize(
    ("values", "type", "expected"),
    [
        (["1", "-2", "0"], "int64", [1, -2, 0]),
        (["9223372036854775807", "-9223372036854775808"], "int64", [2**63 - 1, -(2**63)]),
        (["1", "2.5", "-3e2", ".5"], "double", [1.0, 2.5, -300.0, 0.5]),
        (["true", "False", "TRUE"], "bool", [True, False, True]),
        (["2026-01-31", "1969-12-31"], "date32[day]", [date(2026, 1, 31), date(1969, 12, 31)]),
        (
            ["2026-01-31 10:00:00", "2026-01-31 10:00:00.000001"],
            "timestamp[us]",
            [local("2026-01-31T10:00:00"), local("2026-01-31T10:00:00.000001")],
        ),
        (["2026-01-31T10:00"], "timestamp[us]", [local("2026-01-31T10:00:00")]),
        (
            ["2026-01-31T10:00:00Z", "2026-01-31T10:00:00+02:00"],
            "timestamp[us, tz=UTC]",
            [datetime(2026, 1, 31, 10, tzinfo=UTC), datetime(2026, 1, 31, 8, tzinfo=UTC)],
        ),
        (["2026-01-31 10:00Z"], "timestamp[us, tz=UTC]", [datetime(2026, 1, 31, 10, tzinfo=UTC)]),
        (["2026-01-31T10:00+0200"], "timestamp[us, tz=UTC]", [datetime(2026, 1, 31, 8, tzinfo=UTC)]),
    ],
)
def test_a_type_is_found_where_every_value_fits(values, type, expected):
    assert column(*values) == (type, expected)


@pytest.mark.parametrize(
    "values",
    [
        ["00501", "10001"],  # codes keep their zeros
        ["1", "007"],
        ["1.5", "00.5"],
        ["+4930123", "5"],  # a phone number
        ["9223372036854775808", "1"],  # beyond 64 bits
        ["12345678901234567890", "1.5"],
        ["9007199254740993", "1.5"],  # a float would round it
        ["1e400", "1.5"],  # beyond all floats
        ["2026-01-31", "31.01.2026"],
        ["2026-02-30", "2026-01-01"],  # there is no such day
        ["0000-01-01", "2026-01-01"],  # nor such a year
        ["0000-01-01 00:00:00"],
        ["2026-01-31", "2026-01-31 10:00:00"],
        ["2026-01-31 10:00:00.123456789"],  # finer than a microsecond
        ["Jun 12 1998", "Aug 07 1998"],
        ["true", "maybe"],
        ["1", "x"],
        ["1_000", "2"],
        [" 1", "2"],
    ],
)
def test_a_column_stays_text_where_a_type_would_lose_something(values):
    assert column(*values) == ("string", values)


@pytest.mark.parametrize("late", ["00501", "none", "1.5x", "99999999999999999999", "1e400"])
def test_a_late_value_turns_the_whole_column_into_text(late):
    values = ["10001"] * BEYOND_THE_SAMPLE + [late]
    assert column(*values) == ("string", values)


@pytest.mark.parametrize("late", ["00501", "+5", " 5", "none", "1.5x", "99999999999999999999"])
def test_a_late_value_counts_without_quotes_too(late):
    table = parsed(b"a,b\n" + b"10001,1\n" * BEYOND_THE_SAMPLE + f"{late},2\n".encode())
    assert types(table) == {"a": "string", "b": "int64"}
    assert table["a"][-1].as_py() == late


@pytest.mark.parametrize("late", ["99999999999999999999", "9007199254740993", "-1e400"])
def test_a_late_number_that_a_float_would_change_makes_floats_text(late):
    table = parsed(b"a,b\n" + b"1.5,1\n" * BEYOND_THE_SAMPLE + f"{late},2\n".encode())
    assert types(table) == {"a": "string", "b": "int64"}
    assert table["a"].unique().to_pylist() == ["1.5", late]


def test_large_floats_and_infinities_are_floats():
    table = parsed(b"a,b\n1e20,inf\n1234567890123456789.5,-1.5\n")
    assert table.to_pydict() == {"a": [1e20, 1234567890123456789.5], "b": [math.inf, -1.5]}


@pytest.mark.parametrize("late", ["", '""', "NA"])
def test_a_late_null_is_no_text(late):
    table = parsed(b"a,b\n" + b"1,1.5\n" * BEYOND_THE_SAMPLE + f"{late},{late}\n".encode())
    assert types(table) == {"a": "int64", "b": "double"}
    assert table.slice(BEYOND_THE_SAMPLE).to_pylist() == [{"a": None, "b": None}]


def test_a_late_fraction_turns_integers_into_floats():
    type, values = column(*["1"] * BEYOND_THE_SAMPLE, "1.5")
    assert (type, values[0], values[-1]) == ("double", 1.0, 1.5)


@pytest.mark.parametrize(("late", "type"), [("5", "int64"), ("2026-01-31", "date32[day]"), ("x", "string")])
def test_a_column_that_begins_empty_gets_the_type_of_what_follows(late, type):
    table = parsed(b"a,b\n" + b",1\n" * BEYOND_THE_SAMPLE + late.encode() + b",2\n")
    assert types(table) == {"a": type, "b": "int64"}
    assert str(table["a"][-1]) == late


def test_a_column_that_stays_empty_is_text():
    assert types(parsed(b"a,b\n,1\nNA,2\n")) == {"a": "string", "b": "int64"}


def test_rows_keep_their_order():
    lines = "".join(f"{number},{number * 2}\n" for number in range(300_000))
    table = parsed(b"a,b\n" + lines.encode())
    assert table["a"].to_pylist() == list(range(300_000))


def test_words_for_nothing_are_null_except_in_text():
    words = ["NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL", "Null", "None", r"\N"]
    table = parsed("".join(["number,text\n5,x\n,\n", *(f"{word},{word}\n" for word in words)]).encode())
    assert table["number"].to_pylist() == [5, None, *[None] * len(words)]
    assert table["text"].to_pylist() == ["x", None, *words]


def test_a_quoted_empty_field_is_empty_text():
    assert parsed(b'a,b\n1,""\n2,\n3,x\n')["b"].to_pylist() == ["", None, "x"]


def test_the_caller_may_name_more_null_values():
    table = parsed(b"a,b\n-99,x\n5,-\n", null_values=["-99", "-"])
    assert table.to_pydict() == {"a": [None, 5], "b": ["x", None]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter):
    text = f'a{delimiter}b{delimiter}c\n1{delimiter}"x, y; z"{delimiter}2\n'
    assert parsed(text.encode()).to_pydict() == {"a": [1], "b": ["x, y; z"], "c": [2]}


@pytest.mark.parametrize("line", ["sep=;\n", '"sep=;"\r\n', "\ufeffSEP=;\n\n"])
def test_a_line_that_tells_the_delimiter_is_no_row(line):
    assert parsed(f"{line}a,b;c\nx,y;3\n".encode()).to_pydict() == {"a,b": ["x,y"], "c": [3]}


def test_spaces_after_every_delimiter_are_part_of_it():
    table = parsed(b'a, b, c\n1, 2.5, "x, y"\n, 3, z \n')
    assert table.to_pydict() == {"a": [1, None], "b": [2.5, 3.0], "c": ["x, y", "z "]}
    assert parsed(b"a,b\n1, x\n2,y\n")["b"].to_pylist() == [" x", "y"]


def test_a_delimiter_that_is_given_wins():
    assert parsed(b"a,b;c\n1,2;3\n", delimiter=";").column_names == ["a,b", "c"]


def test_tsv_means_tabs_even_with_one_column():
    assert parsed(b"a,b\nx,y\n", format="tsv").to_pydict() == {"a,b": ["x,y"]}


def test_a_first_row_of_values_is_not_a_header():
    table = parsed(b"1,2026-01-31,2.5\n2,2026-02-01,3.5\n")
    assert table.column_names == ["column_1", "column_2", "column_3"]
    assert table.num_rows == 2


def test_the_caller_may_say_that_there_is_no_header():
    assert parsed(b"a,b\nc,d\n", header=False).to_pydict() == {"column_1": ["a", "c"], "column_2": ["b", "d"]}


def test_columns_without_a_name_get_one():
    assert parsed(b"a,,c\n1,2,3\n").column_names == ["a", "column_2", "c"]


def test_a_header_without_rows_is_a_table_without_rows():
    table = parsed(b"a,b\n")
    assert (table.num_rows, types(table)) == (0, {"a": "string", "b": "string"})


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_understood(end):
    assert parsed(end.join(["a,b", "1,2", "3,4", ""]).encode()).to_pydict() == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'a,b\r1,"x\ny"\r2,z\r', {"a": [1, 2], "b": ["x\ny", "z"]}),
        (b"a,b\r\r\n1,x\r\r\n2,z\r\r\n", {"a": [1, 2], "b": ["x", "z"]}),
        (b"a\r1\n2\n", {"a": [1, 2]}),
        (b'a,b\n1,"x\ry"\r\n2,z\n', {"a": [1, 2], "b": ["x\ry", "z"]}),
    ],
)
def test_line_ends_may_be_mixed(content, expected):
    assert parsed(content).to_pydict() == expected


def test_quotes_hold_delimiters_line_ends_and_quotes():
    rows = [["plain", 'say "hi"'], ["two\r\nlines", "a,b"], ["é", ""]]
    out = io.StringIO()
    csv.writer(out).writerows([["x", "y"], *rows])
    table = parsed(out.getvalue().encode())
    assert table["x"].to_pylist() == ["plain", "two\r\nlines", "é"]
    assert table["y"].to_pylist() == ['say "hi"', "a,b", None]


def test_a_quote_inside_a_field_is_a_character():
    assert parsed(b'a,b\n1,2"2\n3,4\n').to_pydict() == {"a": [1, 3], "b": ['2"2', "4"]}


def test_quoting_can_be_switched_off():
    assert parsed(b'a,b\n"1,2\n', quote=None).to_pydict() == {"a": ['"1'], "b": [2]}


def test_blank_lines_are_not_rows():
    assert parsed(b"\na,b\n1,2\n\n3,4\n\n\n").to_pydict() == {"a": [1, 3], "b": [2, 4]}
    assert parsed(b"a\n1\n\n3\n\n").to_pydict() == {"a": [1, 3]}
    assert parsed(b"a,b\n1,2\n  \n3,4\n\t").to_pydict() == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("lines", [["", "a,b"], ["", "", "a,b"], ["title", "", "a,b"], ["title", "a,b"]])
def test_the_table_may_begin_further_down(lines, end):
    content = end.join([*lines, "1,2", "3,4", ""]).encode()
    assert parsed(content, skip_rows=lines.count("title")).to_pydict() == {"a": [1, 3], "b": [2, 4]}


def test_odd_line_ends_before_the_table_cost_no_row():
    assert parsed(b"\n\ra\n1\n").to_pydict() == {"a": [1]}


def test_a_table_that_does_not_begin_is_refused():
    for skipped in (2, 9):
        with pytest.raises(UnreadableData, match="f0 has nothing where its table should begin"):
            parsed(b"a,b\n1,2\n", skip_rows=skipped)
    with pytest.raises(UnreadableData, match="or 'skip_rows' if the table begins further down"):
        parsed(b"title\na,b\n1,2\n")


@pytest.mark.parametrize(
    ("content", "line", "fields"),
    [
        (b"a,b,c\n1,2,3\n4,5\n6,7,8\n", 3, 2),
        (b"a,b,c\n1,2,3\n4,5,6,7\n", 3, 4),
        (b'a,b,c\n1,"two\nlines",3\n4\n', 4, 1),
        (b'a,b,c\n1,"x,y",\n4,"x,y"\n', 3, 2),
        (b"a,b,c\n" + b"1,2,3\n" * BEYOND_THE_SAMPLE + b"1,2\n", BEYOND_THE_SAMPLE + 2, 2),
    ],
)
def test_a_ragged_row_is_refused_with_its_line(content, line, fields):
    with pytest.raises(UnreadableData, match=f"line {line}: the number of fields is {fields}") as failure:
        parsed(content)
    assert failure.value.details["line"] == line


def test_ragged_rows_are_padded_and_cut_on_request():
    table = parsed(b"a,b,c\n1,2,3\n4,5\n6,7,8,9\n", ragged="pad")
    assert table.to_pydict() == {"a": [1, 4, 6], "b": [2, 5, 7], "c": [3, None, 8]}


def test_a_nullable_last_column_is_not_ragged():
    table = parsed(b'a,b,c\n1,"x,y",\n2,z,\n3,w,5\n')
    assert table["c"].to_pylist() == [None, None, 5]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b'a,b\n1,2\n3,"4\n5,6\n', 3, "not closed"),
        (b'a,b\n1,"2\n2"\n3,"4\n5,"6"\n', 4, "closed in line 5, where text follows"),
        (b'a,b\n"1\n1","2\n3,4\n', 3, "not closed"),
        (b'a;b\r\n1;"2"x\r\n3;4\r\n', 2, "closed in line 2"),
    ],
)
def test_a_quote_that_does_not_end_its_field_is_refused_with_its_line(content, line, reason):
    with pytest.raises(UnreadableData, match=f"line {line}: .* {reason}.*'ragged' to 'quarantine'") as caught:
        parsed(content)
    assert caught.value.details["line"] == line


def test_lines_with_open_quotes_can_be_left_out():
    rows = [b'%d,"x"\n' % n for n in range(3000)]
    for n in range(0, 3000, 2):
        rows[n] = rows[n].replace(b'x"', b"x")  # alternately opened, and closed in the next line
    table = parsed(b"a,b\n" + b"".join(rows), ragged="quarantine")
    assert table["a"].to_pylist() == list(range(1, 3000, 2))


def test_lines_whose_quotes_end_nowhere_are_read_again_only_so_often(monkeypatch):
    """From each line on, quotes open and close until the end of the file, which leaves one open."""
    monkeypatch.setattr(mending, "MAX_RECORD_BYTES", 1 << 12)
    few, many = b'1,a","x\n' * 20, b'1,a","x\n' * 5000
    table = parsed(b"a,b\n" + few + b"2,y\n", ragged="quarantine")
    assert table.to_pydict() == {"a": [2], "b": ["y"]}
    with pytest.raises(UnreadableData, match="too many quotes are not closed; mend them, or set the option"):
        parsed(b"a,b\n" + many, ragged="quarantine")


def test_a_row_without_an_end_is_left_out_with_its_first_line(monkeypatch):
    monkeypatch.setattr(mending, "MAX_RECORD_BYTES", 1 << 12)
    rows = [f"{number},y\n".encode() for number in range(2000)]
    table = parsed(b"a,b\n" + b'0,"x\n' + b"".join(rows), ragged="quarantine")
    assert table["a"].to_pylist() == list(range(2000))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_the_encoding_is_found(encoding):
    text = "name,n\ncafé,1\nnaïve,2\nover the hills,3\n"
    assert parsed(text.encode(encoding))["name"].to_pylist() == ["café", "naïve", "over the hills"]


def test_western_text_is_found_however_late_it_shows():
    text = "name,n\n" + "plain,1\n" * 100_000 + "café,2\n"
    assert parsed(text.encode("latin-1"))["name"][-1].as_py() == "café"


def test_text_of_two_encodings_is_refused():
    with pytest.raises(UnreadableData, match="line 3: not UTF-8"):
        parsed("name\ncafé\n".encode() + "café\n".encode("cp1252"))


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "shift_jis"])
def test_other_encodings_have_to_be_named(encoding):
    text = "name,n\nascii,1\n" + ("привет" if encoding != "shift_jis" else "こんにちは") + ",2\n"
    with pytest.raises(UnreadableData, match="line 3: not UTF-8; set the option 'encoding'"):
        parsed(text.encode(encoding))
    assert parsed(text.encode(encoding), encoding=encoding)["name"][1].as_py() == text.split("\n")[2][:-2]


def test_text_that_is_not_in_the_encoding_given_is_refused():
    with pytest.raises(UnreadableData, match="line 2: not UTF-8"):
        parsed("name\ncafé\n".encode("cp1252"), encoding="utf-8")
    late = "name\n" + "plain\n" * 100_000 + "café\n"
    with pytest.raises(UnreadableData, match="line 100002: not UTF-8"):
        parsed(late.encode("cp1252"), encoding="utf-8")
    with pytest.raises(UnreadableData, match="line 3: not ascii"):
        parsed("name\nx\ncafé\n".encode(), encoding="ascii")


@pytest.mark.parametrize("header", ["a,b,a", "a,b,A"])
def test_columns_of_the_same_name_are_refused(header):
    with pytest.raises(SchemaMismatch, match=r"two columns named '[aA]'"):
        parsed(f"{header}\n1,2,3\n".encode())


def test_an_empty_file_is_refused():
    with pytest.raises(UnreadableData, match="f0 is empty"):
        parsed(b"")
    with pytest.raises(UnreadableData, match="f0 is empty"):
        parsed(b"\n \n")


def test_too_many_columns_are_refused():
    names = ",".join(f"c{number}" for number in range(MAX_COLUMNS + 1))
    with pytest.raises(LimitExceeded, match=f"more than {MAX_COLUMNS}"):
        parsed(f"{names}\n".encode())


def test_a_file_of_one_endless_line_is_refused():
    with pytest.raises(LimitExceeded, match="longer than 16 MiB"):
        parsed(b"x" * (17 << 20))


def test_several_files_become_one_table():
    table = parsed(b"a,b\n1,x\n", b"a;b\n2.5;y\n")
    assert table.to_pydict() == {"a": [1.0, 2.5], "b": ["x", "y"]}


def test_files_of_one_name_are_not_mixed_up(tmp_path):
    paths = [tmp_path / folder / "data.csv" for folder in ("jan", "feb")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(f"a,b\ncafé,{path.parent.name}\n\n", encoding="utf-16")
    assert parsed(*paths).to_pydict() == {"a": ["café", "café"], "b": ["jan", "feb"]}


def test_files_with_other_columns_are_refused():
    with pytest.raises(SchemaMismatch, match=r"f1 lacks 'b' and has 'c' besides, compared"):
        parsed(b"a,b\n1,x\n", b"a,c\n2,y\n")


def test_an_unknown_option_is_refused_with_those_there_are():
    with pytest.raises(InvalidOption, match=r"'delimitr' is not an option .* delimiter, encoding, header"):
        parsed(b"a,b\n1,2\n", delimitr=";")


def test_the_format_is_told():
    assert format_of(b"a,b\n1,2\n") == "csv"


def test_a_large_file_is_read_as_duckdb_reads_it(tmp_path):
    """Another implementation, the same table: numbers, dates, text with delimiters, nulls."""
    path = tmp_path / "t.csv"
    query = """
        SELECT i AS id, i % 7 = 0 AS flag, i / 8 AS share, date '2020-01-01' + (i % 3000)::int AS day,
               CASE WHEN i % 11 = 0 THEN NULL ELSE 'row, ' || i END AS label
        FROM range(100000) t(i)
    """
    with duckdb.connect() as connection:
        connection.sql(f"COPY ({query}) TO '{path}' (header)")
        expected = connection.sql(query).to_arrow_table()
    table = parsed(path)
    assert table.cast(expected.schema).equals(expected)
