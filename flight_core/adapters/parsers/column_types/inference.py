"""Which type a column of text really has.

A type fits when every value of the column parses as it and nothing is lost by that: a column with
one `00501`, one `+49 30`, one free-text date or one integer beyond 64 bits stays text.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from flight_core.adapters.parsers.column_types.floats import WHOLE, beyond_floats, is_whole

# Mean "no value" in a column whose other values are not text; in text they may be words.
NULL_WORDS = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL", "Null", "None", r"\N")

_UNPARSEABLE = "?"
_POINTED = " (with a point)"
_FEW = 100
_FIRST_YEAR = "0001"  # there is none before in SQL, nor in most languages


@dataclass(frozen=True, slots=True)
class Kind:
    """How text becomes a type. `guard` holds where parsing loses nothing; `native` is the type if
    Polars can read it without making text of it first."""

    name: str
    parse: Callable[[pl.Expr, bool], pl.Expr]  # text, strict
    guard: Callable[[pl.Expr], pl.Expr] | None = None
    native: type[pl.DataType] = pl.String


@dataclass(frozen=True, slots=True)
class Reading:
    """The kind of a column, and whether words for null have to be removed first."""

    kind: Kind
    blank: bool = False

    @property
    def native(self) -> type[pl.DataType]:
        return pl.String if self.blank else self.kind.native

    def typed(self, column: str) -> pl.Expr:
        """The parsed column. Running it fails at the first value that does not fit."""
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
    """The same, and neither integers that a float would round nor numbers beyond the range of floats."""
    value = text.cast(pl.Float64, strict=False)
    rounds = (value.abs() >= WHOLE) & is_whole(text)
    return _plain_number(text) & ~rounds & ~beyond_floats(text, value)


def _number(name: str, type: type[pl.DataType], guard: Callable[[pl.Expr], pl.Expr]) -> Kind:
    return Kind(name, lambda text, strict: text.cast(type, strict=strict), guard, type)


def _boolean(text: pl.Expr, strict: bool) -> pl.Expr:
    """Parsed as a number first, which may fail. Replacing words would load whole columns into memory."""
    word = text.str.to_lowercase()
    digit = pl.when(word == "true").then(pl.lit("1")).when(word == "false").then(pl.lit("0"))
    other = pl.when(word.is_not_null()).then(pl.lit(_UNPARSEABLE))
    return digit.otherwise(other).cast(pl.Int8, strict=strict).cast(pl.Boolean)


def _moment(format: str) -> Kind:
    return Kind(
        "timestamp",
        lambda text, strict: text.str.to_datetime(format, strict=strict, time_unit="us"),
        lambda text: ~text.str.contains(r"\.\d{7}") & (text >= _FIRST_YEAR),  # finer than a microsecond
    )


TEXT = Kind("text", lambda text, _: text)
_KINDS = (
    Kind("boolean", _boolean),
    _number("integer", pl.Int64, _plain_number),
    _number("float", pl.Float64, _plain_float),
    Kind(
        "date",
        # Its cache is slower than parsing.
        lambda text, strict: text.str.to_date("%Y-%m-%d", strict=strict, cache=False),
        lambda text: (text.str.len_bytes() == len("2026-01-31")) & (text >= _FIRST_YEAR),
    ),
    _moment("%Y-%m-%d %H:%M:%S%.f"),
    _moment("%Y-%m-%dT%H:%M:%S%.f"),
    _moment("%Y-%m-%d %H:%M"),
    _moment("%Y-%m-%dT%H:%M"),
    _moment("%Y-%m-%d %H:%M:%S%.f%#z"),
    _moment("%Y-%m-%dT%H:%M:%S%.f%#z"),
    _moment("%Y-%m-%d %H:%M%#z"),
    _moment("%Y-%m-%dT%H:%M%#z"),
)


def kinds_of(decimal: str, thousands: str | None) -> tuple[Kind, ...]:
    """The kinds, for numbers with these marks for decimals and thousands."""
    if decimal == "." and thousands is None:
        return _KINDS

    def parsed_as(type: type[pl.DataType]) -> Callable[[pl.Expr, bool], pl.Expr]:
        return lambda text, strict: plain_number_text(text, decimal, thousands).cast(type, strict=strict)

    def fraction(text: pl.Expr) -> pl.Expr:
        return _plain_float(plain_number_text(text, decimal, thousands))

    def whole(text: pl.Expr) -> pl.Expr:
        return _plain_number(plain_number_text(text, decimal, thousands))

    numbers = (
        Kind("integer", parsed_as(pl.Int64), whole, pl.Int64),
        Kind("float", parsed_as(pl.Float64), fraction, pl.Float64),
    )
    return tuple(kind for kind in _KINDS if kind.name not in ("integer", "float")) + numbers


def plain_number_text(text: pl.Expr, decimal: str, thousands: str | None) -> pl.Expr:
    """The numbers in the usual notation. Text that is not a number does not become one."""
    if thousands is not None:
        mark, point = re.escape(thousands), re.escape(decimal)
        grouped = text.str.contains(rf"^[+-]?\d{{1,3}}({mark}\d{{3}})+({point}\d+)?$")
        text = pl.when(grouped).then(text.str.replace_all(thousands, "", literal=True)).otherwise(text)
    if decimal == ".":
        return text
    pointed = text.str.contains(".", literal=True)
    return pl.when(pointed).then(text + _POINTED).otherwise(text.str.replace(decimal, ".", literal=True))


@dataclass(frozen=True, slots=True)
class _Fitting:
    """What the examined values of a column have in common."""

    kinds: tuple[Kind, ...] = _KINDS  # that fit all of them
    empty: bool = True  # there were none
    blank: bool = False  # there were null words

    def with_values(self, text: pl.Series) -> "_Fitting":
        if not self.kinds:
            return self
        empty, blank, *fits = text.to_frame("text").select(_questions(self.kinds)).row(0)
        kinds = tuple(kind for kind, all_fit in zip(self.kinds, fits, strict=True) if all_fit)
        return _Fitting(kinds, self.empty and empty, self.blank or blank)

    @property
    def reading(self) -> Reading:
        if self.empty or not self.kinds:
            return Reading(TEXT)
        return Reading(self.kinds[0], self.blank)


class Inference:
    """Detects types that fit all rows it was given, whose columns are text."""

    def __init__(self, columns: Sequence[str], kinds: Sequence[Kind] = _KINDS) -> None:
        self._found = dict.fromkeys(columns, _Fitting(tuple(kinds)))

    def look(self, frame: pl.DataFrame) -> None:
        # A plan with many columns takes time that grows with their square, so one by one.
        for values in frame.get_columns():
            few = self._found[values.name].with_values(values.head(_FEW))  # rule most types out
            self._found[values.name] = few.with_values(values)

    def look_at_all(self, frame: pl.LazyFrame, columns: Sequence[str]) -> None:
        """Detect the types in bounded memory."""
        for batch in frame.select(columns).collect_batches(engine="streaming", maintain_order=False):
            self.look(batch)

    @property
    def readings(self) -> dict[str, Reading]:
        return {column: fitting.reading for column, fitting in self._found.items()}

    @property
    def empty(self) -> list[str]:
        """The columns that had no value so far."""
        return [column for column, fitting in self._found.items() if fitting.empty]

    @property
    def typed(self) -> list[str]:
        """The columns that may have another type than text."""
        return [column for column, fitting in self._found.items() if fitting.kinds]


def _blanked(text: pl.Expr) -> pl.Expr:
    return pl.when(text.is_in(NULL_WORDS)).then(None).otherwise(text)


def _questions(kinds: Sequence[Kind]) -> list[pl.Expr]:
    text = pl.col("text")
    blanked = _blanked(text)
    questions = [blanked.is_null().all().alias("empty"), text.is_in(NULL_WORDS).any().alias("blank")]
    for number, kind in enumerate(kinds):
        fits = kind.parse(blanked, False).is_not_null()
        if kind.guard is not None:
            fits &= kind.guard(blanked)
        questions.append((fits | blanked.is_null()).all().alias(str(number)))
    return questions
