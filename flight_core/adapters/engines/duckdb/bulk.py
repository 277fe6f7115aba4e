"""One statement, many rows of parameters."""

from collections.abc import Callable

import duckdb
import pyarrow as pa

from flight_core.adapters.engines.duckdb.statements import ParsedStatement
from flight_core.domain.query import Outcome, Parameters, row_of

Run = Callable[[ParsedStatement, Parameters], Outcome]


def run_once_a_row(
    connection: duckdb.DuckDBPyConnection, parsed: ParsedStatement, parameters: pa.Table, run: Run
) -> Outcome:
    """Run a statement with each row; the tables of all, one after the other, and the sum of the counts."""
    outcomes = [run(parsed, row_of(parameters, row)) for row in range(parameters.num_rows)]
    counts = [outcome.affected_rows for outcome in outcomes if outcome.affected_rows is not None]
    return Outcome(outcomes[-1].table if outcomes else pa.table({}), sum(counts))
