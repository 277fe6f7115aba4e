"""Where something may not be what it looks like: columns of a preview, and how text was read."""

from collections.abc import Iterator

import polars as pl

from flight_core.adapters.parsers.options import DelimitedOptions, FormatOptions
from flight_core.adapters.parsers.text import WESTERN

_CODE = r"^0\d+$"
_DIGITS = r"^\d+$"
_DAY = r"^\d{1,2}[./-]\d{1,2}[./-]\d{4}$"
_ISO = {
    "date": r"^\d{4}-\d\d-\d\d$",
    "timestamp[us]": r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*$",
    "timestamp[us, tz=UTC]": r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*(Z|[+-]\d\d:?\d\d)$",
}
_MILLISECONDS = (10**12, 4 * 10**12)  # since 1970, from 2001 to 2096
_TIME_WORDS = ("time", "date", "updated", "created", "at", "ts", "timestamp")


def guesses(given: FormatOptions, used: FormatOptions) -> Iterator[str]:
    """What was found out, where others might have been, too."""
    guessed = "encoding" not in given.model_fields_set
    if guessed and isinstance(used, DelimitedOptions) and used.encoding == WESTERN:
        yield (
            "the text is not UTF-8 and was read as Windows-1252 (Western Europe), which is a guess; where"
            " letters look wrong, name another with the option 'encoding', such as 'cp1250' (Central Europe)"
        )


def hints(frame: pl.DataFrame) -> Iterator[str]:
    for column in frame.get_columns():
        name, values = column.name, column.drop_nulls()
        if values.is_empty():
            yield f"column '{name}' holds nothing in what was looked at"
        elif column.dtype == pl.String:
            yield from _text_hints(name, values)
        elif column.dtype == pl.Int64 and name.lower().rpartition("_")[2] in _TIME_WORDS:
            low, high = _MILLISECONDS
            if bool(values.is_between(low, high).all()):
                yield (
                    f"column '{name}' looks like milliseconds since 1970;"
                    ' if it is, give it the type "timestamp[ms, tz=UTC]"'
                )


def _text_hints(name: str, values: pl.Series) -> Iterator[str]:
    if bool(values.str.contains(_DIGITS).all()) and bool(values.str.contains(_CODE).any()):
        yield f"column '{name}' has numbers with leading zeros, so it is text"
    for type, pattern in _ISO.items():
        if bool(values.str.contains(pattern).all()):
            yield f"column '{name}' is text that could be of the type \"{type}\"; if it is, give it that"
    if bool(values.str.contains(_DAY).all()):
        yield (
            f"column '{name}' looks like dates in an order that cannot be told; give it a type with a format,"
            ' such as {"type": "date", "format": "%d.%m.%Y"}'
        )
