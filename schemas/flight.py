"""What Flight clients send as JSON (commands, action bodies, filters) and what they get back."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

_NUMBER = re.compile(r"v?([0-9]{1,18})")
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")


def version_number(version: int | str) -> int | None:
    """The number that `3` and `"v3"` stand for; None for a moment or a tag."""
    if isinstance(version, int):
        return version
    match = _NUMBER.fullmatch(version)
    return int(match.group(1)) if match else None


def moment(version: str) -> datetime:
    """Raises ValueError. A moment without an offset is meant in UTC."""
    parsed = datetime.fromisoformat(version)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _version(version: object) -> int | str:
    if type(version) is int and version >= 0:
        return version
    if isinstance(version, str):
        if version_number(version) is not None:
            return version
        with suppress(ValueError):
            return moment(version).isoformat()
        if _TAG.fullmatch(version):
            return version
    raise ValueError("a version is a number, 'v3', a moment such as '2026-01-31T12:00:00Z', or a tag")


def _parameters(parameters: object) -> list[Any] | dict[str, Any]:
    if isinstance(parameters, list | dict):
        return parameters
    raise ValueError("send a list for ? and $1, or an object for $name")


Version = Annotated[int | str, PlainValidator(_version)]
Params = Annotated[list[Any] | dict[str, Any], PlainValidator(_parameters)]
Limit = Annotated[int, Field(ge=0, lt=2**63)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SqlCommand(_Request):
    """`params` is a list for `?` and `$1`, an object for `$name`. See `DatasetCommand` for the rest."""

    sql: str
    params: Params = Field(default_factory=list)
    limit: Limit | None = None
    narrow_decimals: bool = False


class DatasetCommand(_Request):
    """`narrow_decimals`: DECIMALs of up to 18 digits arrive in 32 or 64 bits, which pyarrow 18 and newer
    and Polars 2 read; left out, they take the usual 128."""

    dataset: str
    version: Version | None = None
    columns: Annotated[list[str], Field(min_length=1)] | None = None
    limit: Limit | None = None
    narrow_decimals: bool = False


class WriteCommand(_Request):
    dataset: str
    mode: Literal["create", "append", "replace", "upsert", "replace_partitions"] = "append"
    keys: Annotated[list[str], Field(max_length=100)] = Field(default_factory=list)
    schema_policy: Literal["refuse", "add", "widen"] = "refuse"
    allow_lossy: bool = False
    message: Annotated[str, Field(max_length=1000)] = ""


class Criteria(_Request):
    """Narrows ListFlights to names that start with `prefix`, compared without case."""

    prefix: str = ""


class Empty(_Request):
    pass


class QueryReference(_Request):
    query_id: str


class DatasetReference(_Request):
    dataset: str


class DescribeRequest(_Request):
    dataset: str
    version: Version | None = None


class InfoMetadata(BaseModel):
    """`FlightInfo.app_metadata`. `query_id` is what the action `cancel` takes; a statement that was
    carried out at once has none, and tells the rows it changed where that is known."""

    query_id: str | None = None
    affected_rows: int | None = None
    cached: bool | None = None  # true: the result cache has it now, so that reading it is quick


class BrokenRule(BaseModel):
    rule: str
    column: str
    severity: str
    rows: int


class WriteCheck(BaseModel):
    """What the contract of the dataset said of the rows."""

    contract_version: int
    rows: int
    rejected_rows: int
    rules: list[BrokenRule]


class WriteResult(BaseModel):
    """The metadata message that answers DoPut. `rows` were written; `check` is null without a contract."""

    dataset: str
    version: int
    rows: int
    total_rows: int
    check: WriteCheck | None = None


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    version: str


class Cancellation(BaseModel):
    """`cancelled` is false for a query that had ended already."""

    query_id: str
    cancelled: bool


class Dropped(BaseModel):
    dataset: str
    version: int


class QueryStatus(BaseModel):
    query_id: str
    sql: str
    actor: str
    door: str
    state: str
    created_at: datetime
    finished_at: datetime | None
    rows: int
    size_bytes: int
    error: str | None


class VersionStatus(BaseModel):
    version: int
    rows: int
    size_bytes: int
    committed_at: datetime
    operation: str


class ColumnDescription(BaseModel):
    """Statistics are null where the files do not tell them exactly; `minimum` and `maximum` are text."""

    name: str
    type: str
    nullable: bool
    null_count: int | None
    minimum: str | None
    maximum: str | None
    size_bytes: int


class DatasetDescription(BaseModel):
    dataset: str
    description: str
    tags: list[str]
    created_at: datetime
    version: int
    rows: int
    size_bytes: int
    columns: list[ColumnDescription]
    versions: list[VersionStatus]
