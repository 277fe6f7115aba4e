"""A statement that changes a dataset, with all that it takes to carry it out."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from flight_core.application.ports.engine import Query, Session
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.access import Actor
from flight_core.domain.dataset import LakeState
from flight_core.domain.errors import InvalidSql
from flight_core.domain.query import DatasetStatement, Parameters, Statement


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """Who asks for which change, over which connection, and what stops it.

    `lake` is what the statement sees. With `expected` nothing may have been committed to the dataset since
    that version.
    """

    statement: DatasetStatement
    parameters: Parameters
    connection: Session
    lake: LakeState
    actor: Actor
    cancellation: Cancellation
    expected: int | None = None

    @property
    def door(self) -> str:
        """What the history tells as the source."""
        return self.actor.origin.door

    @contextmanager
    def query(self, *, placed: bool = False) -> Iterator[Query]:
        """For the rows of the statement; `placed`: see `Statement`. Raises as `Session.plan`, and when it is
        read, Cancelled."""
        source = Statement(
            self.statement.source,
            self.parameters,
            placed=self.statement.dataset.key if placed else None,
        )
        with lines_up(self.statement.lines):
            query = self.connection.plan(source, self.lake)
        with closing(query), self.cancellation.interrupting(query.cancel):
            yield query


@contextmanager
def lines_up(lines: Sequence[tuple[int, int]]) -> Iterator[None]:
    """What is wrong is told where it is in the text that somebody wrote; `lines` as in `DatasetStatement`."""
    try:
        yield
    except InvalidSql as failure:
        line, column = failure.details.get("line"), failure.details.get("column")
        if not isinstance(line, int) or line > len(lines):
            raise
        message = failure.message.partition(f" (line {line}")[0]
        theirs, moved = lines[line - 1]
        if not theirs:
            raise InvalidSql(message) from None
        place = {"line": theirs, **({"column": column + moved} if isinstance(column, int) else {})}
        where = ", ".join(f"{word} {number}" for word, number in place.items())
        raise InvalidSql(f"{message} ({where})", **{**failure.details, **place}) from None
