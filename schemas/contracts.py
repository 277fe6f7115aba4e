"""Contracts of datasets as they travel: `PUT /api/v1/datasets/{name}/contract`, and files for the CLI."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.http import EXAMPLE_TIME, Request

Severity = Literal["reject", "warn", "fail"]
Value = bool | int | float | str
Name = Annotated[str, Field(min_length=1, max_length=255)]


class ColumnContract(Request):
    """The rules for the values of a column. A null violates no rule except `nullable`."""

    name: Name = Field(examples=["price"])
    type: str | None = Field(
        None, description="The name of an Arrow type; any type if left out.", examples=["decimal128(10, 2)"]
    )
    nullable: bool = True
    description: str = ""
    format: str | None = Field(
        None,
        description="The strftime format to parse text as a date or timestamp with.",
        examples=["%d.%m.%Y"],
    )
    ge: Value | None = Field(None, description="The minimum.", examples=[0])
    gt: Value | None = Field(None, description="An exclusive minimum.")
    le: Value | None = Field(None, description="The maximum.")
    lt: Value | None = Field(None, description="An exclusive maximum.")
    pattern: str | None = Field(
        None, description="A regular expression that the text has to contain a match of."
    )
    min_length: Annotated[int, Field(ge=0)] | None = Field(None, description="In characters.")
    max_length: Annotated[int, Field(ge=0)] | None = Field(None, description="In characters.")
    enum: list[Value] = Field(default_factory=list, max_length=10_000, description="The allowed values.")
    default: Value | None = Field(None, description="The value to use where the data lacks the column.")
    severity: Severity = "reject"
    severities: dict[str, Severity] = Field(
        default_factory=dict,
        description="Severities that differ for single rules, by rule name.",
        examples=[{"ge": "warn"}],
    )


class RowRule(Request):
    """A condition on the columns of a row, violated where it is false, but not where it is null."""

    name: Name = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_ \-]*$", examples=["ordered"])
    expression: str = Field(examples=["start <= stop OR kind = 'open'"])
    severity: Severity = "reject"
    description: str = ""


class UniqueKey(Request):
    """No two rows may have the same values in these columns. Nulls are not equal to each other."""

    columns: Annotated[list[Name], Field(min_length=1, max_length=32)] = Field(examples=[["id"]])
    severity: Severity = "reject"


class Freshness(Request):
    """How old the newest value of a column may be, or the last commit if no column is given."""

    max_age_s: float = Field(gt=0, examples=[86400])
    column: str | None = Field(None, examples=["updated_at"])
    severity: Literal["warn", "fail"] = "warn"


class RejectLimits(Request):
    """How many rows may be rejected before the job fails; null is any number."""

    max_rejected_rows: Annotated[int, Field(ge=0)] | None = None
    max_rejected_ratio: Annotated[float, Field(ge=0, le=1)] | None = None


class Contract(Request):
    """The rules that the rows of a dataset have to satisfy."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "columns": [
                        {"name": "id", "type": "int64", "nullable": False},
                        {"name": "price", "type": "decimal128(10, 2)", "ge": 0},
                        {"name": "state", "type": "string", "enum": ["open", "paid"]},
                    ],
                    "unique": [{"columns": ["id"]}],
                    "rules": [{"name": "paid_orders_cost", "expression": "state <> 'paid' OR price > 0"}],
                    "limits": {"max_rejected_ratio": 0.01},
                }
            ]
        }
    )

    description: str = ""
    columns: list[ColumnContract] = Field(default_factory=list, max_length=10_000)
    rules: list[RowRule] = Field(default_factory=list, max_length=1000)
    unique: list[UniqueKey] = Field(default_factory=list, max_length=16)
    freshness: Freshness | None = None
    extra_columns: Literal["keep", "drop", "refuse"] = Field(
        "keep", description="What happens to columns that the contract does not name."
    )
    missing_columns: Literal["refuse", "null", "default"] = Field(
        "refuse", description="What happens if the data lacks columns of the contract."
    )
    limits: RejectLimits = RejectLimits()


class FreshnessReport(BaseModel):
    """`fresh` is null if the age of the data is not known."""

    newest: datetime | None = None
    age_s: float | None = None
    fresh: bool | None = None


class StoredContract(BaseModel):
    """A contract, and whether the dataset satisfies it."""

    dataset: str = Field(examples=["orders"])
    version: int = Field(examples=[2])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    actor: str = Field(examples=["local"])
    contract: Contract
    freshness: FreshnessReport | None = Field(
        None, description="Null if the contract does not require freshness."
    )
    rejects: str | None = Field(
        None, description="The dataset with the rejected rows, if there is one.", examples=["orders_rejects"]
    )
    rejected_rows: int = Field(0, description="The number of rows in it.")
