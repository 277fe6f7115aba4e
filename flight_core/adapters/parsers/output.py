"""Writing Parquet the way datasets are stored: zstd, row groups that scan fast."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from flight_core.adapters.parsers.given_types import GivenTypes, check_fit, coerced, misfit
from flight_core.adapters.parsers.inspection import Inspection
from flight_core.adapters.parsers.meter import Meter

ROW_GROUP_ROWS = 61_440


class RowCounter:
    """Moves the meter by the rows that flow past. Called from several threads."""

    def __init__(self, meter: Meter, *, start_bytes: float = 0.0, bytes_per_row: float) -> None:
        self._meter = meter
        self._start_bytes = start_bytes
        self._bytes_per_row = bytes_per_row
        self._lock = threading.Lock()
        self._rows = 0

    @property
    def rows(self) -> int:
        return self._rows

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame:
        with self._lock:
            self._rows += frame.height
            rows = self._rows
        self._meter.reached(self._start_bytes + rows * self._bytes_per_row, rows)
        return frame


@dataclass(frozen=True, slots=True)
class Target:
    """The file to write, and what rows are held against on their way there."""

    path: Path
    inspection: Inspection | None = None
    types: GivenTypes | None = None

    def typed_columns(self, columns: Sequence[str]) -> dict[str, pl.DataType]:
        """Those of the data's columns whose types are not to be found out."""
        given: dict[str, pl.DataType] = {}
        if self.types is not None:
            self.types.check_columns(columns)
            given.update({name: given.type for name, given in self.types.by_column.items()})
        if self.inspection is not None:
            given.update(self.inspection.typed_columns(columns))
        return given

    def marked(self, frame: pl.LazyFrame, label: str) -> pl.LazyFrame:
        """`frame`, whose rows know where they are from if that may have to be said of them."""
        return frame if self.inspection is None else self.inspection.marked(frame, label)


class _Misfit(Exception):
    """A value is not of the type that was given."""


def _write_typed(frame: pl.LazyFrame, target: Target, types: GivenTypes, counter: RowCounter) -> None:
    schema = frame.collect_schema()
    ways = types.coercions(schema)
    misfits = []

    def checked(batch: pl.DataFrame) -> pl.DataFrame:
        if not check_fit(batch, ways):
            misfits.append(True)
            raise _Misfit
        return batch

    fitting = frame.map_batches(checked, streamable=True, schema=schema, validate_output_schema=False)
    try:
        write_parquet(coerced(fitting, ways), replace(target, types=None), counter)
    except BaseException:
        if misfits:
            raise misfit(frame, ways, types) from None
        raise


def write_parquet(frame: pl.LazyFrame, target: Target, counter: RowCounter) -> None:
    """Stream `frame` to `target`, in order and in bounded memory.

    Values that are not of a type that the request gives are rejected as the contract says; an error
    where there is no contract.
    """
    if target.types is not None and target.inspection is None:
        _write_typed(frame, target, target.types, counter)
        return
    schema = frame.collect_schema()
    ways = {} if target.types is None else target.types.coercions(schema)
    typed = coerced(frame, ways).collect_schema()
    gate = None if target.inspection is None else target.inspection.begin(typed, ways)

    def flow(batch: pl.DataFrame) -> pl.DataFrame:
        counter(batch)
        return batch if gate is None else gate(batch)

    passed = frame.map_batches(
        flow,
        streamable=True,
        schema=typed if gate is None else gate.plan.schema(typed),
        validate_output_schema=False,
    )
    if target.inspection is not None:
        passed = passed.select(target.inspection.needed(passed.collect_schema().names()))
    try:
        passed.sink_parquet(target.path, compression="zstd", row_group_size=ROW_GROUP_ROWS)
    except BaseException:
        if gate is not None and gate.error is not None:
            raise gate.error from None
        raise
