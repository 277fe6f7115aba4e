"""Contracts: rules for the rows of a dataset, and the report of a check against them.

Rows that break a rule go to a quarantine, a separate dataset next to the one they were meant for.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import InvalidDatasetName

REJECTS_SUFFIX = "_rejects"
CHECK_INFO = "check"  # the key of the report (as JSON) in the info of a commit
REJECTS_KIND = "rejects"  # the kind of source that a replay reads
# Extra columns of replayed rows: the source, the row's number in it, and the job that rejected it.
REJECT_MARKS = ("\x1fsource", "\x1frow", "\x1fjob")
# Lines of text that are not rows: the extra column with the line, the rule they break, their key in `raw`.
RAGGED_MARK = "\x1fragged"
RAGGED_RULE = "ragged"
RAGGED_TEXT = "line"

# A JSON value: numbers, text, true and false. Dates and moments are text in ISO 8601.
Value = bool | int | float | str


class Severity(StrEnum):
    """What happens to a row that breaks a rule, and to its job."""

    REJECT = "reject"  # the row goes to the quarantine
    WARN = "warn"  # the row is kept; the job counts it
    FAIL = "fail"  # the job fails, and commits nothing


class ExtraColumns(StrEnum):
    """What happens to columns that the contract does not name."""

    KEEP = "keep"
    DROP = "drop"
    REFUSE = "refuse"


class MissingColumns(StrEnum):
    """What happens if the data lacks columns that the contract names."""

    REFUSE = "refuse"
    NULL = "null"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class ColumnContract:
    """The rules for one column. `type` is the name of an Arrow type, None for any. `format` says how text is
    parsed as a date or timestamp. `severities` overrides `severity` for single rules."""

    name: str
    type: str | None = None
    nullable: bool = True
    description: str = ""
    format: str | None = None
    ge: Value | None = None
    gt: Value | None = None
    le: Value | None = None
    lt: Value | None = None
    pattern: str | None = None
    min_length: int | None = None  # in characters
    max_length: int | None = None
    enum: tuple[Value, ...] = ()
    default: Value | None = None
    severity: Severity = Severity.REJECT
    severities: tuple[tuple[str, Severity], ...] = ()

    def severity_of(self, rule: str) -> Severity:
        return dict(self.severities).get(rule, self.severity)


@dataclass(frozen=True, slots=True)
class RowRule:
    """An expression of the rule language over the columns of a row; a row breaks it if it is false."""

    name: str
    expression: str
    severity: Severity = Severity.REJECT
    description: str = ""


@dataclass(frozen=True, slots=True)
class UniqueKey:
    """No two rows may have the same values in all of these columns. A null is equal to nothing."""

    columns: tuple[str, ...]
    severity: Severity = Severity.REJECT


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old the newest value of `column`, or the last commit if that is None, may be at an ingestion."""

    max_age_s: float
    column: str | None = None
    severity: Severity = Severity.WARN  # WARN or FAIL


def moment_of(value: object) -> datetime | None:
    """A date or timestamp as a datetime. Dates start at midnight; without a time zone it is UTC."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return None


@dataclass(frozen=True, slots=True)
class RejectLimits:
    """How many rows may be rejected before the job fails; None: any number. 0 is strict."""

    max_rejected_rows: int | None = None
    max_rejected_ratio: float | None = None

    def exceeded(self, rejected_rows: int, rows: int) -> str | None:
        """Why the job has to fail; None if it does not."""
        if self.max_rejected_rows is not None and rejected_rows > self.max_rejected_rows:
            return f"{rejected_rows:,} of {rows:,} rows were rejected, more than {self.max_rejected_rows:,}"
        if self.max_rejected_ratio is not None and rejected_rows > self.max_rejected_ratio * rows:
            return (
                f"{rejected_rows:,} of {rows:,} rows were rejected, more than {self.max_rejected_ratio:.3%}"
            )
        return None


@dataclass(frozen=True, slots=True)
class Contract:
    columns: tuple[ColumnContract, ...] = ()
    rules: tuple[RowRule, ...] = ()
    unique: tuple[UniqueKey, ...] = ()
    freshness: Freshness | None = None
    extra_columns: ExtraColumns = ExtraColumns.KEEP
    missing_columns: MissingColumns = MissingColumns.REFUSE
    limits: RejectLimits = RejectLimits()
    description: str = ""

    @property
    def by_name(self) -> Mapping[str, ColumnContract]:
        return {column.name: column for column in self.columns}


@dataclass(frozen=True, slots=True)
class StoredContract:
    """Versions of a dataset's contract count from 1, and are never reused."""

    dataset: DatasetName
    version: int
    contract: Contract
    created_at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How many `rows` broke a rule. `column` is empty for rules about several columns."""

    rule: str
    column: str
    severity: Severity
    rows: int

    @property
    def label(self) -> str:
        """The name of the rule in the quarantine."""
        if self.rule == "unique":
            return f"unique({self.column})"
        return f"{self.column}.{self.rule}" if self.column else self.rule


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of checking the rows of a job. Rules that no row broke are left out."""

    contract_version: int
    rows: int = 0  # checked
    rejected_rows: int = 0
    rules: tuple[RuleCount, ...] = ()


def rejects_of(name: DatasetName) -> DatasetName:
    """The name of the dataset's quarantine.

    Raises:
        InvalidDatasetName: the name is too long to be followed by the suffix.
    """
    return DatasetName(name.value + REJECTS_SUFFIX)


def is_rejects(name: DatasetName) -> bool:
    return name.key.endswith(REJECTS_SUFFIX)


def quarantined(name: DatasetName) -> DatasetName | None:
    """The dataset whose rejected rows `name` holds; None if it is not a quarantine."""
    return DatasetName(name.value[: -len(REJECTS_SUFFIX)]) if is_rejects(name) else None


def refuse_rejects(name: DatasetName) -> None:
    """
    Raises:
        InvalidDatasetName: the name is reserved for rejected rows.
    """
    if is_rejects(name):
        raise InvalidDatasetName(
            f"'{name}' ends with '{REJECTS_SUFFIX}', which is kept for rows that break a contract;"
            " choose another name",
            name=name.value,
        )


def contract_document(contract: Contract) -> dict[str, Any]:
    """The contract as JSON values; `contract_of` is the inverse."""
    document = asdict(contract)
    for column in document["columns"]:
        column["severities"] = dict(column["severities"])
    return _json_values(document)


def contract_of(document: Mapping[str, Any]) -> Contract:
    freshness = document.get("freshness")
    return Contract(
        columns=tuple(map(_column, document.get("columns", ()))),
        rules=tuple(RowRule(**_with_severity(rule)) for rule in document.get("rules", ())),
        unique=tuple(
            UniqueKey(tuple(key["columns"]), Severity(key["severity"])) for key in document.get("unique", ())
        ),
        freshness=Freshness(**_with_severity(freshness)) if freshness else None,
        extra_columns=ExtraColumns(document["extra_columns"]),
        missing_columns=MissingColumns(document["missing_columns"]),
        limits=RejectLimits(**document.get("limits") or {}),
        description=document.get("description", ""),
    )


def report_document(report: CheckReport) -> dict[str, Any]:
    """The report as JSON values; `report_of` is the inverse."""
    return _json_values(asdict(report))


def report_of(document: Mapping[str, Any]) -> CheckReport:
    counts = tuple(RuleCount(**_with_severity(count)) for count in document["rules"])
    return CheckReport(**{**document, "rules": counts})


def report_in(commit_info: Mapping[str, str]) -> CheckReport | None:
    """The report in the info of a commit."""
    text = commit_info.get(CHECK_INFO)
    return report_of(json.loads(text)) if text else None


def told(counts: Iterable[RuleCount]) -> str:
    """The counts as text: `price.ge 2, unique(id) 1`."""
    return ", ".join(f"{count.label} {count.rows:,}" for count in counts)


def merged_counts(counts: Iterable[RuleCount]) -> tuple[RuleCount, ...]:
    """One entry for each rule, the most frequent first; rules without rows are left out."""
    rows: dict[tuple[str, str, Severity], int] = {}
    for count in counts:
        key = (count.rule, count.column, count.severity)
        rows[key] = rows.get(key, 0) + count.rows
    found = (RuleCount(*key, rows=number) for key, number in rows.items() if number)
    return tuple(sorted(found, key=lambda count: (-count.rows, count.column, count.rule)))


def _column(document: Mapping[str, Any]) -> ColumnContract:
    severities = document.get("severities") or {}
    return ColumnContract(
        **{
            **_with_severity(document),
            "enum": tuple(document.get("enum") or ()),
            "severities": tuple((rule, Severity(severity)) for rule, severity in severities.items()),
        }
    )


def _with_severity(document: Mapping[str, Any]) -> dict[str, Any]:
    given = document.get("severity")
    return dict(document) | ({"severity": Severity(given)} if given else {})


def _json_values(document: dict[str, Any]) -> dict[str, Any]:
    """Lists instead of tuples, and plain strings instead of enums."""
    values: dict[str, Any] = json.loads(json.dumps(document))
    return values
