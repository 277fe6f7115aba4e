"""DELETE and UPDATE: rows of a dataset that SQL finds go, or others come in their place."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute

from flight_core.application.ports.engine import Query, Session
from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.writes.open_write import Replaced
from flight_core.application.writes.rows import NewRows, PendingRows, TakeRows
from flight_core.domain.access import Actor
from flight_core.domain.dataset import LakeEntry, LakeState, WriteMode, WriteRule, dataset_not_found
from flight_core.domain.errors import InvalidSql
from flight_core.domain.query import PLACE_COLUMNS, DatasetStatement, DatasetVerb, Parameters, Statement

pc: Any = pyarrow.compute  # the stubs lack functions

_FILE_BITS = 32  # of where a row is, those above tell the file


@dataclass(frozen=True, slots=True)
class ReplaceRows:
    """Find the rows that a DELETE or an UPDATE names, in the version that `lake` has, and what they become.

    Nothing is left pending where there are none. With `expected` the commit goes on top of that version only.
    Raises as `Session.plan` and `TakeRows`, and:
        DatasetNotFound
        InvalidSql: an UPDATE has several rows for one.
    """

    take_rows: TakeRows

    def __call__(
        self,
        connection: Session,
        statement: DatasetStatement,
        parameters: Parameters,
        lake: LakeState,
        *,
        actor: Actor,
        door: str,
        cancellation: Cancellation,
        expected: int | None = None,
    ) -> PendingRows:
        entry = lake.datasets.get(statement.dataset.key)
        if entry is None:
            raise dataset_not_found(statement.dataset.value, lake.datasets)
        with lines_up(statement.head_lines):
            source = Statement(statement.source, parameters, placed=statement.dataset.key)
            query = connection.plan(source, lake)
        try:
            with cancellation.interrupting(query.cancel):
                replaced = Replaced(entry.ref, statement.condition, statement.columns, expected)
                if statement.verb is DatasetVerb.DELETE:
                    return self._delete(entry, query, replaced, actor, door, cancellation)
                return self._update(entry, query, replaced, actor, door, cancellation)
        finally:
            query.close()

    def _delete(
        self,
        entry: LakeEntry,
        query: Query,
        replaced: Replaced,
        actor: Actor,
        door: str,
        cancellation: Cancellation,
    ) -> PendingRows:
        rule = WriteRule(WriteMode.DELETE)
        write = self.take_rows.open_write(entry.name, None, rule, actor=actor, source=door, replaced=replaced)
        try:
            for _ in replaced.without_places(cancellation.heeded(query)):
                pass
        except BaseException:
            write.close()
            raise
        return PendingRows(sum(batch.num_rows for batch in replaced.places), write.commit, write.close)

    def _update(
        self,
        entry: LakeEntry,
        query: Query,
        replaced: Replaced,
        actor: Actor,
        door: str,
        cancellation: Cancellation,
    ) -> PendingRows:
        columns = pa.schema([field for field in query.schema if field.name not in PLACE_COLUMNS])
        rows = NewRows(columns, replaced.without_places(query), door, query.pins, replaced=replaced)
        rule = WriteRule(WriteMode.UPDATE)
        pending = self.take_rows(entry.name, rows, rule, actor=actor, cancellation=cancellation)
        if _repeats(replaced):
            pending.close()
            raise InvalidSql(
                f"the UPDATE has several new rows for one of '{entry.name}'; let FROM have one row for each"
            )
        return pending


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


@contextmanager
def lines_up(count: int) -> Iterator[None]:
    """What is wrong is told where it is in the text that somebody wrote, which had that many lines put before
    it; what is in those, without a place."""
    try:
        yield
    except InvalidSql as failure:
        line = failure.details.get("line")
        if not isinstance(line, int):
            raise
        if line <= count:
            raise InvalidSql(failure.message.partition(f" (line {line}")[0]) from None
        message = failure.message.replace(f"(line {line}", f"(line {line - count}")
        raise InvalidSql(message, **{**failure.details, "line": line - count}) from None
