"""One statement, many rows of parameters."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from flight_core.adapters.engines.duckdb.loading import readable, registered
from flight_core.adapters.engines.duckdb.parameters import plain_values, with_expressions
from flight_core.adapters.engines.duckdb.statements import ParsedStatement, byte_tokens
from flight_core.adapters.engines.duckdb.targets import counts_rows
from flight_core.adapters.engines.duckdb.types import identifier
from flight_core.domain.query import Outcome, Parameters, StatementKind, row_of

_PIECE = 1000  # rows of parameters
_ROWS = "__skein_rows"
_INTO = (["insert", "into"], ["insert", "or", "ignore", "into"])
# Words that tie an INSERT to single rows: a query in VALUES may look at the rows inserted before.
_PER_ROW = {"on", "returning", "default", "values", "select", "from"}


def run_once_a_row(
    connection: duckdb.DuckDBPyConnection,
    parsed: ParsedStatement,
    rows: pa.Table,
    run: Callable[[Parameters], Outcome],
) -> Outcome:
    """Run a statement with each row; the result of the last one, and the sum of the counts.

    A plain INSERT, and one that ignores conflicts, takes all rows at once, which is hundreds of times
    faster. Other statements that count what they change are planned once, and run row by row.
    """
    with insert_of_all(connection, parsed.sql, rows) as at_once:
        if at_once is not None:
            ((count,),) = connection.execute(at_once).fetchall()
            return _counted(count)
    if parsed.kind is StatementKind.WRITE and rows.num_rows and counts_rows(parsed):
        return _counted(sum(_changed(connection, parsed.sql, rows, run)))
    outcomes = [run(row_of(rows, row)) for row in range(rows.num_rows)]
    counts = [outcome.affected_rows for outcome in outcomes if outcome.affected_rows is not None]
    return Outcome(outcomes[-1].table if outcomes else pa.table({}), sum(counts))


def _changed(
    connection: duckdb.DuckDBPyConnection, sql: str, rows: pa.Table, run: Callable[[Parameters], Outcome]
) -> Iterator[int]:
    """How many rows changed, a number for each piece of the parameters. Where Python has no form for a value
    of a piece, its rows run on their own."""
    for start in range(0, rows.num_rows, _PIECE):
        piece = [row_of(rows, row) for row in range(start, min(start + _PIECE, rows.num_rows))]
        plain = [plain_values(parameters) for parameters in piece]
        if None in plain:
            yield from (run(parameters).affected_rows or 0 for parameters in piece)
        else:
            connection.executemany(sql, plain)
            yield connection.rowcount


def _counted(count: int) -> Outcome:
    return Outcome(pa.table({"Count": pa.array([count], pa.int64())}), count)


@contextmanager
def insert_of_all(connection: duckdb.DuckDBPyConnection, sql: str, rows: pa.Table) -> Iterator[str | None]:
    """`INSERT INTO t VALUES (?, ?)` as an INSERT of a SELECT from the rows, which can be run within the
    block; None if it is not so simple."""
    at_once = _insert_of_all(sql, rows)
    if at_once is None:
        yield None
        return
    with registered(connection, _ROWS, readable(rows.rename_columns(list(_columns(rows).values())))):
        yield at_once


def _insert_of_all(sql: str, rows: pa.Table) -> str | None:
    """Of rows with one key the first one stays where conflicts are ignored, at once as one by one."""
    tokens = [token for token in byte_tokens(sql) if token[2] != "comment"]
    words = [text.strip().lower() for _, text, _ in tokens]
    if not any(words[: len(into)] == into for into in _INTO) or words.count("values") != 1:
        return None
    first = words.index("values") + 1
    last = first + _closing(words[first:])
    if last < first or _PER_ROW & set(words[first : last + 1]) or not _ignores(words[last + 1 :]):
        return None
    encoded = sql.encode()
    into = encoded[: tokens[first - 1][0]].decode()
    expressions = encoded[tokens[first][0] + 1 : tokens[last][0]].decode()
    rest = encoded[tokens[last][0] + 1 :].decode()
    columns = {name: identifier(column) for name, column in _columns(rows).items()}
    return f"{into} SELECT {with_expressions(expressions, columns)} FROM {_ROWS} {rest}"


def _ignores(words: list[str]) -> bool:
    """Whether this is nothing, or `ON CONFLICT ... DO NOTHING`."""
    return not words or (words[:2] == ["on", "conflict"] and words[-2:] == ["do", "nothing"])


def _columns(rows: pa.Table) -> dict[str, str]:
    """For each parameter the name of its column, one that no statement uses by chance."""
    return {name: f"{_ROWS}_{number}" for number, name in enumerate(rows.column_names)}


def _closing(words: list[str]) -> int:
    """Where the parenthesis that opens first is closed."""
    depth = 0
    for index, word in enumerate(words):
        depth += (word == "(") - (word == ")")
        if depth == 0:
            return index
    return -1
