"""Profiles of columns."""

from typing import Annotated

from pydantic import BaseModel, Field, RootModel

from schemas.jobs import Job

Point = Annotated[float | str, Field(description="A number; of dates and times the text.", examples=[12.5])]


class Quantile(BaseModel):
    fraction: float = Field(examples=[0.5])
    value: Point


class Bin(BaseModel):
    """Values from `start` to before `end`; the last bin includes its end."""

    start: Point
    end: Point
    count: int = Field(examples=[1042])


class TopValue(BaseModel):
    value: str = Field(examples=["SFO"])
    count: int = Field(examples=[8123])


class Lengths(BaseModel):
    """Of texts in characters, of binary values in bytes."""

    minimum: int = Field(examples=[3])
    maximum: int = Field(examples=[3])
    mean: float = Field(examples=[3.0])


class ColumnProfile(BaseModel):
    """`distinct` and `quantiles` are estimates; what else there is, is exact up to rounding."""

    name: str = Field(examples=["delay"])
    type: str = Field(examples=["int16"])
    nulls: int = Field(examples=[0])
    distinct: int = Field(description="An estimate.", examples=[571])
    nans: int | None = Field(None, description="Of floats only.")
    minimum: str | None = Field(None, description="As SQL writes it; NaN is left out.", examples=["-59"])
    maximum: str | None = Field(None, examples=["1380"])
    mean: Point | None = None
    deviation: float | None = Field(None, description="Standard deviation of a sample.", examples=[31.2])
    quantiles: list[Quantile] = Field(default_factory=list, description="Estimates, of finite values.")
    histogram: list[Bin] = Field(default_factory=list, description="Equal parts of the finite values.")
    top: list[TopValue] = Field(default_factory=list, description="The most frequent values; exact counts.")
    top_estimated: bool = Field(False, description="Whether another value might belong into `top`.")
    lengths: Lengths | None = None


class DatasetProfile(BaseModel):
    dataset: str = Field(examples=["flights"])
    version: int = Field(examples=[0])
    rows: int = Field(examples=[200000])
    columns: list[ColumnProfile]


class ProfileAnswer(RootModel[DatasetProfile | Job]):
    """The profile, or the job that computes it."""
