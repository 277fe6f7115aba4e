"""Column profiles: statistics of the values of a version's columns."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

Point = float | str
"""A number; for dates and times their text."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """An estimate: `fraction` of the values are at most `value`."""

    fraction: float
    value: Point


@dataclass(frozen=True, slots=True)
class Bin:
    """`count` values from `start` to `end`, exclusively; the last bin of a histogram includes its end."""

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
    """The lengths of texts in characters, or of binary values in bytes."""

    minimum: int
    maximum: int
    mean: float


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """`distinct` and `quantiles` are estimates. If `top_estimated`, the choice of the values in `top` is,
    too.

    `minimum` and `maximum` are texts as SQL writes them, so that no digit is lost; they ignore NaN. Mean,
    sample standard deviation, quantiles and histogram are those of the finite values.
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
