"""One statement, many rows of parameters."""

from collections.abc import Callable

import duckdb
import pyarrow as pa

from flight_core.adapters.engines.duckdb.loading import readable, registered
from flight_core.adapters.engines.duckdb.parameters import with_expressions
from flight_core.adapters.engines.duckdb.statements import byte_tokens
from flight_core.adapters.engines.duckdb.types import identifier
from flight_core.domain.query import Outcome, Parameters, row_of

_ROWS = "__skein_rows"
# Words that tie an INSERT to single rows: a query in VALUES may look at the rows inserted before.
_PER_ROW = {"on", "returning", "default", "values", "select", "from"}


def run_once_a_row(
    connection: duckdb.DuckDBPyConnection, sql: str, rows: pa.Table, run: Callable[[Parameters], Outcome]
) -> Outcome:
    """Run a statement with each row; the result of the last one, and the sum of the counts.

    A plain INSERT takes all rows at once, which is hundreds of times faster.
    """
    at_once = _insert_of_all(sql, rows)
    if at_once is not None:
        with registered(connection, _ROWS, readable(rows.rename_columns(list(_columns(rows).values())))):
            ((count,),) = connection.execute(at_once).fetchall()
        return Outcome(pa.table({"Count": pa.array([count], pa.int64())}), count)
    outcomes = [run(row_of(rows, row)) for row in range(rows.num_rows)]
    counts = [outcome.affected_rows for outcome in outcomes if outcome.affected_rows is not None]
    return Outcome(outcomes[-1].table if outcomes else pa.table({}), sum(counts))


def _insert_of_all(sql: str, rows: pa.Table) -> str | None:
    """`INSERT INTO t VALUES (?, ?)` as an INSERT of a SELECT from the rows; None if it is not so simple."""
    tokens = [token for token in byte_tokens(sql) if token[2] != "comment"]
    words = [text.strip().lower() for _, text, _ in tokens]
    if words[0] != "insert" or words[1] != "into" or words.count("values") != 1 or words[-1] != ")":
        return None
    place = words.index("values")
    values = words[place + 1 :]
    if _PER_ROW & set(values) or _closing(values) != len(values) - 1:
        return None
    encoded = sql.encode()
    start, inside, end = tokens[place][0], tokens[place + 1][0] + 1, tokens[-1][0]
    columns = {name: identifier(column) for name, column in _columns(rows).items()}
    into, expressions = encoded[:start].decode(), encoded[inside:end].decode()
    return f"{into} SELECT {with_expressions(expressions, columns)} FROM {_ROWS}"


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
