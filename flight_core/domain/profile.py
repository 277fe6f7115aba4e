"""What the values of a version's columns are like."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

Point = float | str
"""A number; of a date or time its text."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """`fraction` of the values are at most `value`, by estimate."""

    fraction: float
    value: Point


@dataclass(frozen=True, slots=True)
class Bin:
    """`count` values from `start` to before `end`; the last bin of a histogram includes its end."""

    start: Point
    end: Point
    count: int


@dataclass(frozen=True, slots=True)
class TopValue:
    """`count` is exact."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of texts in characters, of binary values in bytes."""

    minimum: int
    maximum: int
    mean: float


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """`distinct` and `quantiles` are estimates, and so is which values are in `top` if `top_estimated`.

    `minimum` and `maximum` are texts as SQL writes them, so that no digit is lost; NaN counts as neither.
    Mean, deviation (of a sample), quantiles and histogram are those of the finite values.
    """

    name: str
    type: str
    nulls: int
    distinct: int
    nans: int | None = None
    minimum: str | None = None
    maximum: str | None = None
    mean: Point | None = None
    deviation: float | None = None
    quantiles: Sequence[Quantile] = ()
    histogram: Sequence[Bin] = ()
    top: Sequence[TopValue] = ()
    top_estimated: bool = False
    lengths: Lengths | None = None


def profile_document(columns: Sequence[ColumnProfile]) -> list[dict[str, Any]]:
    return [asdict(column) for column in columns]


def profile_of(document: Sequence[dict[str, Any]]) -> Sequence[ColumnProfile]:
    return [
        ColumnProfile(
            **column
            | {
                "quantiles": [Quantile(**each) for each in column["quantiles"]],
                "histogram": [Bin(**each) for each in column["histogram"]],
                "top": [TopValue(**each) for each in column["top"]],
                "lengths": None if column["lengths"] is None else Lengths(**column["lengths"]),
            }
        )
        for column in document
    ]
