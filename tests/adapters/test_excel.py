"""Workbooks, as spreadsheet programs write them."""

import io
import zipfile
from datetime import date, datetime, time, timedelta
from xml.sax.saxutils import escape

import pytest

from flight_core.adapters.parsers.unpacking import UnpackLimits
from flight_core.domain.errors import InvalidOption, LimitExceeded, SchemaMismatch, UnreadableData
from tests.adapters.parsing import format_of, parsed, types

_NS = "http://schemas.openxmlformats.org"
_TYPES = f"{_NS}/package/2006/content-types"
_RELATIONS = f"{_NS}/package/2006/relationships"
_OFFICE = f"{_NS}/officeDocument/2006/relationships"
_MAIN = f"{_NS}/spreadsheetml/2006/main"
_STYLES = {date: 14, datetime: 22, time: 21, timedelta: 46}


def workbook(**sheets) -> bytes:
    """An .xlsx file with these sheets, each a list of rows."""
    names = list(enumerate(sheets, start=1))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{_TYPES}"><Default Extension="xml" ContentType="application/xml"/></Types>',
        )
        archive.writestr("_rels/.rels", _relations([("rId1", "officeDocument", "xl/workbook.xml")]))
        listed = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"/>' for n, name in names)
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            _relations(
                [
                    ("rId0", "styles", "styles.xml"),
                    *((f"rId{n}", "worksheet", f"worksheets/sheet{n}.xml") for n, _ in names),
                ]
            ),
        )
        formats = "".join(f'<xf numFmtId="{number}"/>' for number in _STYLES.values())
        archive.writestr(
            "xl/styles.xml",
            f'<styleSheet xmlns="{_MAIN}"><cellXfs><xf numFmtId="0"/>{formats}</cellXfs></styleSheet>',
        )
        for number, name in names:
            archive.writestr(f"xl/worksheets/sheet{number}.xml", _sheet(sheets[name]))
    return target.getvalue()


def _relations(rows) -> str:
    listed = "".join(
        f'<Relationship Id="{id}" Type="{_OFFICE}/{kind}" Target="{place}"/>' for id, kind, place in rows
    )
    return f'<Relationships xmlns="{_RELATIONS}">{listed}</Relationships>'


def _sheet(rows) -> str:
    lines = []
    for number, row in enumerate(rows, start=1):
        cells = "".join(_cell(f"{chr(65 + c)}{number}", value) for c, value in enumerate(row))
        lines.append(f'<row r="{number}">{cells}</row>')
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'


def _cell(place, value) -> str:
    match value:
        case None:
            return ""
        case bool():
            return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
        case int() | float():
            return f'<c r="{place}"><v>{value}</v></c>'
        case date() | time() | timedelta():
            style = list(_STYLES).index(type(value)) + 1
            return f'<c r="{place}" s="{style}"><v>{_serial(value)}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'


def _serial(value) -> float:
    """Days since the last one of 1899, nearly."""
    match value:
        case datetime():
            return (value - datetime(1899, 12, 30)) / timedelta(days=1)  # noqa: DTZ001
        case date():
            return (value - date(1899, 12, 30)).days
        case time():
            return _serial(timedelta(hours=value.hour, minutes=value.minute, seconds=value.second))
    return value / timedelta(days=1)


PEOPLE = [
    ["zip", "n", "part", "ok", "mixed"],
    ["00501", 1, 1.5, True, "x"],
    ["10001", 2, 2, False, 5],
    ["10002", None, None, None, None],
]


def test_cells_keep_their_types():
    table = parsed(workbook(People=PEOPLE))
    assert types(table) == {
        "zip": "string",
        "n": "int64",
        "part": "double",
        "ok": "bool",
        "mixed": "string",
    }
    assert table["zip"].to_pylist() == ["00501", "10001", "10002"]
    assert table["n"].to_pylist() == [1, 2, None]
    assert table["mixed"].to_pylist() == ["x", "5", None]


def test_moments_times_and_durations_are_told_apart():
    noon, half = datetime(2026, 1, 31, 12), time(10, 30, 5)  # noqa: DTZ001
    rows = [["day", "at", "time", "took"], [noon.date(), noon, half, timedelta(hours=30)], [None] * 4]
    table = parsed(workbook(S=rows))
    assert table.to_pylist()[0] == {
        "day": datetime(2026, 1, 31),  # noqa: DTZ001
        "at": noon,
        "time": "10:30:05",
        "took": timedelta(hours=30),
    }


def test_cells_of_any_two_kinds_make_a_column():
    kinds = {"text": "x", "n": 5, "day": date(2026, 1, 31), "took": timedelta(hours=3), "ok": True}
    pairs = [(one, other) for one in kinds for other in kinds if one < other]
    rows = [[f"{one}_{other}" for one, other in pairs], *([kinds[pair[n]] for pair in pairs] for n in (0, 1))]
    table = parsed(workbook(S=rows))
    assert table.num_rows == 2
    assert {name: type for name, type in types(table).items() if type != "string"} == {"n_ok": "int64"}


def test_names_are_what_the_cells_of_the_header_say():
    header = [" a ", date(2026, 1, 31), None, 2026, 1.5, "a"]
    content = workbook(S=[["a report"], header, [1] * 6])
    names = ["a", "2026-01-31", "column_3", "2026", "1.5", "a_1"]
    assert parsed(content, header_row=2).column_names == names


def test_a_workbook_is_found_out_whatever_its_name():
    assert format_of(workbook(People=PEOPLE)) == "excel"


def test_several_sheets_have_to_be_chosen_from():
    content = workbook(A=[["a"], [1]], Empty=[], B=[["b"], [2]])
    with pytest.raises(InvalidOption, match="'A', 'B'") as caught:
        parsed(content)
    assert caught.value.details["sheets"] == ["A", "B"]
    assert parsed(content, sheet="B").to_pydict() == {"b": [2]}
    assert parsed(content, sheet=1).to_pydict() == {"a": [1]}


@pytest.mark.parametrize("sheet", ["C", 3])
def test_a_sheet_that_is_not_there_is_answered_with_those_that_are(sheet):
    with pytest.raises(InvalidOption, match="'A', 'B'"):
        parsed(workbook(A=[["a"], [1]], B=[["b"], [2]]), sheet=sheet)


def test_the_header_can_be_further_down_or_missing():
    assert parsed(workbook(S=[["a report", None], ["a", "b"], [1, 2]]), header_row=2).to_pydict() == {
        "a": [1],
        "b": [2],
    }
    assert parsed(workbook(S=[[1, 2]]), header=False).to_pydict() == {"column_1": [1], "column_2": [2]}


def test_given_types_hold_for_workbooks():
    assert types(parsed(workbook(S=[["n"], [1]]), types={"n": "string"})) == {"n": "string"}


def test_workbooks_of_the_same_columns_become_one_table():
    one, two = workbook(S=[["n"], [1]]), workbook(T=[["n"], [2.5]])
    assert parsed(one, two).to_pydict() == {"n": [1.0, 2.5]}
    with pytest.raises(SchemaMismatch):
        parsed(one, workbook(S=[["m"], [1]]))


@pytest.mark.parametrize(
    "content", [workbook(S=[]), workbook(People=PEOPLE)[:-200], b"\xd0\xcf\x11\xe0" + bytes(600)]
)
def test_a_workbook_that_cannot_be_read_says_so(content):
    with pytest.raises(UnreadableData):
        parsed(content)


def test_a_workbook_that_becomes_too_large_is_refused():
    content = workbook(S=[["n"], *[["x" * 1000]] * 2000])
    with pytest.raises(LimitExceeded):
        parsed(content, limits=UnpackLimits(max_bytes=1 << 20, max_ratio=250))


def test_entities_are_not_expanded():
    bomb = workbook(S=[["n"], ["BOMB"]])
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bomb)) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.namelist():
            text = old.read(member).decode()
            if member.endswith("sheet1.xml"):
                laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
                text = f'<!DOCTYPE w [<!ENTITY l0 "ha">{laughs}]>' + text.replace("BOMB", "&l9;")
            new.writestr(member, text)
    try:
        table = parsed(target.getvalue())
    except UnreadableData:
        return
    assert len(str(table["n"][0].as_py())) < 100
