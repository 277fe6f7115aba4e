"""Contracts of datasets as they travel: `PUT /api/v1/datasets/{name}/contract`, and files for the CLI."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.http import EXAMPLE_TIME, Request

Severity = Literal["reject", "warn", "fail"]
Value = bool | int | float | str
Name = Annotated[str, Field(min_length=1, max_length=255)]


class ColumnContract(Request):
    """What the values of a column have to be. A null breaks no rule but `nullable`."""

    name: Name = Field(examples=["price"])
    type: str | None = Field(
        None, description="The name of an Arrow type; any if left out.", examples=["decimal128(10, 2)"]
    )
    nullable: bool = True
    description: str = ""
    format: str | None = Field(
        None, description="How text becomes a date or timestamp, as in strftime.", examples=["%d.%m.%Y"]
    )
    ge: Value | None = Field(None, description="At least.", examples=[0])
    gt: Value | None = Field(None, description="More than.")
    le: Value | None = Field(None, description="At most.")
    lt: Value | None = Field(None, description="Less than.")
    pattern: str | None = Field(None, description="A regular expression that is found in the text.")
    min_length: Annotated[int, Field(ge=0)] | None = Field(None, description="In characters.")
    max_length: Annotated[int, Field(ge=0)] | None = Field(None, description="In characters.")
    enum: list[Value] = Field(default_factory=list, max_length=10_000, description="The values there may be.")
    default: Value | None = Field(None, description="Where the data lacks the column altogether.")
    severity: Severity = "reject"
    severities: dict[str, Severity] = Field(
        default_factory=dict, description="Of single rules, by their names.", examples=[{"ge": "warn"}]
    )


class RowRule(Request):
    """A condition on the columns of a row; broken where it is false, not where it is unknown."""

    name: Name = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_ \-]*$", examples=["ordered"])
    expression: str = Field(examples=["start <= stop OR kind = 'open'"])
    severity: Severity = "reject"
    description: str = ""


class UniqueKey(Request):
    """No two rows have the same values in these columns; a null equals nothing."""

    columns: Annotated[list[Name], Field(min_length=1, max_length=32)] = Field(examples=[["id"]])
    severity: Severity = "reject"


class Freshness(Request):
    """How old the newest value of a column, or without one the last commit, may be."""

    max_age_s: float = Field(gt=0, examples=[86400])
    column: str | None = Field(None, examples=["updated_at"])
    severity: Literal["warn", "fail"] = "warn"


class RejectLimits(Request):
    """How many rows may be rejected before the job fails; null: any number, 0: none."""

    max_rejected_rows: Annotated[int, Field(ge=0)] | None = None
    max_rejected_ratio: Annotated[float, Field(ge=0, le=1)] | None = None


class Contract(Request):
    """What the rows of a dataset have to be like."""

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
        "keep", description="Columns of the data that the contract does not name."
    )
    missing_columns: Literal["refuse", "null", "default"] = Field(
        "refuse", description="Columns of the contract that the data lacks."
    )
    limits: RejectLimits = RejectLimits()


class FreshnessReport(BaseModel):
    """`fresh` is null where nothing tells how old the data is."""

    newest: datetime | None = None
    age_s: float | None = None
    fresh: bool | None = None


class StoredContract(BaseModel):
    """A contract, and how the dataset stands to it."""

    dataset: str = Field(examples=["orders"])
    version: int = Field(examples=[2])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    actor: str = Field(examples=["local"])
    contract: Contract
    freshness: FreshnessReport | None = Field(None, description="Null where the contract asks for none.")
    rejects: str | None = Field(
        None, description="The dataset with the rejected rows, if there is one.", examples=["orders_rejects"]
    )
    rejected_rows: int = Field(0, description="That are in it.")


def as_document(contract: Contract) -> dict[str, Any]:
    """JSON values; what is left out has its default."""
    return contract.model_dump(mode="json")
