"""Profiles of columns."""

from typing import Annotated

from pydantic import BaseModel, Field, RootModel

from schemas.jobs import Job

Point = Annotated[float | str, Field(description="A number, or text for dates and times.", examples=[12.5])]


class Quantile(BaseModel):
    fraction: float = Field(examples=[0.5])
    value: Point


class Bin(BaseModel):
    """The values from `start` up to, but not including, `end`; the last bin includes its end."""

    start: Point
    end: Point
    count: int = Field(examples=[1042])


class TopValue(BaseModel):
    value: str = Field(examples=["SFO"])
    count: int = Field(examples=[8123])


class Lengths(BaseModel):
    """The lengths of texts in characters, of binary values in bytes."""

    minimum: int = Field(examples=[3])
    maximum: int = Field(examples=[3])
    mean: float = Field(examples=[3.0])


class ColumnProfile(BaseModel):
    """`distinct` and `quantiles` are estimates; everything else is exact up to rounding."""

    name: str = Field(examples=["delay"])
    type: str = Field(examples=["int16"])
    nulls: int = Field(examples=[0])
    distinct: int = Field(description="The estimated number of distinct values.", examples=[571])
    nans: int | None = Field(None, description="The number of NaNs, for floats only.")
    minimum: str | None = Field(None, description="In SQL notation, ignoring NaN.", examples=["-59"])
    maximum: str | None = Field(None, examples=["1380"])
    mean: Point | None = None
    deviation: float | None = Field(None, description="The sample standard deviation.", examples=[31.2])
    quantiles: list[Quantile] = Field(
        default_factory=list, description="Estimated quantiles of the finite values."
    )
    histogram: list[Bin] = Field(
        default_factory=list, description="Bins of equal width over the finite values."
    )
    top: list[TopValue] = Field(
        default_factory=list, description="The most frequent values, with exact counts."
    )
    top_estimated: bool = Field(False, description="Whether another value could be among the most frequent.")
    lengths: Lengths | None = None


class DatasetProfile(BaseModel):
    dataset: str = Field(examples=["flights"])
    version: int = Field(examples=[0])
    rows: int = Field(examples=[200000])
    columns: list[ColumnProfile]


class ProfileAnswer(RootModel[DatasetProfile | Job]):
    """The profile, or the job that computes it."""
