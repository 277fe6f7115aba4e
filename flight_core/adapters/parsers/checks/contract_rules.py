"""The rules of a contract as Polars expressions over columns with the contract's types."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from flight_core.adapters.parsers.checks.rules import compiled, may_overflow
from flight_core.adapters.parsers.column_types.contract import check_format, type_of, value_of
from flight_core.domain.contract import RAGGED_RULE, ColumnContract, Contract, RuleCount, Severity
from flight_core.domain.errors import InvalidContract
from flight_core.domain.rule_language import parse_rule

# What a column can ask of its values, in the order in which they are reported.
COLUMN_RULES = ("type", "not_null", "ge", "gt", "le", "lt", "min_length", "max_length", "pattern", "enum")

_BOUNDS = ("ge", "gt", "le", "lt")
_FEW = 8  # members of an enum that are compared one by one faster than looked up


@dataclass(frozen=True, slots=True)
class Rule:
    """`good` is false for rows that break the rule; null counts as good."""

    name: str
    column: str  # empty where it is about several
    severity: Severity
    good: pl.Expr
    may_overflow: bool = False  # when it is computed

    @property
    def label(self) -> str:
        return f"{self.column}.{self.name}" if self.column else self.name

    def count(self, rows: int) -> RuleCount:
        return RuleCount(self.name, self.column, self.severity, rows)


def column_types(contract: Contract) -> dict[str, pl.DataType]:
    """Of the columns that have one. Raises InvalidContract."""
    return {column.name: type_of(column.type) for column in contract.columns if column.type is not None}


def rules_of(contract: Contract) -> list[Rule]:
    """Those about one row alone, in the order of the contract.

    Raises:
        InvalidContract: one of them could not be checked, whatever the data.
    """
    types = column_types(contract)
    rules = [rule for column in contract.columns for rule in _column_rules(column, types)]
    rules += [
        Rule(rule.name, "", rule.severity, compiled(node, types), may_overflow(node, types))
        for rule in contract.rules
        for node in [parse_rule(rule.expression)]
    ]
    return rules


def check_contract(contract: Contract) -> None:
    """
    Raises:
        InvalidContract: no data could be checked by it.
    """
    rules = rules_of(contract)
    _check_names(contract)
    _check_formats(contract)
    types = column_types(contract)
    frame = pl.DataFrame({name: [None] for name in types}, schema=types)
    for rule in rules:
        if rule.column in types or not rule.column:
            _try(rule, frame)


def default_of(column: ColumnContract, type: pl.DataType | None) -> pl.Expr:
    """The value of a column that the data lacks: its default, or null."""
    if type is None:
        return pl.lit(column.default)
    value = None if column.default is None else value_of(column.default, type, f"{column.name}.default")
    return pl.lit(value, dtype=type)


def _column_rules(column: ColumnContract, types: Mapping[str, pl.DataType]) -> Iterator[Rule]:
    values, type = pl.col(column.name), types.get(column.name)

    def rule(name: str, good: pl.Expr) -> Rule:
        return Rule(name, column.name, column.severity_of(name), good)

    if not column.nullable:
        yield rule("not_null", values.is_not_null())
    for name in _BOUNDS:
        bound = getattr(column, name)
        if bound is not None:
            yield rule(name, _within(values, name, _given(column, name, bound, type), type))
    yield from _text_rules(column, values, type, rule)
    if column.enum:
        members = [_given(column, "enum", member, type) for member in column.enum]
        yield rule("enum", _member(values, members, type))
    default_of(column, type)


def _text_rules(
    column: ColumnContract, values: pl.Expr, type: pl.DataType | None, rule: Any
) -> Iterator[Rule]:
    if column.min_length is None and column.max_length is None and column.pattern is None:
        return
    if type != pl.String:
        raise InvalidContract(
            f"column '{column.name}' has rules about text, and is not of the type 'string'",
            column=column.name,
        )
    if column.min_length is not None:
        yield rule("min_length", values.str.len_chars() >= column.min_length)
    if column.max_length is not None:
        yield rule("max_length", values.str.len_chars() <= column.max_length)
    if column.pattern is not None:
        yield rule("pattern", values.str.contains(column.pattern))


def _given(column: ColumnContract, name: str, value: object, type: pl.DataType | None) -> Any:
    if type is None:
        raise InvalidContract(
            f"column '{column.name}' has the rule '{name}' and no type; give it one", column=column.name
        )
    return value_of(value, type, f"{column.name}.{name}")


def _within(values: pl.Expr, name: str, bound: Any, type: pl.DataType | None) -> pl.Expr:
    """Whether the value is within the bounds; NaN never is."""
    literal = pl.lit(bound)
    if type is not None and type.is_integer():
        literal, values = pl.lit(bound, dtype=pl.Int128), values
        if -(1 << 63) <= bound < 1 << 63 and type != pl.UInt64:
            literal, values = pl.lit(bound, dtype=pl.Int64), values.cast(pl.Int64)
        else:
            values = values.cast(pl.Int128)
    elif type == pl.Float32:
        values = values.cast(pl.Float64)
    elif isinstance(type, pl.Datetime):
        literal = pl.lit(bound, dtype=type)
    good = {
        "ge": values >= literal,
        "gt": values > literal,
        "le": values <= literal,
        "lt": values < literal,
    }[name]
    if type is not None and type.is_float() and name in ("ge", "gt"):
        return good & values.is_not_nan()
    return good


def _member(values: pl.Expr, members: Sequence[Any], type: pl.DataType | None) -> pl.Expr:
    """Whether the value is a member; NaN never is, since it equals nothing."""
    if type is not None and type.is_float():
        values = values.cast(pl.Float64)
    elif type is not None and type.is_integer():
        values = values.cast(pl.Int128)
    if len(members) > _FEW and type in (pl.String(), pl.Date()):
        return values.is_in(members)
    literal_type = _literal_type(type)
    literals = [pl.lit(member, dtype=literal_type) for member in members]
    return pl.any_horizontal([values == literal for literal in literals])


def _literal_type(type: pl.DataType | None) -> pl.DataType | None:
    if type is None or type == pl.String:
        return None
    if type.is_integer():
        return pl.Int128()
    if type.is_float():
        return pl.Float64()
    return None if isinstance(type, pl.Decimal) else type


def _check_names(contract: Contract) -> None:
    if len({column.name.lower() for column in contract.columns}) < len(contract.columns):
        raise InvalidContract("two columns have the same name (case does not count); name each once")
    for column in contract.columns:
        unknown = sorted(set(dict(column.severities)) - {*COLUMN_RULES})
        if unknown:
            raise InvalidContract(
                f"'{unknown[0]}' is not a rule of a column; there are: {', '.join(COLUMN_RULES)}",
                column=column.name,
            )
        if column.severity_of("type") is Severity.WARN and column.type is not None:
            _check_type_severity(column)
    rule_names = [rule.name for rule in contract.rules]
    if RAGGED_RULE in rule_names:
        raise InvalidContract(f"the name '{RAGGED_RULE}' is kept for lines that are no rows; choose another")
    if len(set(rule_names)) < len(rule_names):
        raise InvalidContract("two rules have the same name; name each once")
    _check_references(contract)


def _check_formats(contract: Contract) -> None:
    for column in contract.columns:
        try:
            if column.format is not None:
                check_format(column.format)
        except ValueError as error:
            raise InvalidContract(f"column '{column.name}': {error}", column=column.name) from None


def _check_references(contract: Contract) -> None:
    keys = {column.name.lower() for column in contract.columns}
    for key in contract.unique:
        lacking = [name for name in key.columns if name.lower() not in keys]
        if lacking or not key.columns:
            raise InvalidContract(
                f"a unique key names {lacking[:1] or 'no columns'}, which the contract does not describe"
            )
    freshness = contract.freshness
    if freshness is not None and freshness.column is not None:
        type = column_types(contract).get(freshness.column)
        if type is None or not type.is_temporal():
            raise InvalidContract(
                f"freshness is about '{freshness.column}', which the contract does not describe as a date"
                " or a timestamp"
            )


def _check_type_severity(column: ColumnContract) -> None:
    if dict(column.severities).get("type") is Severity.WARN:
        raise InvalidContract(
            f"column '{column.name}' only warns of values that are not of its type; they cannot be kept:"
            " reject them, or give the column the type 'string'",
            column=column.name,
        )


def _try(rule: Rule, frame: pl.DataFrame) -> None:
    try:
        good = frame.select(rule.good.alias("good"))["good"]
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0][:200]
        raise InvalidContract(
            f"the rule '{rule.label}' cannot be checked: {reason}", rule=rule.label
        ) from None
    if good.dtype not in (pl.Boolean, pl.Null):
        raise InvalidContract(f"the rule '{rule.label}' is not a condition", rule=rule.label)
