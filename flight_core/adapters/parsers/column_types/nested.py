"""List and struct types that the request gives to columns: parsing their names, and conversions."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import polars as pl

from flight_core.adapters.parsers.column_types.contract import Coercion
from flight_core.adapters.parsers.column_types.inference import NULL_WORDS

_MAX_DEPTH = 16


def nested_type(name: str, simple: Callable[[str], pl.DataType], depth: int = 0) -> pl.DataType | None:
    """`list<T>` or `struct<name: T, ...>`; None if it is neither.

    Raises:
        ValueError: as `simple` does for what is inside.
    """
    kind, bracket, inner = name.strip().partition("<")
    if not bracket or not inner.endswith(">") or kind not in ("list", "struct"):
        return None
    if depth == _MAX_DEPTH:
        raise ValueError(f"types can be nested {_MAX_DEPTH} times")

    def inside(part: str) -> pl.DataType:
        found = nested_type(part, simple, depth + 1)
        return simple(part.strip()) if found is None else found

    if kind == "list":
        return pl.List(inside(inner[:-1]))
    fields: dict[str, pl.DataType] = {}
    for part in _parts(inner[:-1]):
        field, colon, type = part.partition(":")
        if not colon or not field.strip() or field.strip() in fields:
            raise ValueError("the fields of a struct are written as 'struct<name: int64, other: string>'")
        fields[field.strip()] = inside(type)
    return pl.Struct(fields)


def _parts(text: str) -> Iterator[str]:
    """The parts between commas outside of brackets."""
    depth = start = 0
    for place, character in enumerate(text):
        depth += (character in "<([") - (character in ">)]")
        if character == "," and depth == 0:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def nested_coercion(column: str, source: pl.DataType, target: pl.DataType) -> Coercion | None:
    """The conversion to a nested type. Values fit if casting them back gives the same; text must be JSON."""
    raw = pl.col(column)
    if source == target or source == pl.Null:
        return Coercion(raw, raw.cast(target))
    if source == pl.String:
        text = pl.when(~raw.str.strip_chars().is_in(NULL_WORDS)).then(raw)
        return Coercion(
            text, text.map_batches(partial(_decoded, target), return_dtype=target, is_elementwise=True)
        )
    if not isinstance(source, type(target)):
        return None
    typed = raw.cast(target, strict=False)
    return Coercion(raw, pl.when(typed.cast(source, strict=False).eq_missing(raw)).then(typed))


def _decoded(target: pl.DataType, text: pl.Series) -> pl.Series:
    return pl.Series(text.name, [_value(each, target) for each in text], dtype=target)


def _value(text: str | None, target: pl.DataType) -> Any:
    try:
        value = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if _fits(value, target) else None


def _fits(value: Any, target: Any) -> bool:
    if value is None:
        return True
    if isinstance(target, pl.List):
        return isinstance(value, list) and all(_fits(each, target.inner) for each in value)
    if isinstance(target, pl.Struct):
        types = {field.name: field.dtype for field in target.fields}
        return isinstance(value, dict) and all(
            name in types and _fits(each, types[name]) for name, each in value.items()
        )
    if target.is_integer():
        low, high = pl.select(target.min().alias("low"), target.max().alias("high")).row(0)
        return type(value) is int and low <= value <= high
    if target.is_float():
        return type(value) in (int, float)
    return isinstance(value, bool) if target == pl.Boolean else target == pl.String and isinstance(value, str)
