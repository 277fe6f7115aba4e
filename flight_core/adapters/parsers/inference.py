"""Which type a column of text really has.

A type fits when every value of the column parses as it and nothing is lost by that: a column with
one `00501`, one `+49 30`, one free-text date or one integer beyond 64 bits stays text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

# Mean "no value" in a column whose other values are not text; in text they may be words.
NULL_WORDS = ("", "NA", "N/A", "#N/A", "null", "NULL", r"\N")

_UNPARSEABLE = "?"
_FLOAT_DIGITS = 17


@dataclass(frozen=True, slots=True)
class Kind:
    """How text becomes a type. `guard` holds where parsing loses nothing."""

    name: str
    parse: Callable[[pl.Expr, bool], pl.Expr]  # text, strict
    guard: Callable[[pl.Expr], pl.Expr] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The kind that a column has, and whether null words have to be blanked first."""

    kind: Kind
    blank: bool = False

    def typed(self, column: str) -> pl.Expr:
        """The column, parsed; running it fails on the first value that does not fit."""
        text = pl.col(column)
        if self.blank:
            text = _blanked(text)
        if self.kind.guard is not None:
            good = self.kind.guard(text) | text.is_null()
            text = pl.when(good).then(text).otherwise(pl.lit(_UNPARSEABLE))
        return self.kind.parse(text, True).alias(column)


def _plain_number(text: pl.Expr) -> pl.Expr:
    """No leading zero before another digit, no plus sign. Comparing is much faster than a pattern:
    `:` follows `9` and `+` comes before `-`."""
    return ~((text >= "00") & (text < "0:")) & (text >= "-")


def _plain_float(text: pl.Expr) -> pl.Expr:
    """Also no long integer, whose last digits a float would lose."""
    return _plain_number(text) & (
        (text.str.len_bytes() < _FLOAT_DIGITS) | text.str.contains(".", literal=True)
    )


def _cast_to(type: type[pl.DataType]) -> Callable[[pl.Expr, bool], pl.Expr]:
    return lambda text, strict: text.cast(type, strict=strict)


def _boolean(text: pl.Expr, strict: bool) -> pl.Expr:
    words = {"true": True, "false": False}
    lower = text.str.to_lowercase()
    if strict:
        return lower.replace_strict(words, return_dtype=pl.Boolean)
    return lower.replace_strict(words, default=None, return_dtype=pl.Boolean)


def _moment(format: str) -> Kind:
    return Kind(
        "timestamp",
        lambda text, strict: text.str.to_datetime(format, strict=strict, time_unit="us"),
        lambda text: ~text.str.contains(r"\.\d{7}"),  # finer than a microsecond
    )


TEXT = Kind("text", lambda text, _: text)
_KINDS = (
    Kind("boolean", _boolean),
    Kind("integer", _cast_to(pl.Int64), _plain_number),
    Kind("float", _cast_to(pl.Float64), _plain_float),
    Kind(
        "date",
        lambda text, strict: text.str.to_date("%Y-%m-%d", strict=strict),
        lambda text: text.str.len_bytes() == len("2026-01-31"),
    ),
    _moment("%Y-%m-%d %H:%M:%S%.f"),
    _moment("%Y-%m-%dT%H:%M:%S%.f"),
    _moment("%Y-%m-%d %H:%M"),
    _moment("%Y-%m-%dT%H:%M"),
    _moment("%Y-%m-%d %H:%M:%S%.f%#z"),
    _moment("%Y-%m-%dT%H:%M:%S%.f%#z"),
)


def infer(frame: pl.LazyFrame, columns: list[str]) -> dict[str, Reading]:
    """What fits all of `frame`, whose columns are text. Reads it once, in bounded memory."""
    questions = [question for number, name in enumerate(columns) for question in _questions(number, name)]
    answers = frame.select(questions).collect(engine="streaming").row(0, named=True)
    return {name: _reading(number, answers) for number, name in enumerate(columns)}


def _blanked(text: pl.Expr) -> pl.Expr:
    return pl.when(text.is_in(NULL_WORDS)).then(None).otherwise(text)


def _questions(number: int, name: str) -> list[pl.Expr]:
    text = pl.col(name)
    blanked = _blanked(text)
    questions = [
        text.is_in(NULL_WORDS).any().alias(f"{number} blank"),
        blanked.is_not_null().any().alias(f"{number} any"),
    ]
    for index, kind in enumerate(_KINDS):
        fits = kind.parse(blanked, False).is_not_null()
        if kind.guard is not None:
            fits &= kind.guard(blanked)
        questions.append((fits | blanked.is_null()).all().alias(f"{number} {index}"))
    return questions


def _reading(number: int, answers: Mapping[str, bool]) -> Reading:
    if answers[f"{number} any"]:
        for index, kind in enumerate(_KINDS):
            if answers[f"{number} {index}"]:
                return Reading(kind, blank=answers[f"{number} blank"])
    return Reading(TEXT)
