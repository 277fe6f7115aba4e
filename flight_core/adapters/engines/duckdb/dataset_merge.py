"""MERGE INTO a dataset, as a SELECT of the rows that change.

Target and source are joined once, and kept. Next to the join, where the names of both mean something, it is
worked out what becomes of rows that have met; what becomes of those that stand alone, where only the names of
their own side do.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import duckdb

from flight_core.adapters.engines.duckdb.dataset_columns import (
    PLACED,
    Column,
    columns_given,
    columns_named,
    columns_of,
)
from flight_core.adapters.engines.duckdb.scanner import Piece, Scanner, with_lines
from flight_core.adapters.engines.duckdb.statements import Json
from flight_core.adapters.engines.duckdb.types import identifier
from flight_core.domain.dataset import LAKE, LAKE_SCHEMA, DatasetName
from flight_core.domain.errors import InvalidSql, StatementNotAllowed
from flight_core.domain.query import KEPT_COLUMN, PLACE_COLUMNS, DatasetStatement, DatasetVerb

_PAIRS, _CHANGE, _GIVEN = "__skein_pairs", "__skein_change", "__skein_given"
_FILE, _ROW = PLACE_COLUMNS
_Value: TypeAlias = "str | Piece"

_SOURCES = ("BASE_TABLE", "SUBQUERY", "TABLE_FUNCTION")  # kinds of nodes in DuckDB's syntax tree
_ENDS = ("", "when")  # of a clause


class _Met(StrEnum):
    """What a row of the target or of the source has met."""

    BOTH = "matched"
    SOURCE = "not matched by target"
    TARGET = "not matched by source"


# By whether rows of the target, and of the source, do something alone.
_JOINS = {(False, False): "INNER", (True, False): "LEFT", (False, True): "RIGHT", (True, True): "FULL"}


@dataclass(frozen=True, slots=True)
class _Side:
    """Target or source: what the statement calls it, its columns, and what those are called meanwhile."""

    name: str
    columns: Sequence[str]
    letter: str

    def column(self, name: str) -> str:
        return f"{identifier(self.name)}.{identifier(name)}"

    def hidden(self) -> str:
        """The columns, under names that no statement uses by chance."""
        return ", ".join(f"{self.column(name)} AS {self._hidden(at)}" for at, name in enumerate(self.columns))

    def alone(self, other: str) -> str:
        """Rows without what the other side would have, under the names that they had."""
        named = ", ".join(f"{self._hidden(at)} AS {identifier(name)}" for at, name in enumerate(self.columns))
        rows = f"SELECT {_FILE}, {_ROW}, {named} FROM {_PAIRS} WHERE {other} IS NULL"
        return f"({rows}) AS {identifier(self.name)}"

    def _hidden(self, at: int) -> str:
        return f"__skein_{self.letter}{at}"


@dataclass(slots=True)
class _Merge:
    """The clauses of a statement, as branches of a CASE for each kind of rows.

    What becomes of a row is a struct: whether there is a new one, whether the old one goes, and the values of
    the new one, by number.
    """

    dataset: DatasetName
    target: _Side
    source: _Side
    filled: Sequence[Column]  # the columns of the dataset
    branches: dict[_Met, list[str]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)  # columns that get other values

    def clause(self, scanner: Scanner) -> None:
        """Read one from WHEN to the next."""
        scanner.accept("when")
        met = _met(scanner)
        condition = f"({scanner.until('then')})" if scanner.accept("and") else "true"
        scanner.accept("then")
        self.branches.setdefault(met, []).append(f"WHEN {condition} THEN {self._change(met, scanner)}")

    def _change(self, met: _Met, scanner: Scanner) -> str:
        if scanner.accept("do", "nothing"):
            return "NULL"
        if scanner.accept("delete"):
            return self._row({}, new=False)
        if scanner.accept("update"):
            stays: dict[str, _Value] = {name.lower(): self.target.column(name) for name, _ in self.filled}
            new = self._updated(met, scanner)
            self.changed += [name for name, _ in self.filled if name.lower() in new]
            return self._row({**stays, **new})
        if scanner.accept("insert"):
            return self._row(self._inserted(met, scanner), goes=False)
        scanner.accept("error")
        told = scanner.until(*_ENDS)
        more = f", ': ', {told}" if told.text else ""
        return f"error(concat('the MERGE has an ERROR for rows that are {met}'{more}))"

    def _updated(self, met: _Met, scanner: Scanner) -> dict[str, _Value]:
        if not scanner.accept("set"):
            return self._from_source(scanner, "UPDATE", met)
        if scanner.accept("*"):
            return self._by_position(self.filled, self._given(), "UPDATE")
        pairs = scanner.assigned(*_ENDS)
        names = columns_named(self.dataset, self.filled, [name for name, _ in pairs])
        return {name.lower(): value for (name, _), (_, value) in zip(names, pairs, strict=True)}

    def _inserted(self, met: _Met, scanner: Scanner) -> dict[str, _Value]:
        if scanner.peek() not in ("(", "values", "default"):
            return self._from_source(scanner, "INSERT", met)
        filled = columns_named(self.dataset, self.filled, scanner.names_in_parentheses())
        if scanner.accept("default"):
            raise _no_defaults("INSERT")
        scanner.accept("values")
        values = scanner.listed()
        if any(value.text.lower() == "default" for value in values):
            raise _no_defaults("INSERT")
        return self._by_position(filled, values, "INSERT")

    def _from_source(self, scanner: Scanner, verb: str, met: _Met) -> dict[str, _Value]:
        """All columns of the source."""
        by_name = scanner.accept("by", "name")
        scanner.accept("by", "position")
        scanner.accept("*")
        if met is _Met.TARGET:
            raise InvalidSql(f"rows {met} have no source whose columns {verb} could take; write values")
        filled = columns_named(self.dataset, self.filled, self.source.columns) if by_name else self.filled
        return self._by_position(filled, self._given(), verb)

    def _given(self) -> list[str]:
        return [self.source.column(name) for name in self.source.columns]

    def _by_position(
        self, filled: Sequence[Column], values: Sequence[_Value], verb: str
    ) -> dict[str, _Value]:
        if len(filled) != len(values):
            raise InvalidSql(
                f"{verb} of the MERGE into '{self.dataset}' fills {len(filled)} columns and has"
                f" {len(values)} values"
            )
        return {name.lower(): value for (name, _), value in zip(filled, values, strict=True)}

    def _row(self, values: Mapping[str, _Value], *, new: bool = True, goes: bool = True) -> str:
        cast = (
            f"'{at}': CAST({values.get(name.lower(), 'NULL')} AS {type_})"
            for at, (name, type_) in enumerate(self.filled)
        )
        return f"{{'new': {new}, 'goes': {goes}, {', '.join(cast)}}}"

    def select(self, prefix: Piece, source: Piece, condition: str) -> str:
        changes = [f"SELECT {_FILE}, {_ROW}, {_CHANGE} FROM {_PAIRS}"]
        for side, kind, other in ((self.source, _Met.SOURCE, _ROW), (self.target, _Met.TARGET, _GIVEN)):
            if kind in self.branches:
                changes.append(f"SELECT {_FILE}, {_ROW}, {self._case(kind)} FROM {side.alone(other)}")
        places = ", ".join(f"CASE WHEN {_CHANGE}.goes THEN {name} END AS {name}" for name in PLACE_COLUMNS)
        values = ", ".join(
            f'{_CHANGE}."{at}" AS {identifier(name)}' for at, (name, _) in enumerate(self.filled)
        )
        return (
            f"{f'{prefix},' if prefix.text else 'WITH'}"
            f" {_PAIRS} AS MATERIALIZED ({self._pairs(source, condition)})"
            f" SELECT {places}, {_CHANGE}.new AS {KEPT_COLUMN}, {values}"
            f" FROM ({' UNION ALL '.join(changes)}) AS changes WHERE {_CHANGE} IS NOT NULL"
        )

    def _pairs(self, source: Piece, condition: str) -> str:
        """Each row of a side with what it has met on the other one, or with NULL."""
        join = _JOINS[_Met.TARGET in self.branches, _Met.SOURCE in self.branches]
        row, given = self.target.column(_ROW), self.source.column(_GIVEN)
        return (
            f"SELECT {self.target.column(_FILE)}, {row}, {given},"
            f" CASE WHEN {row} IS NOT NULL AND {given} THEN {self._case(_Met.BOTH)} END AS {_CHANGE},"
            f" {self.target.hidden()}, {self.source.hidden()}"
            f" FROM {PLACED} AS {identifier(self.target.name)} {join} JOIN"
            f" (SELECT *, true AS {_GIVEN} FROM {source}) AS {identifier(self.source.name)} {condition}"
        )

    def _case(self, met: _Met) -> str:
        types = ", ".join(f'"{at}" {type_}' for at, (_, type_) in enumerate(self.filled))
        nothing = f"CAST(NULL AS STRUCT(new BOOLEAN, goes BOOLEAN, {types}))"
        branches = self.branches.get(met)
        return f"CASE {' '.join(branches)} ELSE {nothing} END" if branches else nothing


def merge(scanner: Scanner, connection: duckdb.DuckDBPyConnection) -> DatasetStatement:
    prefix = scanner.skip_to("merge")
    scanner.accept("into")
    name, alias = scanner.aliased_name("using")
    if "returning" in scanner.words_left():
        raise StatementNotAllowed(
            "MERGE into a dataset cannot have RETURNING; merge first, and SELECT the rows then"
        )
    scanner.accept("using")
    source = scanner.before_last("on", "using", ahead_of="when")
    table = _source(connection, source.text)
    scanner.unqualify(
        table.get("catalog_name") or LAKE, table.get("schema_name") or LAKE_SCHEMA, _called(table)
    )
    by_columns = scanner.peek() == "using"
    if not by_columns:
        scanner.accept("on")
    condition = scanner.until("when")
    dataset = DatasetName(name)
    filled = columns_of(connection, dataset)
    merged = _Merge(
        dataset,
        _Side(alias, [column for column, _ in filled], "t"),
        _Side(_called(table), columns_given(connection, f"{prefix.text}\nFROM {source.text}"), "s"),
        filled,
    )
    while scanner.peek() == "when":
        merged.clause(scanner)
    sql, lines = with_lines(
        merged.select(prefix, source, str(condition) if by_columns else f"ON ({condition})")
    )
    columns = tuple(merged.changed)
    return DatasetStatement(DatasetVerb.MERGE, dataset, sql, lines, condition=condition.text, columns=columns)


def _source(connection: duckdb.DuckDBPyConnection, text: str) -> Json:
    """The table that it is, in DuckDB's syntax tree."""
    ((told,),) = connection.execute("SELECT json_serialize_sql(?)", [f"FROM {text}\n"]).fetchall()
    for statement in json.loads(told).get("statements", ()):
        table: Json = statement["node"]["from_table"]
        if table["type"] in _SOURCES:
            return table
    raise StatementNotAllowed(
        "the source of a MERGE into a dataset is a table, or a query in parentheses, such as"
        " USING (SELECT ... JOIN ...) AS name"
    )


def _called(table: Json) -> str:
    function = table.get("function") or {}
    name = table["alias"] or table.get("table_name") or function.get("function_name")
    return str(name or "unnamed_subquery")


def _met(scanner: Scanner) -> _Met:
    if scanner.accept("matched"):
        return _Met.BOTH
    scanner.accept("not", "matched")
    if scanner.accept("by", "source"):
        return _Met.TARGET
    scanner.accept("by", "target")
    return _Met.SOURCE


def _no_defaults(verb: str) -> StatementNotAllowed:
    return StatementNotAllowed(f"{verb} of a dataset cannot have DEFAULT; datasets have no defaults")
