"""Holding rows against a contract as they flow to the Parquet file: good ones pass, others are set apart.

What can be said of a row by itself is computed before the batches come here: its values with the contract's
types, as far as that is easy, and whether it is good. Only where some are not is it found out which. To
compute anything in between makes the threads that read and write wait, which cost a third of the time.
"""

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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

_READ = "\x1fread "  # before the names of columns as they were read
_GOOD = "\x1fgood"
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
        self._may_overflow = [rule for rule in rules if rule.may_overflow]
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

    def seen(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The rows of `frame` in the form in which they are to come here: as they were read, with the
        contract's types, and whether they are good."""
        names = frame.collect_schema().names()
        read = [pl.col(name).alias(_READ + name) for name in names]
        batch = frame.select(
            *read, *(self._given[name].typed if name in self._given else name for name in names)
        )
        given = [_fits(name, name) for name in self._given]
        good = pl.all_horizontal(pl.lit(value=True), *given).alias(_GOOD)
        typed = batch.select(cs.starts_with(_READ), *self._typed, good)
        return typed.with_columns(pl.all_horizontal(_GOOD, *self._conditions(names)).alias(_GOOD))

    def _conditions(self, names: Collection[str]) -> Iterator[pl.Expr]:
        """Of rows that are good beyond doubt."""
        if RAGGED_MARK in names:
            yield pl.col(_READ + RAGGED_MARK).is_null()
        for column in self._coerced:
            yield _fits(column.name, str(column.source))
        for rule in self._rules:
            if not rule.may_overflow:
                yield rule.good

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """`batch` is of what `seen` gives."""
        try:
            return self._checked(batch)
        except BaseException as error:  # libraries between here and the caller would make another of it
            self.error = error
            raise

    def _checked(self, batch: pl.DataFrame) -> pl.DataFrame:
        columns = batch.get_columns()
        read = pl.DataFrame(
            [each.alias(each.name.removeprefix(_READ)) for each in columns if each.name.startswith(_READ)]
        )
        typed = pl.DataFrame([batch.get_column(column.name) for column in self.plan.columns])
        try:
            if batch.get_column(_GOOD).all() and all(self._held(self._may_overflow, typed)):
                self._count(read, [], None)
                return typed
            return self._passed(read, typed)
        except pl.exceptions.PolarsError as error:
            reason = str(error).partition("\n")[0][:200]
            raise InvalidContract(f"the contract cannot be checked on these rows: {reason}") from error

    def _passed(self, read: pl.DataFrame, typed: pl.DataFrame) -> pl.DataFrame:
        if RAGGED_MARK in read.columns:
            is_row = read[RAGGED_MARK].is_null()
            self._set_ragged_apart(read.filter(~is_row))
            read, typed = read.filter(is_row).drop(RAGGED_MARK), typed.filter(is_row)
        batch = read
        if self._given:
            batch = read.with_columns(way.typed.alias(name) for name, way in self._given.items())
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

    def _set_ragged_apart(self, ragged: pl.DataFrame) -> None:
        if not ragged.height:
            return
        rule = Rule(RAGGED_RULE, "", Severity.REJECT, pl.lit(value=False))
        bad = pl.repeat(value=True, n=ragged.height, eager=True)
        self._count(ragged, [(rule, bad)], bad)
        told = ragged.with_columns(_labels([(rule, bad)], bad).alias(_RULES))
        self.file.write(told.select(*self._where(told), pl.col(RAGGED_MARK).alias(RAGGED_TEXT)))

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
        for rule, holds in zip(self._rules, self._held(self._rules, typed), strict=True):
            if not holds:
                hit = typed.select((~rule.good).fill_null(value=False).alias("hit"))["hit"]
                if rule.name == "not_null" and rule.column in failed:
                    hit &= ~failed[rule.column]  # it has a value, if none of the type
                if hit.any():
                    hits.append((rule, hit))
        return hits

    @staticmethod
    def _held(rules: Sequence[Rule], typed: pl.DataFrame) -> Sequence[bool]:
        """Which of the rules all rows keep."""
        if not rules or not typed.height:
            return [True] * len(rules)
        return typed.select(rule.good.all().alias(str(number)) for number, rule in enumerate(rules)).row(0)

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
        labels = batch[SOURCE]
        if batch.height and labels[0] == labels[-1]:  # they come one after another
            self._count_source(labels[0], batch.height, batch[ROW], bad)
            return
        for label in labels.unique():
            mine = labels == label
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


def _fits(typed: str, read: str) -> pl.Expr:
    """Whether there is a value where one was read."""
    return pl.col(typed).is_not_null() | pl.col(_READ + read).is_null()


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
