"""Which results can be read in parts, and which rows make a part.

A scan keeps or drops each row of one dataset for itself, so that any split of the dataset's rows
splits the result. Parts are cut where row groups end: DuckDB then reads the groups of its part only.
"""

from collections.abc import Sequence
from itertools import accumulate

from flight_core.adapters.engines.duckdb.statements import ParsedStatement, walk
from flight_core.domain.query import Part, Window

NUMBER_COLUMN = "file_row_number"  # DuckDB's name for it

ROW_GROUP = 61_440  # as storage writes them; elsewhere parts are right as well, and slower

_EMPTY = ("modifiers", "group_expressions", "group_sets", "having", "qualify", "sample")
_FORBIDDEN = ("WINDOW", "SUBQUERY", "UNNEST")


def is_scan(parsed: ParsedStatement, row_functions: frozenset[str]) -> bool:
    """Whether it is a SELECT of columns and expressions over one table, perhaps filtered.

    `row_functions` are those that look at one row alone.
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
    """Whether what looks like a column is one of `columns`: `current_date` is a function, if there is
    no column of that name."""
    known = {name.lower() for name in columns}
    for node, _ in walk(parsed.tree or {}):
        if node.get("type") == "COLUMN_REF":
            (*qualifiers, name) = node["column_names"]
            if not qualifiers and name.lower() not in known:
                return False
    return True


def most_parts(row_counts: Sequence[int]) -> int:
    """As many as there are row groups."""
    return max(1, sum(-(-rows // ROW_GROUP) for rows in row_counts))


def rows_of_part(row_counts: Sequence[int], part: Part) -> list[range]:
    """For each file the rows that belong to the part; empty ranges for those it has none of."""
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
    """Likewise of a window."""
    first, last = window.offset, window.offset + window.limit
    return [
        range(min(max(first - (end - rows), 0), rows), min(max(last - (end - rows), 0), rows))
        for rows, end in zip(row_counts, accumulate(row_counts), strict=True)
    ]
