"""Deterministic statements: those whose result only depends on the dataset versions that they read."""

import hashlib
import json
import re
from functools import lru_cache
from typing import Any

import duckdb
from duckdb import StatementType

from flight_core.adapters.engines.duckdb.statements import Json, ParsedStatement, walk
from flight_core.domain.query import Pins

_FUNCTIONS = """
    SELECT lower(function_name), function_type, stability, coalesce(macro_definition, '')
    FROM duckdb_functions() WHERE internal AND function_type NOT IN ('pragma', 'table', 'table_macro')
"""
_OWN_CODE = """
    SELECT 1 FROM duckdb_functions() WHERE NOT internal
    UNION ALL SELECT 1 FROM duckdb_types() WHERE NOT internal
"""
_CODE = frozenset({"macro", "function", "type", "domain"})
_WORD = re.compile(r"\w+")
# DuckDB lists them as consistent, but they are not: `age` with one argument uses the clock.
_NOT_DETERMINISTIC = frozenset({"reservoir_quantile", "age"})
_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "repeat", "json_each", "json_tree"})
_PLACES = frozenset({"query_location", "query_location_length"})
# Functions that are written without parentheses, like columns.
_MOMENTS = frozenset(
    {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "current_schema"}
)


def deterministic_functions(cursor: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """The built-in scalar and aggregate functions that only depend on their arguments."""
    rows = cursor.execute(_FUNCTIONS).fetchall()
    others = {name for name, type_, stability, _ in rows if type_ != "macro" and stability != "CONSISTENT"}
    others |= _NOT_DETERMINISTIC
    macros = {name: set(_WORD.findall(text.lower())) for name, type_, _, text in rows if type_ == "macro"}
    while found := {name for name, words in macros.items() if words & others} - others:
        others |= found
    return frozenset(name for name, *_ in rows) - others


@lru_cache(maxsize=512)
def statement_digest(parsed: ParsedStatement, functions: frozenset[str]) -> str | None:
    """A digest of the statement, ignoring white space, comments and the case of keywords. `functions` are the
    deterministic ones.

    None: the result may be different each time, or depends on more than tables.
    """
    if parsed.tree is None or not all(_is_deterministic(node, functions) for node, _ in walk(parsed.tree)):
        return None
    text = json.dumps(_placeless(parsed.tree), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def reads_datasets_alone(parsed: ParsedStatement, pins: Pins) -> bool:
    return all(table.may_be_dataset and table.name.lower() in pins for table in parsed.tables)


def makes_code(parsed: ParsedStatement) -> bool:
    """Whether it may create a function or a type, which could have the name of a built-in one."""
    words = {token.word for token in parsed.tokens}
    return parsed.type in (StatementType.CREATE, StatementType.PREPARE) and not words.isdisjoint(_CODE)


def has_own_code(cursor: duckdb.DuckDBPyConnection) -> bool:
    return bool(cursor.execute(_OWN_CODE).fetchall())


def _is_deterministic(node: Json, functions: frozenset[str]) -> bool:
    if node.get("sample") is not None or node.get("at_clause") is not None:
        return False
    kind = node.get("type")
    if kind in ("SHOW_REF", "TABLE_FUNCTION"):
        function = node.get("function") or {}
        return function.get("function_name") in _TABLE_FUNCTIONS
    if kind == "COLUMN_REF":
        return str(node["column_names"][-1]).lower() not in _MOMENTS
    name = str(node.get("function_name") or "").lower()
    return not name or name in functions or name in _TABLE_FUNCTIONS


def _placeless(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _placeless(value) for key, value in node.items() if key not in _PLACES}
    if isinstance(node, list):
        return [_placeless(item) for item in node]
    return node
