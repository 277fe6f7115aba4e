"""Writing Parquet the way datasets are stored: zstd, row groups that scan fast."""

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path

import polars as pl

from flight_core.adapters.parsers.checks.inspection import Inspection
from flight_core.adapters.parsers.column_types.contract import Coercion
from flight_core.adapters.parsers.column_types.given import (
    GivenTypes,
    coerced,
    converted,
    misfit,
    quickly_coerced,
)
from flight_core.adapters.parsers.meter import Meter

ROW_GROUP_ROWS = 61_440
ROW_GROUP_BYTES = 12 << 20  # in memory; row groups of wide rows have fewer rows
FILE_ROW_GROUPS = 32  # whoever changes a row writes its file again
PAGE_BYTES = 256 << 10  # in memory; a search by key decodes only the pages that hold its rows
_ANY_BYTES = 1 << 62


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


@dataclass(slots=True)
class Target:
    """The files to write, and what rows are held against on their way there.

    `nan_columns` are those where a NaN has been seen, `row_bytes` is what a row takes in memory, roughly: to
    have it found out while rows flow costs a seventh of the writing.
    """

    folder: Path
    inspection: Inspection | None = None
    types: GivenTypes = field(default_factory=GivenTypes)
    nan_columns: set[str] = field(default_factory=set)
    row_bytes: float = 0.0
    _attempts: int = 0

    @property
    def files(self) -> list[Path]:
        """In the order of their rows; at least one."""
        return sorted(self._rows.iterdir())

    def scan(self) -> pl.LazyFrame:
        return pl.scan_parquet(self.files, glob=False)

    def write(self, frame: pl.LazyFrame) -> None:
        """Instead of what is there, which `frame` may be made from."""
        before = self._rows
        self._attempts += 1  # what failed before may still be writing
        rows = self._rows
        rows.mkdir(exist_ok=True)
        layout = pl.PartitionBy(
            rows,
            file_path_provider=lambda file: str(rows / f"{file.index_in_partition:05}.parquet"),
            max_rows_per_file=FILE_ROW_GROUPS * self.group_rows,
            approximate_bytes_per_file=_ANY_BYTES,
        )
        frame.sink_parquet(
            layout, compression="zstd", row_group_size=self.group_rows, data_page_size=PAGE_BYTES
        )
        shutil.rmtree(before, ignore_errors=True)

    @property
    def group_rows(self) -> int:
        """Of a row group."""
        fitting = int(ROW_GROUP_BYTES / max(self.row_bytes, 1.0))
        return min(max(fitting, 1), ROW_GROUP_ROWS)

    @property
    def _rows(self) -> Path:
        return self.folder / f"rows-{self._attempts}"

    def typed_columns(self, columns: Sequence[str]) -> dict[str, pl.DataType]:
        """Those of the data's columns whose types are not to be found out."""
        given = {name: given.type for name, given in self.types.of(columns).items()}
        if self.inspection is not None:
            given.update(self.inspection.typed_columns(columns))
        return given

    def type_of(self, column: str) -> pl.DataType | None:
        """That a column is to have, if it is not to be found out."""
        given = self.types.get(column)
        contracted = {} if self.inspection is None else self.inspection.typed_columns([column])
        return contracted.get(column, None if given is None else given.type)

    def marked(self, frame: pl.LazyFrame, label: str) -> pl.LazyFrame:
        """`frame`, whose rows know where they are from if that may have to be said of them."""
        return frame if self.inspection is None else self.inspection.marked(frame, label)


class _Misfit(Exception):
    """A value is not of the type that was given."""


def write_parquet(frame: pl.LazyFrame, target: Target, counter: RowCounter) -> None:
    """Stream `frame` to `target`, in order and in bounded memory.

    Values that are not of a type that the request or the dataset gives are rejected as the contract says;
    an error where there is no contract.
    """
    if target.inspection is not None:
        _write_inspected(frame, target, target.inspection, counter)
    elif ways := target.types.coercions(frame.collect_schema()):
        _write_typed(frame, ways, target, counter)
    else:
        _write(frame, target, counter)


def _write_inspected(
    frame: pl.LazyFrame, target: Target, inspection: Inspection, counter: RowCounter
) -> None:
    schema = frame.collect_schema()
    ways = target.types.coercions(schema, inspection.typed_columns(schema.names()))
    typed = coerced(frame, ways).collect_schema()
    gate = inspection.begin(typed, ways)

    def checked(batch: pl.DataFrame) -> pl.DataFrame:
        counter(batch)
        return gate(batch)

    passed = _mapped(gate.seen(frame), checked, gate.plan.schema(typed))
    try:
        _write(passed.select(inspection.needed(passed.collect_schema().names())), target)
    except BaseException:
        if gate.error is not None:
            raise gate.error from None
        raise


def _write_typed(
    frame: pl.LazyFrame, ways: Mapping[str, Coercion], target: Target, counter: RowCounter
) -> None:
    misfits = []

    def checked(batch: pl.DataFrame) -> pl.DataFrame:
        typed = converted(batch, ways)
        if typed is None:
            misfits.append(True)
            raise _Misfit
        return typed

    schema = coerced(frame, ways).collect_schema()
    try:
        _write(_mapped(quickly_coerced(frame, ways), checked, schema), target, counter)
    except BaseException:
        if misfits:
            columns = frame.collect_schema().names()
            raise misfit(frame, ways, target.types.of(columns)) from None
        raise


def _write(frame: pl.LazyFrame, target: Target, counter: RowCounter | None = None) -> None:
    schema = frame.collect_schema()
    floats = [name for name, type in schema.items() if type.is_float()]

    def seen(batch: pl.DataFrame) -> pl.DataFrame:
        if counter is not None:
            counter(batch)
        target.nan_columns.update(name for name in floats if _has_nan(batch.get_column(name)))
        return batch

    target.write(_mapped(frame, seen, schema))


def _has_nan(numbers: pl.Series) -> bool:
    """Their sum is NaN then, or where infinities meet; to ask each makes the threads that write wait."""
    return isnan(numbers.sum()) and bool(numbers.is_nan().any())


def _mapped(
    frame: pl.LazyFrame, function: Callable[[pl.DataFrame], pl.DataFrame], schema: pl.Schema
) -> pl.LazyFrame:
    """`function` over each batch, as they flow."""
    return frame.map_batches(function, streamable=True, schema=schema, validate_output_schema=False)
