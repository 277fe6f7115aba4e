"""The check of a job's rows, over several attempts to read them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import polars as pl

from flight_core.adapters.parsers.checks.contract_rules import column_types, rules_of
from flight_core.adapters.parsers.checks.gate import Gate
from flight_core.adapters.parsers.checks.plan import JOB, ROW, SOURCE, plan_of
from flight_core.adapters.parsers.checks.rejects import RejectsFile, RejectsNote
from flight_core.adapters.parsers.column_types.contract import Coercion
from flight_core.domain.contract import Contract


class Inspection:
    """The check of a job's rows. Call `begin` for each attempt to read them."""

    def __init__(
        self,
        contract: Contract,
        note: RejectsNote,
        rejects: Path,
        *,
        keeps_rows: bool = True,
        stored: Mapping[str, pl.DataType] = MappingProxyType({}),
    ) -> None:
        """`stored` are the types of the dataset's columns, which replayed texts are converted to."""
        self.contract = contract
        self._stored = {name.lower(): type for name, type in stored.items()}
        self.keeps_rows = keeps_rows
        self.types = column_types(contract)
        self.rejects = rejects
        self._note = note
        self._gate: Gate | None = None
        self._sources: list[str] = []

    def marked(self, frame: pl.LazyFrame, label: str) -> pl.LazyFrame:
        """With the label of its source, and the number of each row in it, from 1. In the order of reading.

        Rows that are replayed know all that already."""
        if JOB in frame.collect_schema():
            return frame
        if label not in self._sources:
            self._sources.append(label)
        return frame.with_row_index(ROW, offset=1).with_columns(pl.lit(label).alias(SOURCE))

    @property
    def gate(self) -> Gate:
        """The gate of the attempt that succeeded."""
        assert self._gate is not None
        return self._gate

    def begin(self, schema: Mapping[str, pl.DataType], given: Mapping[str, Coercion]) -> Gate:
        """`given` is how columns get the types of `schema`, where the request says them.

        Raises SchemaMismatch: columns are missing or too many, or of types that nothing makes right."""
        if self._gate is not None:
            self._gate.file.close()
        self.rejects.unlink(missing_ok=True)
        plan = plan_of(self.contract, schema, self._stored if JOB in schema else {})
        file = RejectsFile(self.rejects, self._note)
        self._gate = Gate(plan, rules_of(self.contract), file, self._sources, given)
        return self._gate

    def needed(self, columns: Sequence[str]) -> list[str]:
        """The columns to write: all, or only those that are needed for checks of the whole."""
        if self.keeps_rows:
            return list(columns)
        again = {name.lower() for key in self.contract.unique for name in key.columns}
        if self.contract.freshness is not None and self.contract.freshness.column is not None:
            again.add(self.contract.freshness.column.lower())
        return [name for name in columns if name.lower() in again] or list(columns[:1])

    def typed_columns(self, columns: Sequence[str]) -> dict[str, pl.DataType]:
        """The columns of the data for which the contract has a type."""
        names = {column.lower(): column for column in columns}
        return {names[name.lower()]: type for name, type in self.types.items() if name.lower() in names}
