"""The vectorised check against pydantic, row by row: which rows are good, and what each bad one breaks."""

import csv
import io
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, Field, ValidationError, create_model

from flight_core.adapters.parsers.checks.contract_rules import check_contract, column_types
from flight_core.adapters.parsers.checks.inspection import Inspection
from flight_core.adapters.parsers.checks.rejects import RejectsNote
from flight_core.adapters.parsers.checks.verdict import CheckRequest
from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.unpacking import Unpacked
from flight_core.adapters.parsers.worker import Request, parse
from flight_core.domain.contract import ColumnContract, Contract, RowRule, contract_document
from flight_core.domain.rule_language import COMPARISONS, Call, ColumnName, Literal, parse_rule
from tests.adapters.parsing import LIMITS

FAST = settings(max_examples=60, suppress_health_check=list(HealthCheck))
NOTE = RejectsNote("job", 1, datetime(2026, 1, 31, tzinfo=UTC))
MOMENT = datetime.fromisoformat("2026-01-31T12:00:00.000001")
BOUNDS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}

# Of each type: its values, with many near the bounds, and the bounds as a contract has them.
TYPES: Mapping[str, tuple[st.SearchStrategy[Any], list[Any]]] = {
    "int64": (st.integers(-2, 4) | st.sampled_from([2**63 - 1, -(2**63)]), [0, 2, 2**63 - 1]),
    "int8": (st.integers(-128, 127), [0, 127, 1000, -(2**70)]),
    "uint64": (st.integers(0, 3) | st.just(2**64 - 1), [0, -1, 2, 2**64 - 1]),
    "float64": (
        st.sampled_from([-0.0, 0.0, 0.1, 1.0, math.nan, math.inf, -math.inf]) | st.floats(width=64),
        [0, 0.1, 1],
    ),
    "float32": (st.floats(width=32), [0, 0.1, 1]),
    "decimal128(8, 2)": (
        st.decimals(min_value=-2, max_value=2, places=2),
        [0, "0.01", "1.005", 1.5],
    ),
    "string": (st.text("aäß€😀 \n1", max_size=4), ["a", "ä", ""]),
    "bool": (st.booleans(), []),
    "date": (st.dates(date(2026, 1, 30), date(2026, 2, 2)), ["2026-01-31"]),
    "timestamp": (
        st.datetimes(MOMENT.replace(hour=11), MOMENT.replace(hour=13)) | st.just(MOMENT),
        [MOMENT.isoformat()],
    ),
    "timestamp[us, tz=UTC]": (
        st.just(MOMENT.replace(tzinfo=UTC)) | st.datetimes(timezones=st.just(UTC)),
        ["2026-01-31T13:00:00.000001+01:00"],
    ),
}
PATTERNS = ["^a", "ä|€", r"^\w+$", "(?i)SS", r"\s", "^.?$"]


@st.composite
def columns(draw, name: str) -> ColumnContract:
    type = draw(st.sampled_from(list(TYPES)))
    bounds = TYPES[type][1]
    column = ColumnContract(name, type, nullable=draw(st.booleans()))
    if bounds:
        for rule in draw(st.sets(st.sampled_from(list(BOUNDS)), max_size=2)):
            column = replace(column, **{rule: draw(st.sampled_from(bounds))})
        if draw(st.booleans()):
            column = replace(column, enum=tuple(draw(st.sets(st.sampled_from(bounds), min_size=1))))
    if type == "string":
        column = replace(
            column,
            min_length=draw(st.none() | st.integers(0, 3)),
            max_length=draw(st.none() | st.integers(0, 3)),
            pattern=draw(st.none() | st.sampled_from(PATTERNS)),
        )
    return column


def parsed(value: object, type: str) -> Any:
    """A bound of a contract as pydantic and Python compare it."""
    if type.startswith("decimal"):
        return Decimal(str(value))
    if type == "date":
        return date.fromisoformat(str(value))
    return datetime.fromisoformat(str(value)) if type.startswith("timestamp") else value


def python_type(type: str) -> Any:
    if type.startswith(("int", "uint")):
        return int
    named = {"float64": float, "float32": float, "string": str, "bool": bool, "date": date}
    return named.get(type) or (Decimal if type.startswith("decimal") else datetime)


def one_rule_models(column: ColumnContract) -> dict[str, Any]:
    """Rule -> a model with a field `value` that has this rule alone."""
    base = python_type(column.type or "")
    fields: dict[str, Any] = {}
    if not column.nullable:
        fields["not_null"] = (base, ...)
    for rule in BOUNDS:
        if (bound := getattr(column, rule)) is not None:
            fields[rule] = (Annotated[base, Field(**{rule: parsed(bound, column.type or "")})] | None, ...)
    for rule in ("min_length", "max_length", "pattern"):
        if (limit := getattr(column, rule)) is not None:
            fields[rule] = (Annotated[base, Field(**{rule: limit})] | None, ...)
    if column.enum:
        members = [parsed(member, column.type or "") for member in column.enum]
        fields["enum"] = (Annotated[base, AfterValidator(_one_of(members))] | None, ...)
    return {
        rule: create_model(f"{column.name}_{rule}", __config__={"allow_inf_nan": True}, value=field)
        for rule, field in fields.items()
    }


def _one_of(members: list[Any]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not any(value == member for member in members):
            raise ValueError("not a member")
        return value

    return check


def passes(model: Any, value: object) -> bool:
    try:
        model.model_validate({"value": value}, strict=True)
    except ValidationError:
        return False
    return True


def evaluated(node: Any, row: Mapping[str, Any]) -> Any:
    """The rule language, read from its reference: None is unknown."""
    match node:
        case Literal(value):
            return value
        case ColumnName(name):
            return row[name]
        case Call(name, arguments):
            return _call(name, [evaluated(argument, row) for argument in arguments])


def _call(name: str, given: list[Any]) -> Any:
    if name == "and":
        return False if False in given else None if None in given else True
    if name == "or":
        return True if True in given else None if None in given else False
    if name == "is_null":
        return given[0] is None
    if name == "coalesce":
        return next((value for value in given if value is not None), None)
    if name == "in":
        same = [_call("=", [given[0], other]) for other in given[1:]]
        return True if True in same else None if None in same else False
    if None in given:
        return None
    if name == "not":
        return not given[0]
    if name in COMPARISONS:
        return _compared(name, *given)
    return _FUNCTIONS[name](*_alike(given))


def _alike(given: list[Any]) -> list[Any]:
    if any(isinstance(value, float) for value in given):
        return [float(value) if isinstance(value, int | Decimal) else value for value in given]
    return given


def _compared(sign: str, left: Any, right: Any) -> bool:
    left, right = (_moment(value) for value in _alike([left, right]))
    if isinstance(left, float) or isinstance(right, float):  # NaN equals itself and is the greatest
        left, right = ((1, 0.0) if math.isnan(value) else (0, float(value)) for value in (left, right))
    return bool(_SIGNS[sign](left, right))


def _moment(value: Any) -> Any:
    """A date is its first moment, if it meets one."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a contract's has no zone
    return value


_SIGNS = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": lambda *given: given[0] - given[1] if len(given) == 2 else -given[0],
    "*": operator.mul,
    "/": lambda left, right: None if right == 0 else float(left) / float(right),
    "abs": abs,
    "contains": lambda text, part: part in text,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
    "length": len,
    "lower": str.lower,
    "upper": str.upper,
    "year": lambda moment: moment.year,
    "month": lambda moment: moment.month,
    "day": lambda moment: moment.day,
}


def held(contract: Contract, frame: pl.DataFrame, folder) -> tuple[list[int], dict[int, set[str]]]:
    """The numbers of the good rows, from 1, and what each of the others broke."""
    check_contract(contract)
    inspection = Inspection(contract, NOTE, folder / "rejects.parquet")
    marked = inspection.marked(frame.with_row_index("n", offset=1).lazy(), "f").collect()
    gate = inspection.begin(marked.schema, {})
    seen = gate.seen(marked.lazy()).collect()
    good = [number for part in seen.iter_slices(3) for number in gate(part)["n"].to_list()]
    gate.file.close()
    if not inspection.rejects.exists():
        return good, {}
    rejects = pq.read_table(inspection.rejects).to_pylist()
    return good, {row["row"]: set(row["rules"]) for row in rejects}


@FAST
@given(data=st.data())
def test_columns_are_checked_as_pydantic_checks_them(data, tmp_path_factory):
    contract = Contract(columns=(data.draw(columns("a")), data.draw(columns("b"))))
    types = column_types(contract)
    values = {
        column.name: data.draw(st.lists(st.none() | TYPES[column.type][0], min_size=7, max_size=7))
        for column in contract.columns
    }
    frame = pl.DataFrame(values, schema=types, strict=False)
    models = {column.name: one_rule_models(column) for column in contract.columns}
    expected: dict[int, set[str]] = {}
    for number, row in enumerate(frame.iter_rows(named=True), start=1):
        broken = {
            f"{name}.{rule}"
            for name, rules in models.items()
            for rule, model in rules.items()
            if not passes(model, row[name])
        }
        if broken:
            expected[number] = broken
    good, found = held(contract, frame, tmp_path_factory.mktemp("rejects"))
    assert found == expected
    assert good == [number for number in range(1, 8) if number not in expected]


RULES = [
    "i >= 0",
    "i + j < 3 OR f IS NULL",
    "NOT (i = j) AND s <> 'a'",
    "i * i - j >= 2",
    "i / j > 0.5",
    "f > 0 AND f <= 1.5",
    "f = f",
    "f - i BETWEEN -1 AND 1",
    "d + 0.005 > 1",
    "d * d <= 1.21",
    "d IN (0, 1, 0.5)",
    "d < i OR d = f",
    "s IN ('a', 'ä', '€')",
    "length(s) = 2 OR s IS NULL",
    "starts_with(s, 'a') OR ends_with(upper(s), 'B')",
    "contains(lower(s), 'a') = b",
    "b AND i > 0 OR NOT b",
    "coalesce(i, j, 1) <> 0",
    "day(t) = 31 AND t >= DATE '2026-01-31'",
    "t < TIMESTAMP '2026-02-01 00:00:00'",
    "year(t) + month(t) = 2027",
    "-abs(i) <= -j",
    "NULL IS NULL AND i NOT IN (1, NULL)",
]
COLUMNS = {
    "i": ("int64", st.integers(-2, 2) | st.sampled_from([2**63 - 1, -(2**63)])),
    "j": ("int64", st.integers(-2, 2)),
    "f": ("float64", st.sampled_from([-1.0, -0.0, 0.5, 1.5, math.nan, math.inf])),
    "d": ("decimal128(8, 2)", st.decimals(min_value=-2, max_value=2, places=2)),
    "s": ("string", st.text("aAäb€", max_size=3)),
    "b": ("bool", st.booleans()),
    "t": ("timestamp", st.datetimes(MOMENT.replace(day=30), MOMENT.replace(month=2, day=2))),
}


@pytest.mark.parametrize("rule", RULES)
@settings(FAST, max_examples=15)
@given(data=st.data())
def test_row_rules_are_what_their_language_says_row_by_row(rule, data, tmp_path_factory):
    columns = tuple(ColumnContract(name, type) for name, (type, _) in COLUMNS.items())
    contract = Contract(columns=columns, rules=(RowRule("rule", rule),))
    row = st.fixed_dictionaries({name: st.none() | values for name, (_, values) in COLUMNS.items()})
    rows = data.draw(st.lists(row, min_size=8, max_size=8))
    frame = pl.DataFrame(rows, schema=column_types(contract), orient="row")
    node = parse_rule(rule)
    bad = {
        number
        for number, row in enumerate(frame.iter_rows(named=True), start=1)
        if evaluated(node, row) is False
    }
    good, found = held(contract, frame, tmp_path_factory.mktemp("rejects"))
    assert set(found) == bad
    assert good == [number for number in range(1, 9) if number not in bad]


FIELDS = ["1", "-1", "007", "x", "", " 2", "NA", "a,b", 'a"b', "two\nlines"]
LINES = st.lists(st.lists(st.sampled_from(FIELDS), max_size=4), min_size=1, max_size=8)


def line_of(fields: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(fields)
    return out.getvalue().removesuffix("\n")


def parsed_csv(
    text: str, contract: Contract, folder: Path
) -> tuple[list[Any], dict[int, tuple[set[str], dict]]]:
    """The good rows, and what each of the others broke, with its text."""
    message = {
        "contract": contract_document(contract),
        "version": 1,
        "job": "job",
        "at": NOTE.rejected_at.isoformat(),
        "newest": None,
        "keeps_rows": True,
        "present": [],
        "gone": None,
    }
    source = folder / "f.csv"
    source.write_text(text)
    options = {"header": True, "delimiter": ","}
    check = CheckRequest.of(message, folder)
    request = Request([Unpacked(source, "f")], folder, "csv", options, LIMITS, check=check)
    answer = parse(request, Meter(io.StringIO(), len(text)))
    good = pl.concat(pl.read_parquet(folder / name) for name in answer["files"]).rows()
    if answer["checked"]["rejects"] is None:
        return good, {}
    rejects = pq.read_table(folder / answer["checked"]["rejects"]).to_pylist()
    return good, {row["row"]: (set(row["rules"]), dict(row["raw"])) for row in rejects}


@FAST
@given(lines=LINES)
def test_lines_of_csv_are_good_rows_bad_rows_or_no_rows(lines, tmp_path_factory):
    contract = Contract(columns=(ColumnContract("n", "int64", ge=0), ColumnContract("text", "string")))
    texts = [line_of(line) for line in [["n", "text"], *lines]]
    expected: dict[int, set[str]] = {}
    good: list[Any] = []
    for number, line in enumerate((line for line in lines if line), start=1):
        number_text = line[0].strip()
        if len(line) != len(contract.columns):
            expected[number] = {"ragged"}
        elif number_text not in ("", "NA") and not re.fullmatch(r"-?\d+", number_text):
            expected[number] = {"n.type"}
        elif number_text == "-1":
            expected[number] = {"n.ge"}
        else:
            good.append((None if number_text in ("", "NA") else int(number_text), line[1] or None))
    found_good, found = parsed_csv("\n".join(texts) + "\n", contract, tmp_path_factory.mktemp("csv"))
    assert {number: rules for number, (rules, _) in found.items()} == expected
    assert found_good == good
    kept = [line for line in texts[1:] if line]
    assert all(raw["line"] == kept[number - 1] for number, (rules, raw) in found.items() if "ragged" in rules)
