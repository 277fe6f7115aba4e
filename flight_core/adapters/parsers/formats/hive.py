"""Hive partitioning: columns in the names of folders, such as `year=2026/month=01/part-0.parquet`."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from urllib.parse import unquote

import polars as pl

_NOTHING = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")

Constants = dict[str, pl.Expr]


def partitions(labels: Sequence[str], present: Sequence[str]) -> list[Constants]:
    """For each file the columns that its folders tell. None, unless all files are in folders of the same
    names; and none that the files themselves have, in whatever case."""
    told = [_pairs(label) for label in labels]
    taken = {name.lower() for name in present}
    names = [name for name in told[0] if name.lower() not in taken]
    if any(list(pairs) != list(told[0]) for pairs in told):
        return [{} for _ in labels]
    columns = {name: _column([pairs[name] for pairs in told], name) for name in names}
    return [{name: columns[name][number] for name in names} for number in range(len(labels))]


def untold(labels: Sequence[str], columns: Sequence[str]) -> Iterator[str]:
    """A warning of what folders tell and no column holds."""
    there = {column.lower() for column in columns}
    told = {f"{name}={value}": name for label in labels for name, value in _pairs(label).items()}
    lost = [pair for pair, name in told.items() if name.lower() not in there]
    if lost:
        yield (
            f"the folder '{lost[0][:100]}' did not become a column; those of Parquet files do, if all are in"
            " folders of the same names"
        )


def _pairs(label: str) -> dict[str, str | None]:
    pairs: dict[str, str | None] = {}
    for part in label.split("/")[:-1]:
        name, equals, value = part.partition("=")
        if name and equals:
            pairs[unquote(name)] = None if value == _NOTHING else unquote(value)
    return pairs


def _column(values: Sequence[str | None], name: str) -> list[pl.Expr]:
    """Integers without leading zeros, or dates, if all values are; otherwise text."""
    given = [value for value in values if value is not None]
    type: pl.DataType = pl.String()
    read: Callable[[str], object] = str
    if given and all(map(_INTEGER.fullmatch, given)):
        type, read = pl.Int64(), int
    elif given and all(map(_is_day, given)):
        type, read = pl.Date(), date.fromisoformat
    return [pl.lit(None if value is None else read(value), dtype=type).alias(name) for value in values]


def _is_day(value: str) -> bool:
    try:
        return bool(_DAY.fullmatch(value)) and bool(date.fromisoformat(value))
    except ValueError:
        return False
