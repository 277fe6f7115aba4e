"""The demo dataset: US domestic flights, shipped small and resampled to any size.

`scripts/make_demo_flights.py` made the file; it tells where the data comes from.
"""

from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flight_core.application.datasets.describe import GetDataset
from flight_core.application.writes.rows import NewRows, WriteDataset
from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, WriteMode, WriteRule
from flight_core.domain.errors import DatasetNotFound

DEMO_NAME = DatasetName("flights")
SHIPPED_ROWS = 200_000
_SOURCE = "Skein demo"

# The sample covers 181 days, in which about this many flights took off. More rows cover more half-years.
_ROWS_PER_PERIOD = 3_000_000
_PERIOD_US = 181 * 86_400_000_000
_MINUTE_US = 60_000_000

# A resampled row takes route and delay from one of so many neighbours: a few hours of flights.
_NEIGHBOURS = 128
_BATCH_ROWS = 1 << 16

Array: TypeAlias = "pa.Array[Any]"
Advance = Callable[[int], None]  # told the number of rows of each batch


def shipped_flights() -> pa.Table:
    """`SHIPPED_ROWS` flights, in the order of departure."""
    with resources.files("skein").joinpath("data/flights.parquet").open("rb") as file:
        return pq.read_table(file).combine_chunks()


def flights(rows: int, base: pa.Table | None = None) -> Iterator[pa.RecordBatch]:
    """`rows` flights in the order of departure, the same ones every time, in bounded memory.

    Fewer than were shipped are an even sample of them. More are drawn from them: a flight departs
    between its two neighbours, with the route and the delay of a flight of about the same hour; past
    three million rows the time they cover grows, by half a year for every three million.
    """
    base = base if base is not None else shipped_flights()
    periods = -(-rows // _ROWS_PER_PERIOD)
    for start in range(0, rows, _BATCH_ROWS):
        numbers = pa.arange(start, min(start + _BATCH_ROWS, rows))  # type: ignore[attr-defined] # the stubs are older
        yield _drawn(base, numbers, rows=rows, periods=periods)


def _drawn(base: pa.Table, numbers: Array, *, rows: int, periods: int) -> pa.RecordBatch:
    scaled = pc.multiply(numbers, base.num_rows * periods)
    position = pc.divide(scaled, rows)
    period = pc.divide(position, base.num_rows)
    index = pc.subtract(position, pc.multiply(period, base.num_rows))
    part = pc.divide(pc.cast(pc.subtract(scaled, pc.multiply(position, rows)), pa.float64()), float(rows))
    donor = index if rows <= base.num_rows else _neighbour(index, numbers, base.num_rows)
    columns = {name: base[name].combine_chunks().take(donor) for name in base.column_names}
    columns["date"] = _departures(base["date"].combine_chunks(), index, part, period)
    return pa.RecordBatch.from_pydict(columns, schema=base.schema)


def _neighbour(index: Array, numbers: Array, count: int) -> Array:
    """A row near `index`, chosen by a multiplicative hash of the row's number."""
    last = max(0, count - _NEIGHBOURS)
    first = pc.min_element_wise(pc.max_element_wise(pc.subtract(index, _NEIGHBOURS // 2), 0), last)
    hashed = pc.bit_wise_and(pc.shift_right(pc.multiply(numbers, 0x9E3779B1), 16), _NEIGHBOURS - 1)
    near: Array = pc.add(first, hashed)
    return near


def _departures(dates: Array, index: Array, part: Array, period: Array) -> Array:
    """Between the departures before and after, on the minute, moved on by whole periods."""
    moments = dates.cast(pa.int64())
    before = moments.take(index)
    after = moments.take(pc.min_element_wise(pc.add(index, 1), len(dates) - 1))
    gap = pc.cast(pc.subtract(after, before), pa.float64())
    minutes = pc.divide(pc.cast(pc.floor(pc.multiply(gap, part)), pa.int64()), _MINUTE_US)
    moved = pc.add(pc.add(before, pc.multiply(minutes, _MINUTE_US)), pc.multiply(period, _PERIOD_US))
    departures: Array = moved.cast(dates.type)
    return departures


def ensure_demo(get: GetDataset, write: WriteDataset, *, rows: int | None, advance: Advance) -> bool:
    """Make sure that `flights` exists; whether it had to be written.

    What is there stays, unless it is a demo of another size and `rows` asks for this one.
    """
    base = shipped_flights()
    try:
        current = get(DEMO_NAME, actor=LOCAL).current
    except DatasetNotFound:
        pass
    else:
        ours = current.commit_info.get("source") == _SOURCE
        if not ours or rows is None or rows == current.row_count:
            return False
    batches = _counted(flights(rows or base.num_rows, base), advance)
    write(DEMO_NAME, NewRows(base.schema, batches, _SOURCE), WriteRule(WriteMode.REPLACE), actor=LOCAL)
    return True


def _counted(batches: Iterator[pa.RecordBatch], advance: Advance) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        advance(batch.num_rows)
