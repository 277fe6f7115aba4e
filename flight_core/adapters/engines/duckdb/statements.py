"""What a statement is, found out from DuckDB's own parser without running it.

For a SELECT `json_serialize_sql` gives the exact syntax tree, which is walked for the tables and
functions it names, common table expressions (CTEs) understood. Other statements cannot be
serialised and are looked at as tokens.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import duckdb
from duckdb import StatementType

from flight_core.domain.dataset import LAKE, LAKE_SCHEMA
from flight_core.domain.errors import InvalidSql, StatementNotAllowed
from flight_core.domain.query import StatementKind
from flight_core.domain.system import SYSTEM, SYSTEM_SCHEMA
from flight_core.infrastructure.duckdb_pool import LAKE_VERSIONS

MAX_SQL_BYTES = 4 << 20

_WRITING_NODES = {"INSERT_QUERY_NODE", "UPDATE_QUERY_NODE", "DELETE_QUERY_NODE", "MERGE_QUERY_NODE"}
_BEFORE_TABLE = {"from", "join", "pivot", "pivot_wider", "unpivot", "pivot_longer", "table", "."}
_WRITING_FUNCTIONS = {"nextval", "setseed"}
_KINDS = {
    StatementType.INSERT: StatementKind.WRITE,
    StatementType.UPDATE: StatementKind.WRITE,
    StatementType.DELETE: StatementKind.WRITE,
    StatementType.MERGE_INTO: StatementKind.WRITE,
    StatementType.EXPLAIN: StatementKind.READ,
    StatementType.SET: StatementKind.LOCAL,
    StatementType.TRANSACTION: StatementKind.LOCAL,
    StatementType.PRAGMA: StatementKind.LOCAL,
}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TableName:
    """A table as the statement writes it; `catalog` and `schema` are empty when left out."""

    catalog: str
    schema: str
    name: str

    @property
    def may_be_dataset(self) -> bool:
        catalog, schema = self.catalog.lower(), self.schema.lower()
        if not catalog and schema == LAKE:
            return True
        return catalog in ("", LAKE, LAKE_VERSIONS) and schema in ("", LAKE_SCHEMA)

    @property
    def is_system(self) -> bool:
        return (self.catalog.lower(), self.schema.lower()) in (("", SYSTEM), (SYSTEM, SYSTEM_SCHEMA))


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    kind: str  # keyword, identifier, operator, string_const, numeric_const, comment

    @property
    def word(self) -> str:
        return self.text.lower()


@dataclass(frozen=True, slots=True)
class ParsedStatement:
    """One statement. `tree` is the syntax tree of a SELECT, else None; then there are `tokens`, without
    comments."""

    sql: str
    type: StatementType
    kind: StatementKind
    tables: frozenset[TableName] = frozenset()
    functions: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    tree: Json | None = field(default=None, compare=False, repr=False)
    tokens: tuple[Token, ...] = ()


class Parser:
    """Parses and remembers the latest few hundred texts. Thread-safe."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        # The trees of deep expressions nest several levels for each of theirs.
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))
        self.parse = lru_cache(maxsize=512)(self._parse)

    def _parse(self, sql: str) -> tuple[ParsedStatement, ...]:
        """The statements of a text, in order.

        Raises:
            InvalidSql: nothing in it, or too much.
            duckdb.Error: it is no SQL.
        """
        if len(sql) > MAX_SQL_BYTES:
            raise InvalidSql(f"the statement has {len(sql):,} characters; the limit is {MAX_SQL_BYTES:,}")
        if not sql.isascii() and any("\ud800" <= character <= "\udfff" for character in sql):
            raise InvalidSql("the statement holds half a character (a lone surrogate); send whole ones")
        if "\x00" in sql:
            raise InvalidSql(f"the statement holds a NUL character at position {sql.index(chr(0)) + 1}")
        statements = duckdb.extract_statements(sql)
        if not statements:
            raise InvalidSql("the statement is empty; send SQL, for example `SELECT 1`")
        return tuple(self._one(statement) for statement in statements)

    def _one(self, statement: duckdb.Statement) -> ParsedStatement:
        sql = _with_versions_in_place(statement.query.strip().removesuffix(";").strip())
        try:
            type_ = statement.type
        except ValueError:  # DuckDB has kinds that its Python module has no name for
            raise StatementNotAllowed("statements of this kind are not available to clients") from None
        if type_ == StatementType.SELECT:
            tree = self.tree(sql)
            if tree is not None:
                return _select(sql, tree)
        kind = _KINDS.get(type_, StatementKind.COMMAND)
        tokens = tuple(token for token in tokenize(sql) if token.kind != "comment")
        tables = frozenset(_tables_in(tokens, all_named=type_ == StatementType.MULTI))
        return ParsedStatement(sql, type_, kind, tables=tables, tokens=tokens)

    def tree(self, sql: str) -> Json | None:
        """The syntax tree of a SELECT; None for what DuckDB does not serialise."""
        ((text,),) = self._connection.cursor().execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
        try:
            reply: Json = json.loads(text)
        except RecursionError:
            raise InvalidSql("the statement nests too deeply; split it") from None
        if reply.get("error"):
            if reply.get("error_type") == "not implemented":
                return None
            raise InvalidSql(str(reply.get("error_message", "the statement cannot be parsed")))
        node: Json = reply["statements"][0]["node"]
        return node

    def text(self, tree: Json) -> str:
        """The text of a syntax tree."""
        document = json.dumps({"error": False, "statements": [{"node": tree, "named_param_map": []}]})
        ((sql,),) = self._connection.cursor().execute("SELECT json_deserialize_sql(?)", [document]).fetchall()
        return str(sql)

    def expression(self, tree: Json) -> str:
        """The text of an expression: what a column made by it is called."""
        select = self.tree("SELECT 1") or {}
        return self.text({**select, "select_list": [tree]}).removeprefix("SELECT ")

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Of a database that holds nothing but what DuckDB brings."""
        return self._connection.cursor()

    def close(self) -> None:
        self._connection.close()


def _with_versions_in_place(sql: str) -> str:
    """Views of versions have a catalog of their own, which no list tells: names say that of the datasets."""
    if "@" not in sql:
        return sql
    texts = [text for _, text, _ in byte_tokens(sql)]
    words = [text.strip().strip('"').lower() for text in texts]
    for index, word in enumerate(words):
        if "@" in word and words[max(index - 4, 0) : index] == [LAKE, ".", LAKE_SCHEMA, "."]:
            texts[index - 4] = LAKE_VERSIONS
    return "".join(texts)


def _tables_in(tokens: Sequence[Token], *, all_named: bool) -> Iterator[TableName]:
    """Identifiers that name a version; with `all_named`, also those after a word that tables follow."""
    for before, token in pairwise((Token("", "operator"), *tokens)):
        if token.kind == "identifier" and ("@" in token.text or (all_named and before.word in _BEFORE_TABLE)):
            yield TableName("", "", token.text.strip('"'))


def tokenize(sql: str) -> Iterator[Token]:
    for _, text, kind in byte_tokens(sql):
        yield Token(text.strip(), kind)


def byte_tokens(sql: str) -> list[tuple[int, str, str]]:
    """First byte, text with the white space behind it, and kind of every token."""
    encoded = sql.encode()  # DuckDB's offsets count bytes
    marks = duckdb.tokenize(sql)
    ends = [start for start, _ in marks[1:]] + [len(encoded)]
    return [
        (start, encoded[start:end].decode(errors="replace"), kind.name)
        for (start, kind), end in zip(marks, ends, strict=True)
    ]


def _select(sql: str, tree: Json) -> ParsedStatement:
    nodes, functions, tables = set(), set(), set()
    for node, scope in walk(tree):
        nodes.add(str(node.get("type")))
        name = node.get("function_name")
        if isinstance(name, str) and name:
            functions.add(name.lower())
        if node.get("type") == "BASE_TABLE" and not names_common_table(node, scope):
            tables.add(table_name(node))
    writes = nodes & _WRITING_NODES or functions & _WRITING_FUNCTIONS
    return ParsedStatement(
        sql,
        StatementType.SELECT,
        StatementKind.WRITE if writes else StatementKind.READ,
        tables=frozenset(tables),
        functions=frozenset(functions),
        nodes=frozenset(nodes),
        tree=tree,
    )


def walk(tree: Json) -> Iterator[tuple[Json, frozenset[str]]]:
    """Every node of a syntax tree with the lower-case names of the CTEs visible in it.

    Uses a stack of its own: statements may nest deeper than Python recurses.
    """
    stack: list[tuple[object, frozenset[str]]] = [(tree, frozenset())]
    while stack:
        current, scope = stack.pop()
        if isinstance(current, list):
            stack.extend((item, scope) for item in current)
        elif isinstance(current, dict):
            yield current, scope
            stack.extend(_children(current, scope))


def _children(node: Json, scope: frozenset[str]) -> Iterator[tuple[object, frozenset[str]]]:
    if node.get("type") == "RECURSIVE_CTE_NODE":
        scope |= {str(node.get("cte_name", "")).lower()}
    common = node.get("cte_map")
    entries = common.get("map", []) if isinstance(common, dict) else []
    for entry in entries:
        yield entry["value"], scope
        scope |= {str(entry["key"]).lower()}
    for key, value in node.items():
        if key != "cte_map":
            yield value, scope


def names_common_table(node: Json, scope: frozenset[str]) -> bool:
    table = table_name(node)
    return not table.catalog and not table.schema and table.name.lower() in scope


def table_name(node: Json) -> TableName:
    return TableName(
        str(node.get("catalog_name") or ""),
        str(node.get("schema_name") or ""),
        str(node.get("table_name") or ""),
    )
