"""Holding rows against a contract as they flow to the Parquet file: good ones pass, others are set apart.

Each batch is first asked whether all its rows are good, which is cheap; only where some are not is it
found out which.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
import polars.selectors as cs

from flight_core.adapters.parsers.checks.contract_rules import Rule
from flight_core.adapters.parsers.checks.nested_texts import as_text
from flight_core.adapters.parsers.checks.plan import JOB, ROW, SOURCE, Plan, PlannedColumn
from flight_core.adapters.parsers.checks.rejects import RejectsFile
from flight_core.adapters.parsers.column_types.contract import Coercion
from flight_core.domain.contract import (
    RAGGED_MARK,
    RAGGED_RULE,
    RAGGED_TEXT,
    RuleCount,
    Severity,
    merged_counts,
)
from flight_core.domain.errors import InvalidContract

_ANY = "\x1fany"
_RULES = "\x1frules"


@dataclass(slots=True)
class _Tally:
    """What was seen so far."""

    rows: int = 0
    rejected_rows: int = 0
    counts: list[RuleCount] = field(default_factory=list)
    last_column_nulls: int = 0
    sources: dict[str, "_SourceTally"] = field(default_factory=dict)


@dataclass(slots=True)
class _SourceTally:
    rows: int = 0
    rejected: list[pl.Series] = field(default_factory=list)  # the numbers of the rows


class Gate:
    """Takes batches as they were read, and gives back their good rows with the contract's types.

    Called from several threads. Rows that break rules of the severities REJECT and FAIL are set apart.
    """

    def __init__(
        self,
        plan: Plan,
        rules: Sequence[Rule],
        file: RejectsFile,
        sources: Sequence[str],
        given: Mapping[str, Coercion],
    ) -> None:
        self.file = file
        self._given = given
        self.sources = sources
        self.plan = plan
        self._rules = rules
        self._typed = [column.expr.alias(column.name) for column in plan.columns]
        self._coerced = [column for column in plan.columns if column.coercion is not None]
        self._all_good = [rule.good.all().alias(str(number)) for number, rule in enumerate(rules)]
        self._lock = threading.Lock()
        self._tally = _Tally()
        self.error: BaseException | None = None

    @property
    def rows(self) -> int:
        return self._tally.rows

    @property
    def rejected_rows(self) -> int:
        return self._tally.rejected_rows

    @property
    def last_column_nulls(self) -> int:
        """Nulls in the last column of the data."""
        return self._tally.last_column_nulls

    @property
    def counts(self) -> tuple[RuleCount, ...]:
        return merged_counts(self._tally.counts)

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        try:
            return self._checked(batch)
        except BaseException as error:  # libraries between here and the caller would make another of it
            self.error = error
            raise

    def _checked(self, batch: pl.DataFrame) -> pl.DataFrame:
        try:
            return self._passed(batch)
        except pl.exceptions.PolarsError as error:
            reason = str(error).partition("\n")[0][:200]
            raise InvalidContract(f"the contract cannot be checked on these rows: {reason}") from error

    def _passed(self, read: pl.DataFrame) -> pl.DataFrame:
        if RAGGED_MARK in read.columns:
            read = self._without_ragged(read)
        batch = read
        if self._given:
            batch = read.with_columns(way.typed.alias(name) for name, way in self._given.items())
        # A column of the batch, so that there are as many rows even where all others are made up.
        typed = batch.select(*self._typed, pl.first().alias(_ANY)).drop(_ANY)
        harder = [
            column.coercion.typed.alias(column.name)
            for column in self._coerced
            if column.coercion is not None and column.coercion.quick is not None
            if self._fails(column, batch, typed)
        ]
        if harder:
            typed = typed.with_columns(batch.select(harder))
        hits = self._hits(batch, typed, self._misfits(read))
        bad = _any(hit for rule, hit in hits if rule.severity is not Severity.WARN)
        self._count(read, hits, bad)
        if bad is None:
            return typed
        set_apart = read.filter(bad).with_columns(_labels(hits, bad).alias(_RULES))
        self.file.write(self._told(set_apart))
        return typed.filter(~bad)

    def _without_ragged(self, read: pl.DataFrame) -> pl.DataFrame:
        is_row = pl.col(RAGGED_MARK).is_null()
        ragged = read.filter(~is_row)
        if ragged.height:
            rule = Rule(RAGGED_RULE, "", Severity.REJECT, pl.lit(value=False))
            bad = pl.repeat(value=True, n=ragged.height, eager=True)
            self._count(ragged, [(rule, bad)], bad)
            told = ragged.with_columns(_labels([(rule, bad)], bad).alias(_RULES))
            self.file.write(told.select(*self._where(told), pl.col(RAGGED_MARK).alias(RAGGED_TEXT)))
        return read.filter(is_row).drop(RAGGED_MARK)

    @staticmethod
    def _fails(column: PlannedColumn, batch: pl.DataFrame, typed: pl.DataFrame) -> bool:
        """Whether there may be values that are not of the type."""
        return typed[column.name].null_count() > batch[str(column.source)].null_count()

    def _misfits(self, read: pl.DataFrame) -> dict[str, pl.Series]:
        """By column, the rows whose values are not of the type that the request gives it."""
        if not self._given:
            return {}
        hits = read.select(way.failed.alias(name) for name, way in self._given.items())
        names = {column.source: column.name for column in self.plan.columns}
        return {names.get(hit.name, hit.name): hit for hit in hits.get_columns() if hit.any()}

    def _hits(
        self, batch: pl.DataFrame, typed: pl.DataFrame, misfits: Mapping[str, pl.Series]
    ) -> list[tuple[Rule, pl.Series]]:
        """The rules that are broken, and by which rows."""
        hits: list[tuple[Rule, pl.Series]] = []
        failed: dict[str, pl.Series] = dict(misfits)
        for column in self._coerced:
            assert column.coercion is not None
            if self._fails(column, batch, typed):
                hit = batch.select(column.coercion.failed.alias("hit"))["hit"]
                failed[column.name] = failed[column.name] | hit if column.name in failed else hit
        for name, hit in failed.items():
            if hit.any():
                severities = (column.severity for column in self.plan.columns if column.name == name)
                severity = next(severities, Severity.REJECT)
                hits.append((Rule("type", name, severity, pl.lit(value=True)), hit))
        if not self._rules or not typed.height:
            return hits
        good = typed.select(self._all_good).row(0)
        for rule, all_good in zip(self._rules, good, strict=True):
            if not all_good:
                hit = typed.select((~rule.good).fill_null(value=False).alias("hit"))["hit"]
                if rule.name == "not_null" and rule.column in failed:
                    hit &= ~failed[rule.column]  # it has a value, if none of the type
                if hit.any():
                    hits.append((rule, hit))
        return hits

    def _count(
        self, batch: pl.DataFrame, hits: Sequence[tuple[Rule, pl.Series]], bad: pl.Series | None
    ) -> None:
        counts = [rule.count(int(hit.sum())) for rule, hit in hits]
        with self._lock:
            tally = self._tally
            tally.rows += batch.height
            tally.rejected_rows += 0 if bad is None else int(bad.sum())
            tally.counts = [*merged_counts([*tally.counts, *counts])]
            tally.last_column_nulls += batch[self.plan.sources[-1]].null_count() if self.plan.sources else 0
            if JOB not in batch.columns:
                self._count_sources(batch, bad)

    def _count_sources(self, batch: pl.DataFrame, bad: pl.Series | None) -> None:
        if len(self.sources) == 1:
            self._count_source(self.sources[0], batch.height, batch[ROW], bad)
            return
        for label in batch[SOURCE].unique():
            mine = batch[SOURCE] == label
            self._count_source(label, int(mine.sum()), batch[ROW], None if bad is None else mine & bad)

    def _count_source(self, label: str, rows: int, numbers: pl.Series, bad: pl.Series | None) -> None:
        source = self._tally.sources.setdefault(label, _SourceTally())
        source.rows += rows
        if bad is not None:
            source.rejected.append(numbers.filter(bad))

    def origins(self, numbers: pl.Series) -> tuple[pl.Series, pl.Series]:
        """The source of each row that has passed, by its number from 0, and its number there from 1.

        Sources come one after another, in the order of `sources`.
        """
        labels, rows, start = [], [], 0
        for label in self.sources:
            source = self._tally.sources.get(label, _SourceTally())
            rejected = pl.concat(
                [pl.Series(dtype=pl.Int64), *(each.cast(pl.Int64) for each in source.rejected)]
            )
            rejected = rejected.sort()
            passed = source.rows - rejected.len()
            inside = numbers.cast(pl.Int64).filter((numbers >= start) & (numbers < start + passed)) - start
            # A row that passed comes after as many rejected ones as have no more good ones before them.
            before = (rejected - 1 - pl.int_range(rejected.len(), eager=True)).search_sorted(
                inside, side="right"
            )
            rows.append(inside + 1 + before.cast(pl.Int64))
            labels += [label] * inside.len()
            start += passed
        return pl.Series(SOURCE, labels, dtype=pl.String), pl.concat([*rows]).alias(ROW)

    def _told(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Where each row is from, what it broke, and all its values as text."""
        return rows.select(*self._where(rows), *map(as_text, rows.select(self.plan.sources).get_columns()))

    def _where(self, rows: pl.DataFrame) -> Sequence[pl.Expr]:
        job = pl.col(JOB) if JOB in rows.columns else pl.lit(self.file.note.job).alias(JOB)
        return pl.col(SOURCE), pl.col(ROW).cast(pl.Int64), job, pl.col(_RULES)


def _any(hits: Iterable[pl.Series]) -> pl.Series | None:
    found: pl.Series | None = None
    for hit in hits:
        found = hit if found is None else found | hit
    return found


def _labels(hits: Sequence[tuple[Rule, pl.Series]], bad: pl.Series) -> pl.Series:
    """The rules that each bad row breaks."""
    columns = {
        str(number): hit.filter(bad).replace_strict({True: rule.label}, default=None, return_dtype=pl.String)
        for number, (rule, hit) in enumerate(hits)
    }
    return pl.DataFrame(columns).select(pl.concat_list(cs.all()).list.drop_nulls().alias("rules"))["rules"]
