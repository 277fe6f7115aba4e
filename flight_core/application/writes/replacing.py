"""DELETE, UPDATE and MERGE: rows of a dataset that SQL finds go, or others come in their place."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute

from flight_core.application.ports.engine import Query
from flight_core.application.writes.change_request import ChangeRequest
from flight_core.application.writes.open_write import Replaced
from flight_core.application.writes.rows import NewRows, PendingRows, TakeRows
from flight_core.domain.dataset import WriteMode, WriteRule, dataset_not_found
from flight_core.domain.errors import InvalidSql
from flight_core.domain.query import KEPT_COLUMN, PLACE_COLUMNS, DatasetVerb

pc: Any = pyarrow.compute  # the stubs lack functions

_ABOUT_ROWS = (*PLACE_COLUMNS, KEPT_COLUMN)
_FILE_BITS = 32  # of where a row is, those above tell the file


@dataclass(frozen=True, slots=True)
class ReplaceRows:
    """Find the rows that a DELETE, an UPDATE or a MERGE names, and what they become.

    What a MERGE adds depends on all rows that are there: it goes on top of the version that it looked at.
    Nothing is left pending where there are none. Raises as `ChangeRequest.query` and `TakeRows`, and:
        DatasetNotFound
        InvalidSql: there are several new rows for one.
    """

    take_rows: TakeRows

    def __call__(self, request: ChangeRequest) -> PendingRows:
        statement, datasets = request.statement, request.lake.datasets
        entry = datasets.get(statement.dataset.key)
        if entry is None:
            raise dataset_not_found(statement.dataset.value, datasets)
        expected = entry.ref.version if statement.verb is DatasetVerb.MERGE else request.expected
        replaced = Replaced(entry.ref, statement.condition, statement.columns, expected)
        with request.query(placed=True) as query:
            if statement.verb is DatasetVerb.DELETE:
                return self._delete(request, query, replaced)
            return self._rewrite(request, query, replaced)

    def _delete(self, request: ChangeRequest, query: Query, replaced: Replaced) -> PendingRows:
        write = self.take_rows.open_write(
            request.statement.dataset,
            None,
            WriteRule(WriteMode.DELETE),
            actor=request.actor,
            source=request.door,
            replaced=replaced,
        )
        try:
            for _ in replaced.without_places(request.cancellation.heeded(query)):
                pass
        except BaseException:
            write.close()
            raise
        return PendingRows(sum(batch.num_rows for batch in replaced.places), write.commit, write.close)

    def _rewrite(self, request: ChangeRequest, query: Query, replaced: Replaced) -> PendingRows:
        name, verb = request.statement.dataset, request.statement.verb
        found = _Found(replaced)
        columns = pa.schema([field for field in query.schema if field.name not in _ABOUT_ROWS])
        rows = NewRows(columns, found.new_rows(query), request.door, query.pins, replaced=replaced)
        rule = WriteRule(WriteMode(verb.value))
        pending = self.take_rows(name, rows, rule, actor=request.actor, cancellation=request.cancellation)
        if _repeats(replaced):
            pending.close()
            raise InvalidSql(
                f"the {verb.upper()} has several new rows for one of '{name}';"
                f" let {'FROM' if verb is DatasetVerb.UPDATE else 'USING'} have one row for each"
            )
        return replace(pending, row_count=pending.row_count + found.gone)


@dataclass(slots=True)
class _Found:
    """What the statement finds; `gone` are the rows so far for which there is no new one."""

    replaced: Replaced
    gone: int = 0

    def new_rows(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in self.replaced.without_places(batches):
            if KEPT_COLUMN not in batch.schema.names:
                yield batch
                continue
            kept = batch.filter(batch.column(KEPT_COLUMN)).drop_columns([KEPT_COLUMN])
            self.gone += batch.num_rows - kept.num_rows
            yield kept


def _repeats(replaced: Replaced) -> bool:
    """Whether a row is named twice. Where nothing is joined they come in order, which takes no set to see."""
    numbers = pa.chunked_array(
        [
            pc.bit_wise_or(pc.shift_left(file.cast(pa.int64()), _FILE_BITS), row.cast(pa.int64()))
            for file, row in (batch.columns for batch in replaced.places)
        ],
        pa.int64(),
    )
    if pc.all(pc.less(numbers[:-1], numbers[1:])).as_py():
        return False
    return bool(pc.count_distinct(numbers).as_py() < len(numbers))
