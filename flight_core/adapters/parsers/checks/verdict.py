"""The final part of a check, after all rows were written: unique keys, freshness, and the number of
rejects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from flight_core.adapters.parsers.checks.inspection import Inspection
from flight_core.adapters.parsers.checks.nested_texts import as_text
from flight_core.adapters.parsers.checks.plan import JOB, MARKS
from flight_core.adapters.parsers.checks.rejects import RejectsNote, refused
from flight_core.adapters.parsers.checks.unique import KeySearch
from flight_core.adapters.parsers.output import Target
from flight_core.domain.contract import (
    CheckReport,
    Freshness,
    RuleCount,
    Severity,
    UniqueKey,
    contract_of,
    merged_counts,
    moment_of,
    report_document,
)

_NUMBER = "\x1fnumber"


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """The parsing process's form of a `Check`."""

    inspection: Inspection
    at: datetime
    newest: datetime | None
    present: Sequence[Path]
    gone: Path | None
    version: int

    @classmethod
    def of(cls, message: Mapping[str, Any], folder: Path, stored: pa.Schema | None = None) -> "CheckRequest":
        at = datetime.fromisoformat(message["at"])
        note = RejectsNote(message["job"], message["version"], at)
        newest = message["newest"]
        return cls(
            inspection=Inspection(
                contract_of(message["contract"]),
                note,
                folder / "rejects.parquet",
                keeps_rows=message["keeps_rows"],
                stored={} if stored is None else pl.DataFrame(stored.empty_table()).schema,
            ),
            at=at,
            newest=None if newest is None else datetime.fromisoformat(newest),
            present=[Path(path) for path in message["present"]],
            gone=Path(message["gone"]) if message["gone"] else None,
            version=message["version"],
        )


def finish(check: CheckRequest, target: Target) -> dict[str, object]:
    """Remove rows with duplicate keys from the files, and make the report."""
    gate, contract = check.inspection.gate, check.inspection.contract
    gone = None if check.gone is None else pl.read_ipc(check.gone)
    repeated = [
        (key, KeySearch(target.files, key.columns, check.present, gone).repeated()) for key in contract.unique
    ]
    counts = [RuleCount("unique", ", ".join(key.columns), key.severity, hit.len()) for key, hit in repeated]
    rejected_rows = gate.rejected_rows + _set_apart(check.inspection, target, repeated)
    gate.file.close()
    if JOB in target.scan().collect_schema():
        target.write(target.scan().drop(MARKS))
    report = CheckReport(check.version, gate.rows, rejected_rows, merged_counts([*gate.counts, *counts]))
    stale = _stale(check, target)
    if stale is not None:
        report = replace(report, rules=(*report.rules, stale))
    rejects = check.inspection.rejects
    violation = _violation(report) or contract.limits.exceeded(rejected_rows, gate.rows)
    if violation is not None and rejects.exists():
        refused(rejects)
    return {
        "report": report_document(report),
        "rejects": rejects.name if rejects.exists() else None,
        "violation": violation,
    }


def _set_apart(
    inspection: Inspection, target: Target, repeated: Sequence[tuple[UniqueKey, pl.Series]]
) -> int:
    """Move rows with duplicate keys to the rejects; returns their number."""
    bad = [(key, hit) for key, hit in repeated if key.severity is not Severity.WARN and hit.len()]
    if not bad:
        return 0
    numbers = pl.concat([hit for _, hit in bad]).unique().sort()
    rows = target.scan().with_row_index(_NUMBER)
    is_bad = pl.col(_NUMBER).is_in(numbers.implode())
    for batch in rows.filter(is_bad).collect_batches(engine="streaming"):
        labels = [
            batch[_NUMBER]
            .is_in(hit.implode())
            .replace_strict({True: f"unique({', '.join(key.columns)})"}, default=None, return_dtype=pl.String)
            .alias(str(place))
            for place, (key, hit) in enumerate(bad)
        ]
        rules = pl.DataFrame(labels).select(pl.concat_list(pl.all()).list.drop_nulls().alias("rules"))[
            "rules"
        ]
        if JOB in batch.columns:
            where = [batch[name] for name in MARKS]
        else:
            job = pl.Series(JOB, [inspection.gate.file.note.job] * batch.height, dtype=pl.String)
            where = [*inspection.gate.origins(batch[_NUMBER]), job]
        values = map(as_text, batch.drop(_NUMBER, *MARKS, strict=False).get_columns())
        inspection.gate.file.write(pl.DataFrame([*where, rules, *values]))
    target.write(rows.filter(~is_bad).drop(_NUMBER))
    return numbers.len()


def _stale(check: CheckRequest, target: Target) -> RuleCount | None:
    freshness = check.inspection.contract.freshness
    if freshness is None or freshness.column is None:
        return None
    newest = max(filter(None, (check.newest, _newest(target, freshness))), default=None)
    if newest is not None and (check.at - newest).total_seconds() <= freshness.max_age_s:
        return None
    return RuleCount("freshness", freshness.column, freshness.severity, 0)


def _newest(target: Target, freshness: Freshness) -> datetime | None:
    return moment_of(target.scan().select(pl.col(str(freshness.column)).max()).collect().item())


def _violation(report: CheckReport) -> str | None:
    for count in report.rules:
        if count.severity is Severity.FAIL:
            where = f" of '{count.column}'" if count.column else ""
            rows = f"{count.rows:,} rows break" if count.rows else "the data breaks"
            return f"{rows} the rule '{count.rule}'{where}, which lets nothing pass"
    return None
