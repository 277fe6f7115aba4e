"""INSERT, UPDATE, DELETE, MERGE, CREATE TABLE and DROP TABLE of datasets, taken apart.

Datasets are views that only Skein writes. A statement aimed at one is split into the dataset's name
and a SELECT for the rows; DuckDB runs that, and casts the values as an INSERT would.
"""

import duckdb
from duckdb import StatementType

from flight_core.adapters.engines.duckdb.dataset_columns import (
    PLACED,
    casts,
    columns_given,
    columns_named,
    columns_of,
)
from flight_core.adapters.engines.duckdb.dataset_merge import merge
from flight_core.adapters.engines.duckdb.parameters import placeholder_names, with_expressions
from flight_core.adapters.engines.duckdb.scanner import Scanner, with_lines
from flight_core.adapters.engines.duckdb.statements import ParsedStatement
from flight_core.adapters.engines.duckdb.types import identifier
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import StatementNotAllowed
from flight_core.domain.query import PLACE_COLUMNS, DatasetStatement, DatasetVerb

_SHAPE = "__skein_shape"
_REFUSED = {"on conflict", "returning", "default"}


def dataset_statement(
    parsed: ParsedStatement, connection: duckdb.DuckDBPyConnection
) -> DatasetStatement | None:
    """Of a statement that is aimed at a dataset; None if it does something else to it."""
    merges = parsed.type == StatementType.MERGE_INTO
    scanner = Scanner(_numbered(parsed.sql) if merges else parsed.sql)
    match parsed.type:
        case StatementType.CREATE:
            return _create(scanner, connection)
        case StatementType.DROP:
            return _drop(scanner)
        case StatementType.INSERT:
            return _insert(scanner, connection)
        case StatementType.DELETE:
            return _delete(scanner)
        case StatementType.UPDATE:
            return _update(scanner, connection)
        case StatementType.MERGE_INTO:
            return merge(scanner, connection)
        case _:
            return None


def _numbered(sql: str) -> str:
    """With `$1` for the first `?`: parts of a MERGE change places."""
    return with_expressions(sql, {name: f"${name}" for name in placeholder_names(sql)})


def _create(scanner: Scanner, connection: duckdb.DuckDBPyConnection) -> DatasetStatement | None:
    scanner.accept("create")
    replace = scanner.accept("or", "replace")
    if not scanner.accept("table"):
        return None
    lenient = scanner.accept("if", "not", "exists")
    name = scanner.name()
    columns = scanner.parenthesised()
    if scanner.accept("as"):
        aliases = "" if columns is None else f"({columns})"
        source = f"SELECT * FROM ({scanner.rest()}) AS __rows{aliases}"
    else:
        source = _empty(connection, columns or "")
    sql, lines = with_lines(source)
    return DatasetStatement(DatasetVerb.CREATE, DatasetName(name[-1]), sql, lines, replace, lenient)


def _empty(connection: duckdb.DuckDBPyConnection, definitions: str) -> str:
    """A SELECT of no rows with the columns that are defined."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_SHAPE} ({definitions})")
    try:
        relation = connection.sql(f"FROM temp.main.{_SHAPE}")
        columns = [
            f"CAST(NULL AS {type_}) AS {identifier(name)}"
            for name, type_ in zip(relation.columns, relation.types, strict=True)
        ]
    finally:
        connection.execute(f"DROP TABLE temp.main.{_SHAPE}")
    return f"SELECT {', '.join(columns)} WHERE false"


def _drop(scanner: Scanner) -> DatasetStatement | None:
    scanner.accept("drop")
    if not scanner.accept("table"):
        return None
    lenient = scanner.accept("if", "exists")
    name = scanner.name()
    return DatasetStatement(DatasetVerb.DROP, DatasetName(name[-1]), lenient=lenient)


def _insert(scanner: Scanner, connection: duckdb.DuckDBPyConnection) -> DatasetStatement | None:
    prefix = scanner.skip_to("insert")
    if not scanner.accept("into"):
        return None  # INSERT OR REPLACE, INSERT OR IGNORE: datasets have no keys
    dataset = DatasetName(scanner.name()[-1])
    columns = scanner.names_in_parentheses()
    by_name = scanner.accept("by", "name")
    scanner.accept("by", "position")
    if refused := _REFUSED & scanner.words_left():
        raise StatementNotAllowed(
            f"INSERT into a dataset cannot have {min(refused).upper()}; datasets have no keys and no defaults"
        )
    rows = scanner.rest()
    if by_name:
        columns = columns_given(connection, f"{prefix.text}\n{rows.text}")
    filled = columns_named(dataset, columns_of(connection, dataset), columns)
    names = ", ".join(identifier(column) for column, _ in filled)
    sql, lines = with_lines(f"SELECT * REPLACE ({casts(filled)}) FROM ({prefix}{rows}) AS __rows({names})")
    changed = tuple(column for column, _ in filled)
    return DatasetStatement(DatasetVerb.INSERT, dataset, sql, lines, columns=changed)


def _delete(scanner: Scanner) -> DatasetStatement:
    """The rows are looked up in the view PLACED."""
    prefix = scanner.skip_to("truncate" if scanner.peek() == "truncate" else "delete")
    scanner.accept("from")
    scanner.accept("table")
    name, alias = scanner.aliased_name("where", "using", "returning")
    if refused := {"using", "returning"} & scanner.words_left():
        raise StatementNotAllowed(
            f"DELETE from a dataset cannot have {min(refused).upper()}; write a condition with a subquery,"
            " such as WHERE id IN (SELECT id FROM other)"
        )
    scanner.accept("where")
    condition = scanner.rest()
    sql, lines = with_lines(
        f"{prefix}SELECT {', '.join(PLACE_COLUMNS)} FROM {PLACED} AS {identifier(alias)}"
        f" WHERE ({condition if condition.text else True})"
    )
    told = condition.text.removeprefix("(\n").removesuffix("\n)") or "true"
    return DatasetStatement(DatasetVerb.DELETE, DatasetName(name), sql, lines, condition=told)


def _update(scanner: Scanner, connection: duckdb.DuckDBPyConnection) -> DatasetStatement:
    """`UPDATE x SET a = b WHERE c` is `SELECT x.* REPLACE (b AS a) FROM x WHERE c`, cast to the types of the
    columns."""
    prefix = scanner.skip_to("update")
    name, alias = scanner.aliased_name("set")
    if "returning" in scanner.words_left():
        raise StatementNotAllowed(
            "UPDATE of a dataset cannot have RETURNING; change the rows first, and SELECT them then"
        )
    scanner.accept("set")
    assigned = scanner.assigned("from", "where")
    others = scanner.until("where") if scanner.accept("from") else None
    scanner.accept("where")
    condition = scanner.rest()
    dataset = DatasetName(name)
    changed = columns_named(dataset, columns_of(connection, dataset), [column for column, _ in assigned])
    values = ", ".join(
        f"CAST({value} AS {type_}) AS {identifier(column)}"
        for (column, type_), (_, value) in zip(changed, assigned, strict=True)
    )
    sql, lines = with_lines(
        f"{prefix}SELECT {identifier(alias)}.* REPLACE ({values}) FROM {PLACED} AS {identifier(alias)}"
        f"{f', {others}' if others else ''} WHERE ({condition if condition.text else True})"
    )
    columns = tuple(column for column, _ in changed)
    return DatasetStatement(
        DatasetVerb.UPDATE, dataset, sql, lines, condition=condition.text, columns=columns
    )
