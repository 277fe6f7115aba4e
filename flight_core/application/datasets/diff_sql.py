"""The SQL that compares two versions of a dataset.

It reads `name@vA` and `name@vB` in the engine, whose joins and aggregates respect the memory limit and spill
to disk. Within the SQL, columns are renamed by position, so that their names cannot collide with ours.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from flight_core.domain.arrow import is_number
from flight_core.domain.dataset import DatasetName, DatasetVersion
from flight_core.domain.errors import InvalidRequest
from flight_core.domain.query import quoted


@dataclass(frozen=True, slots=True)
class RetypedColumn:
    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class SchemaChanges:
    """Columns are matched by name, ignoring case."""

    added: Sequence[pa.Field]  # type: ignore[type-arg]  # the type does not matter
    removed: Sequence[pa.Field]  # type: ignore[type-arg]
    retyped: Sequence[RetypedColumn]


@dataclass(frozen=True, slots=True)
class DiffPlan:
    """Two versions, and the SQL that compares their rows."""

    before: DatasetVersion
    after: DatasetVersion
    key: Sequence[str]
    columns: SchemaChanges
    duplicates: str | None  # counts the duplicate keys of each version; None without a key
    counts: str
    rows: str
    """Returns one row per difference: `change` (added, removed, changed), and with a key the structs `key`,
    `before` and `after`; without a key the struct `row`, and the number of such `rows`."""
    compared: Sequence[str]  # columns, without the key


def diff_plan(name: DatasetName, old: DatasetVersion, new: DatasetVersion, key: Sequence[str]) -> DiffPlan:
    """The SQL for a comparison by `key`, or as multisets if it is empty.

    Raises:
        InvalidRequest: the key is not a column of both versions.
    """
    columns = list(_common(old.schema, new.schema))
    by_key = {column.name.lower(): column for column in columns}
    missing = [column for column in key if column.lower() not in by_key]
    if missing:
        raise InvalidRequest(
            f"'{missing[0][:100]}' is no column of both versions of '{name}'; they share"
            f" {', '.join(column.name for column in columns[:20]) or 'none'}",
            key=list(key),
        )
    keys = [by_key[column] for column in dict.fromkeys(column.lower() for column in key)]
    rest = [column for column in columns if column not in keys]
    tables = [f"datasets.{quoted(f'{name}@v{version.ref.version}')}" for version in (old, new)]
    counts, rows = _by_key(tables, keys, rest) if keys else _as_multisets(tables, columns)
    return DiffPlan(
        before=old,
        after=new,
        key=[column.name for column in keys],
        columns=_schema_changes(old.schema, new.schema),
        duplicates=_duplicates(tables, keys) if keys else None,
        counts=counts,
        rows=rows,
        compared=[column.name for column in rest],
    )


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of both versions, with the expressions that make its values comparable."""

    name: str
    expressions: tuple[str, str]  # in the older version, in the newer one


def _common(old: pa.Schema, new: pa.Schema) -> Iterator[_Column]:
    there = {field.name.lower(): field for field in old}
    for field in new:
        past = there.get(field.name.lower())
        if past is not None:
            form = "{}" if _comparable(past.type, field.type) else "CAST({} AS VARCHAR)"
            yield _Column(field.name, (form.format(quoted(past.name)), form.format(quoted(field.name))))


def _comparable(one: pa.DataType, other: pa.DataType) -> bool:
    return one == other or (is_number(one) and is_number(other))


def _schema_changes(old: pa.Schema, new: pa.Schema) -> SchemaChanges:
    past = {field.name.lower(): field for field in old}
    now = {field.name.lower(): field for field in new}
    return SchemaChanges(
        added=[field for key, field in now.items() if key not in past],
        removed=[field for key, field in past.items() if key not in now],
        retyped=[
            RetypedColumn(field.name, str(past[key].type), str(field.type))
            for key, field in now.items()
            if key in past and past[key].type != field.type
        ],
    )


def _duplicates(tables: Sequence[str], keys: Sequence[_Column]) -> str:
    return " UNION ALL ".join(
        f"SELECT {place} AS place, count(*) AS twice FROM (SELECT 1 FROM {table}"
        f" GROUP BY {', '.join(column.expressions[place] for column in keys)} HAVING count(*) > 1)"
        for place, table in enumerate(tables)
    ).join(("SELECT twice FROM (", ") ORDER BY place"))


def _by_key(tables: Sequence[str], keys: Sequence[_Column], rest: Sequence[_Column]) -> tuple[str, str]:
    sides = []
    for place, table in enumerate(tables):
        named = [f"{column.expressions[place]} AS k{number}" for number, column in enumerate(keys)]
        named += [f"{column.expressions[place]} AS c{number}" for number, column in enumerate(rest)]
        sides.append(f"(SELECT {', '.join(named)}, true AS here FROM {table})")
    on = " AND ".join(f"a.k{number} IS NOT DISTINCT FROM b.k{number}" for number in range(len(keys)))
    joined = f"{sides[0]} AS a FULL JOIN {sides[1]} AS b ON {on}"
    differ = [f"a.c{number} IS DISTINCT FROM b.c{number}" for number in range(len(rest))]
    both = "(a.here AND b.here)"
    changed = f"({both} AND ({' OR '.join(differ) or 'false'}))"
    counts = ", ".join(
        [
            "count(*) FILTER (WHERE a.here IS NULL) AS added",
            "count(*) FILTER (WHERE b.here IS NULL) AS removed",
            f"count(*) FILTER (WHERE {both}) AS both",
            f"count(*) FILTER (WHERE {changed}) AS changed",
            *(f"count(*) FILTER (WHERE {both} AND {one}) AS c{place}" for place, one in enumerate(differ)),
        ]
    )
    key = _struct((column.name, f"coalesce(a.k{n}, b.k{n})") for n, column in enumerate(keys))
    before = _struct((column.name, f"a.c{n}") for n, column in enumerate(rest))
    after = _struct((column.name, f"b.c{n}") for n, column in enumerate(rest))
    rows = (
        "SELECT CASE WHEN a.here IS NULL THEN 'added' WHEN b.here IS NULL THEN 'removed' ELSE 'changed' END"
        f" AS change, {key} AS key, CASE WHEN a.here THEN {before} END AS before,"
        f" CASE WHEN b.here THEN {after} END AS after FROM {joined}"
        f" WHERE a.here IS NULL OR b.here IS NULL OR {changed}"
    )
    return f"SELECT {counts} FROM {joined}", rows


def _as_multisets(tables: Sequence[str], columns: Sequence[_Column]) -> tuple[str, str]:
    sides = []
    for place, (table, sign) in enumerate(zip(tables, ("-1", "1"), strict=True)):
        named = [f"{column.expressions[place]} AS c{number}" for number, column in enumerate(columns)]
        sides.append(f"SELECT {', '.join([*named, f'{sign} AS n'])} FROM {table}")
    group = ", ".join(f"c{number}" for number in range(len(columns)))
    totals = (
        f"SELECT {group}{', ' if group else ''}CAST(sum(n) AS BIGINT) AS n"
        f" FROM ({' UNION ALL '.join(sides)}) {f'GROUP BY {group}' if group else ''} HAVING sum(n) <> 0"
    )
    counts = (
        "SELECT CAST(coalesce(sum(n) FILTER (WHERE n > 0), 0) AS BIGINT) AS added,"
        f" CAST(coalesce(-sum(n) FILTER (WHERE n < 0), 0) AS BIGINT) AS removed FROM ({totals})"
    )
    row = _struct((column.name, f"c{number}") for number, column in enumerate(columns))
    rows = (
        f"SELECT CASE WHEN n > 0 THEN 'added' ELSE 'removed' END AS change, abs(n) AS rows, {row} AS row"
        f" FROM ({totals})"
    )
    return counts, rows


def _struct(fields: Iterable[tuple[str, str]]) -> str:
    made = ", ".join(f"{quoted(name)} := {expression}" for name, expression in fields)
    return f"struct_pack({made})" if made else "NULL"
