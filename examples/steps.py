"""Steps for derived datasets. Start the server with SKEIN_STEPS=/path/to/steps.py, then for example:

    skein derive hourly --step resample --input flights \\
        --param time=date --param every=1h --param 'by=["origin"]'
"""

import polars as pl


def resample(
    inputs: dict[str, pl.LazyFrame], time: str, every: str = "1h", by: list[str] | None = None
) -> pl.LazyFrame:
    """Means of all numbers per interval of time, such as 1h or 1d, for each value of the columns `by`."""
    (table,) = inputs.values()
    numbers = pl.selectors.numeric() - pl.selectors.by_name(by or [])
    keys = [pl.col(time).dt.truncate(every), *map(pl.col, by or [])]
    return table.group_by(keys).agg(numbers.mean(), pl.len().alias("rows")).sort(time, *by or [])


def pivot(
    inputs: dict[str, pl.LazyFrame], index: str, columns: str, values: str, names: list[str]
) -> pl.LazyFrame:
    """One row for each `index`, with the sum of `values` in a column for each of the `names` in `columns`."""
    (table,) = inputs.values()
    sums = [pl.col(values).filter(pl.col(columns) == name).sum().alias(name) for name in names]
    return table.group_by(index).agg(sums).sort(index)


def clean(inputs: dict[str, pl.LazyFrame]) -> pl.LazyFrame:
    """All texts without white space around them, empty ones as null."""
    (table,) = inputs.values()
    texts = [pl.col(name) for name, type in table.collect_schema().items() if type == pl.String]
    stripped = [text.str.strip_chars() for text in texts]
    return table.with_columns(pl.when(text != "").then(text) for text in stripped)


clean.row_wise = True  # rows that are added to the input can be cleaned alone: see incremental derivations
