"""Bringing files of one table to the same columns. Columns are the same by their names, in any order."""

from collections.abc import Mapping, Sequence

import polars as pl

from flight_core.adapters.parsers.options import Columns
from flight_core.domain.errors import SchemaMismatch

_SHOWN = 5


def common_columns(labels: Sequence[str], columns: Sequence[Sequence[str]], wanted: Columns) -> list[str]:
    """Those of the table: of the first file, and then those that others have besides.

    Raises:
        SchemaMismatch: a file lacks columns of the first, or has others, and `wanted` is no union.
    """
    first = columns[0]
    for label, names in zip(labels, columns, strict=True):
        if wanted == "same" and set(names) != set(first):
            lacking, more = _listed(first, names), _listed(names, first)
            what = " and ".join(
                ([f"lacks {lacking}"] if lacking else []) + ([f"has {more} besides"] if more else [])
            )
            raise SchemaMismatch(
                f"{label} {what}, compared with {labels[0]}; set the option 'columns' to 'union' to have"
                " nulls there, or ingest them one by one (of a zip archive by the option 'members')",
                columns=sorted(set(names) ^ set(first))[:_SHOWN],
            )
    return list(dict.fromkeys(name for names in columns for name in names))


def _listed(some: Sequence[str], others: Sequence[str]) -> str:
    names = [f"'{name[:100]}'" for name in some if name not in others]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def aligned(
    frame: pl.LazyFrame,
    present: Sequence[str],
    columns: Sequence[str],
    types: Mapping[str, pl.DataType | type[pl.DataType]] | None = None,
) -> pl.LazyFrame:
    """`frame`, which has the columns `present`, with all of `columns` in their order; else nulls."""
    if list(present) == list(columns):
        return frame
    there, types = set(present), types or {}
    return frame.select(
        pl.col(name) if name in there else pl.lit(None, dtype=types.get(name, pl.Null)).alias(name)
        for name in columns
    )
