"""The SQL that actors who may only read can use: a SELECT whose syntax tree consists of what is listed here.

It is an allow-list, so that features of a new DuckDB version are refused until they were reviewed.
`functions.txt` lists the scalar and aggregate functions.
"""

from importlib.resources import files
from typing import Any

from duckdb import StatementType

from flight_core.adapters.engines.duckdb.statements import ParsedStatement, TableName, walk
from flight_core.domain.errors import InvalidSql, PermissionDenied, StatementNotAllowed

MAX_SQL_BYTES = 1 << 20
_MAX_NODES = 50_000

_FUNCTIONS = frozenset((files(__package__) / "functions.txt").read_text("ascii").split())
_OPERATORS = frozenset(("is distinct from", "is not distinct from"))
_TABLE_FUNCTIONS = frozenset(("range", "generate_series", "unnest", "repeat", "json_each", "json_tree"))
_STATEMENTS = frozenset(("SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE", "RECURSIVE_CTE_NODE"))
_TABLES = frozenset(
    ("BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "PIVOT", "SHOW_REF")
)
_DESCRIPTIONS = frozenset(("DESCRIBE", "SUMMARY"))
_EXPRESSIONS = frozenset(
    (
        "BETWEEN",
        "CASE",
        "CAST",
        "COLLATE",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "DEFAULT",
        "FUNCTION",
        "LAMBDA",
        "LAMBDA_REF",
        "OPERATOR",
        "PARAMETER",
        "POSITIONAL_REFERENCE",
        "STAR",
        "SUBQUERY",
        "TYPE",
        "WINDOW",
    )
)


def tables_of(statements: tuple[ParsedStatement, ...]) -> frozenset[TableName]:
    """The tables that a text reads.

    Raises:
        PermissionDenied: it is not a SELECT. StatementNotAllowed, InvalidSql: it is more than one statement,
        or contains something that is not listed.
    """
    if len(statements) > 1:
        raise InvalidSql(f"expected one statement, got {len(statements)}; send them one by one")
    (statement,) = statements
    if statement.type != StatementType.SELECT or statement.tree is None:
        raise PermissionDenied(
            "you may only read, with a SELECT (PIVOT as `FROM (PIVOT ... IN (...))`);"
            " ask for a token with the scope 'write' for anything else"
        )
    for count, (node, _) in enumerate(walk(statement.tree)):
        if count > _MAX_NODES:
            raise StatementNotAllowed(f"the statement has more than {_MAX_NODES:,} parts; split it")
        _check(node)
    return statement.tables


def _check(node: dict[str, Any]) -> None:
    kind = node.get("type")
    if "class" in node:
        if node["class"] not in _EXPRESSIONS:
            raise _refused(f"the expression {node['class']}")
        _check_function(node.get("function_name"), _FUNCTIONS | _TABLE_FUNCTIONS)
    elif "query_location" in node and "alias" in node:
        _check_table(node)
    elif isinstance(kind, str) and kind.endswith("_NODE") and kind not in _STATEMENTS:
        raise _refused(kind.removesuffix("_NODE").replace("_", " "))


def _check_table(node: dict[str, Any]) -> None:
    kind = node.get("type")
    if kind not in _TABLES:
        raise _refused(f"the table expression {kind}")
    if kind == "SHOW_REF" and (node.get("show_type") not in _DESCRIPTIONS or node.get("query") is None):
        raise StatementNotAllowed(
            "SHOW is not available to those who may only read; `FROM skein.datasets` lists the datasets,"
            " `DESCRIBE flights` the columns of one"
        )
    if any(mark in str(node.get("table_name")) for mark in "/\\"):
        raise _refused("a file by its name")
    if node.get("at_clause") is not None:
        raise _refused('AT; name the version as in "dataset@v3":')
    if kind == "TABLE_FUNCTION":
        function = node.get("function") or {}
        _check_function(function.get("function_name"), _TABLE_FUNCTIONS)


def _check_function(name: object, allowed: frozenset[str]) -> None:
    if not isinstance(name, str) or not name:
        return
    lower = name.lower()
    if lower in allowed or lower in _OPERATORS or not any(map(str.isalnum, lower)):
        return
    raise _refused(f"the function '{name[:60]}'")


def _refused(what: str) -> StatementNotAllowed:
    return StatementNotAllowed(f"{what} is not available to those who may only read")
