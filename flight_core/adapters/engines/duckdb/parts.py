"""Which results can be read in parts, and which rows belong to a part.

In a scan, each row of the result comes from one row of the only dataset, so splitting the dataset's rows
splits the result. Parts begin at row groups, since DuckDB then only reads the row groups of a part.
"""

from collections.abc import Sequence
from itertools import accumulate

from flight_core.adapters.engines.duckdb.statements import ParsedStatement, walk
from flight_core.domain.query import Part, Window

NUMBER_COLUMN = "file_row_number"  # DuckDB's name for it

ROW_GROUP = 61_440  # as the table store writes them; with other sizes parts are correct, but slower

_EMPTY = ("modifiers", "group_expressions", "group_sets", "having", "qualify", "sample")
_FORBIDDEN = ("WINDOW", "SUBQUERY", "UNNEST")


def is_scan(parsed: ParsedStatement, row_functions: frozenset[str]) -> bool:
    """Whether it is a SELECT of columns and expressions from one table, with an optional filter.

    `row_functions` are the functions that only depend on one row.
    """
    tree = parsed.tree
    if tree is None or tree.get("type") != "SELECT_NODE" or any(tree.get(key) for key in _EMPTY):
        return False
    table = tree.get("from_table") or {}
    if table.get("type") != "BASE_TABLE" or table.get("sample") or table.get("at_clause"):
        return False
    if tree.get("cte_map", {}).get("map") or tree.get("aggregate_handling") != "STANDARD_HANDLING":
        return False
    if any(word in node for node in parsed.nodes for word in _FORBIDDEN):
        return False
    return parsed.functions <= row_functions


def names_only_columns(parsed: ParsedStatement, columns: Sequence[str]) -> bool:
    """Whether all column references are among `columns`: without such a column, `current_date` is a
    function."""
    known = {name.lower() for name in columns}
    for node, _ in walk(parsed.tree or {}):
        if node.get("type") == "COLUMN_REF":
            (*qualifiers, name) = node["column_names"]
            if not qualifiers and name.lower() not in known:
                return False
    return True


def most_parts(row_counts: Sequence[int]) -> int:
    """The number of row groups, which is the largest useful number of parts."""
    return max(1, sum(-(-rows // ROW_GROUP) for rows in row_counts))


def rows_of_part(row_counts: Sequence[int], part: Part) -> list[range]:
    """The rows of each file that belong to the part, which may be none."""
    groups = [-(-rows // ROW_GROUP) for rows in row_counts]
    total = sum(groups)
    first, last = total * part.index // part.count, total * (part.index + 1) // part.count
    return [
        range(
            min(max(first - (end - count), 0) * ROW_GROUP, rows),
            min(max(last - (end - count), 0) * ROW_GROUP, rows),
        )
        for rows, count, end in zip(row_counts, groups, accumulate(groups), strict=True)
    ]


def rows_of_window(row_counts: Sequence[int], window: Window) -> list[range]:
    """The rows of each file that belong to the window, which may be none."""
    first, last = window.offset, window.offset + window.limit
    return [
        range(min(max(first - (end - rows), 0), rows), min(max(last - (end - rows), 0), rows))
        for rows, end in zip(row_counts, accumulate(row_counts), strict=True)
    ]
