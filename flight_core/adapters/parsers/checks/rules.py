"""Row rules as Polars expressions, with every type checked before any row is seen.

Integers are compared and calculated exactly, in 128 bits; decimals exactly, with 38 digits; what meets a
float becomes one. Division gives a float, and null where the divisor is zero. NaN equals itself and is
greater than any other number, as in SQL.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import reduce
from typing import Literal as Choice

import polars as pl

from flight_core.domain.errors import InvalidContract
from flight_core.domain.rule_language import COMPARISONS, Call, ColumnName, Literal, Node, Scalar

_DIGITS = 38
_INT64 = range(-(1 << 63), 1 << 63)
_INT128 = range(-(1 << 127), 1 << 127)

Kind = Choice["bool", "int", "decimal", "float", "text", "date", "moment", "moment with zone", "null"]
_NUMBERS: Sequence[Kind] = ("int", "decimal", "float")
_MOMENTS: Sequence[Kind] = ("date", "moment", "moment with zone")


@dataclass(frozen=True, slots=True)
class _Typed:
    expr: pl.Expr
    kind: Kind
    scale: int = 0  # of decimals


def compiled(node: Node, types: Mapping[str, pl.DataType]) -> pl.Expr:
    """A boolean, null where it is unknown, over columns of these names and types.

    Raises:
        InvalidContract: a column that is not there, or types that do not go together.
    """
    return _of_kind(_typed(node, types), "bool").expr


def may_overflow(node: Node, types: Mapping[str, pl.DataType]) -> bool:
    """Whether `compiled` calculates with decimals, which fails if these have too many digits."""
    if not isinstance(node, Call):
        return False
    kinds = {_typed(argument, types).kind for argument in node.arguments}
    if "decimal" in kinds and "float" not in kinds:
        return True
    return any(may_overflow(argument, types) for argument in node.arguments)


def _typed(node: Node, types: Mapping[str, pl.DataType]) -> _Typed:
    match node:
        case Literal(value):
            return _literal(value)
        case ColumnName(name):
            return _column(name, types)
        case Call(name, arguments):
            return _call(name, [_typed(argument, types) for argument in arguments])


def _literal(value: Scalar) -> _Typed:
    match value:
        case None:
            return _Typed(pl.lit(None, dtype=pl.Boolean), "null")
        case bool():
            return _Typed(pl.lit(value), "bool")
        case int():
            if value not in _INT128:
                raise InvalidContract(f"the number {value} of a rule is too large; write it as 1e30")
            return _Typed(pl.lit(value, dtype=pl.Int64 if value in _INT64 else pl.Int128), "int")
        case Decimal():
            scale = max(0, -int(value.as_tuple().exponent))
            return _Typed(pl.lit(value, dtype=pl.Decimal(_DIGITS, scale)), "decimal", scale)
        case float():
            return _Typed(pl.lit(value), "float")
        case str():
            return _Typed(pl.lit(value), "text")
        case datetime():
            aware = value.tzinfo is not None
            type = pl.Datetime("us", "UTC" if aware else None)
            return _Typed(
                pl.lit(value.astimezone(UTC) if aware else value, dtype=type),
                "moment with zone" if aware else "moment",
            )
        case date():
            return _Typed(pl.lit(value), "date")


def _column(name: str, types: Mapping[str, pl.DataType]) -> _Typed:
    found = [column for column in types if column == name] or [
        column for column in types if column.lower() == name.lower()
    ]
    if not found:
        raise InvalidContract(
            f"a rule names the column '{name}', which the contract gives no type; describe it", column=name
        )
    column, type = pl.col(found[0]), types[found[0]]
    if type.is_integer():
        return _Typed(column.cast(pl.Int128 if type == pl.UInt64 else pl.Int64), "int")
    if isinstance(type, pl.Decimal):
        return _Typed(column, "decimal", type.scale)
    if type.is_float():
        return _Typed(column.cast(pl.Float64), "float")
    if isinstance(type, pl.Datetime):
        return _Typed(column, "moment" if type.time_zone is None else "moment with zone")
    kinds: Mapping[pl.DataType, Kind] = {pl.Boolean(): "bool", pl.String(): "text", pl.Date(): "date"}
    if type not in kinds:
        raise InvalidContract(f"rules know nothing of the type {type} of the column '{name}'", column=name)
    return _Typed(column, kinds[type])


def _call(name: str, arguments: Sequence[_Typed]) -> _Typed:
    if name in ("and", "or"):
        left, right = (_of_kind(argument, "bool").expr for argument in arguments)
        return _Typed(left & right if name == "and" else left | right, "bool")
    if name == "not":
        return _Typed(~_of_kind(arguments[0], "bool").expr, "bool")
    if name == "is_null":
        return _Typed(arguments[0].expr.is_null(), "bool")
    if name in COMPARISONS:
        return _compared(name, arguments[0], arguments[1])
    if name == "in":
        same = [_compared("=", arguments[0], item).expr for item in arguments[1:]]
        return _Typed(reduce(lambda one, other: one | other, same), "bool")
    if name in ("+", "-", "*", "/"):
        return _calculated(name, arguments)
    if name == "coalesce":
        alike = _alike(arguments)
        return _Typed(pl.coalesce(each.expr for each in alike), alike[0].kind, alike[0].scale)
    return _FUNCTIONS[name](arguments)


def _compared(sign: str, left: _Typed, right: _Typed) -> _Typed:
    one, other = (each.expr for each in _alike([left, right]))
    signs: Mapping[str, Callable[[], pl.Expr]] = {
        "=": lambda: one == other,
        "<>": lambda: one != other,
        "<": lambda: one < other,
        "<=": lambda: one <= other,
        ">": lambda: one > other,
        ">=": lambda: one >= other,
    }
    return _Typed(signs[sign](), "bool")


def _calculated(sign: str, arguments: Sequence[_Typed]) -> _Typed:
    for argument in arguments:
        if argument.kind not in (*_NUMBERS, "null"):
            raise InvalidContract(f"a rule calculates with a {argument.kind}; '{sign}' takes numbers")
    if len(arguments) == 1:
        arguments = [_literal(0), *arguments]
    if sign == "/":
        left, right = (argument.expr.cast(pl.Float64) for argument in arguments)
        return _Typed(pl.when(right != 0).then(left / right), "float")
    one, other = _alike(arguments)
    if one.kind == "decimal" and sign == "*":
        scale = sum(argument.scale for argument in arguments)
        one, other = (_decimal(argument, scale) for argument in arguments)
    left, right = one.expr, other.expr
    if one.kind == "int":
        left, right = left.cast(pl.Int128), right.cast(pl.Int128)
    result = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return _Typed(result, one.kind, one.scale)


def _alike(typed: Sequence[_Typed]) -> list[_Typed]:
    """All of one kind.

    Raises:
        InvalidContract: there is none that fits them all.
    """
    kinds = [each.kind for each in typed if each.kind != "null"]
    if not kinds or all(kind == kinds[0] and kind != "decimal" for kind in kinds):
        return [each if each.kind != "null" else _null(kinds[0] if kinds else "bool") for each in typed]
    if all(kind in _NUMBERS for kind in kinds):
        if "float" in kinds:
            return [_Typed(each.expr.cast(pl.Float64), "float") for each in typed]
        scale = max(each.scale for each in typed)
        return [_decimal(each, scale) for each in typed]
    if set(kinds) == {"date", "moment"}:
        return [_Typed(each.expr.cast(pl.Datetime("us")), "moment") for each in typed]
    raise InvalidContract(f"a rule puts a {kinds[0]} and a {kinds[1]} together; they cannot be compared")


def _null(kind: Kind) -> _Typed:
    return _Typed(pl.lit(None), kind)


def _decimal(typed: _Typed, scale: int) -> _Typed:
    if scale > _DIGITS:
        raise InvalidContract("a rule multiplies decimals with too many digits after the point")
    return _Typed(typed.expr.cast(pl.Decimal(_DIGITS, scale)), "decimal", scale)


def _of_kind(typed: _Typed, *kinds: Kind) -> _Typed:
    if typed.kind == "null":
        return _null(kinds[0])
    if typed.kind not in kinds:
        raise InvalidContract(f"a rule has a {typed.kind} where a {' or '.join(kinds)} is expected")
    return typed


def _texts(arguments: Sequence[_Typed]) -> list[pl.Expr]:
    return [_of_kind(argument, "text").expr.cast(pl.String) for argument in arguments]


def _part_of_date(part: Callable[[pl.Expr], pl.Expr]) -> Callable[[Sequence[_Typed]], _Typed]:
    def function(arguments: Sequence[_Typed]) -> _Typed:
        moment = _of_kind(arguments[0], *_MOMENTS).expr
        return _Typed(part(moment).cast(pl.Int64), "int")

    return function


def _abs(arguments: Sequence[_Typed]) -> _Typed:
    number = _of_kind(arguments[0], *_NUMBERS)
    expr = number.expr.cast(pl.Int128) if number.kind == "int" else number.expr
    return _Typed(expr.abs(), number.kind, number.scale)


_FUNCTIONS: Mapping[str, Callable[[Sequence[_Typed]], _Typed]] = {
    "abs": _abs,
    "contains": lambda given: _Typed(_texts(given)[0].str.contains(_texts(given)[1], literal=True), "bool"),
    "starts_with": lambda given: _Typed(_texts(given)[0].str.starts_with(_texts(given)[1]), "bool"),
    "ends_with": lambda given: _Typed(_texts(given)[0].str.ends_with(_texts(given)[1]), "bool"),
    "length": lambda given: _Typed(_texts(given)[0].str.len_chars().cast(pl.Int64), "int"),
    "lower": lambda given: _Typed(_texts(given)[0].str.to_lowercase(), "text"),
    "upper": lambda given: _Typed(_texts(given)[0].str.to_uppercase(), "text"),
    "year": _part_of_date(lambda moment: moment.dt.year()),
    "month": _part_of_date(lambda moment: moment.dt.month()),
    "day": _part_of_date(lambda moment: moment.dt.day()),
}
