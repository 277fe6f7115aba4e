"""Finding the object that a statement changes: the table of an INSERT, the view of a DROP VIEW, and so on.

Datasets are views that only Skein itself may change, so statements that would change one must be recognised
before they run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from duckdb import StatementType

from flight_core.adapters.engines.duckdb.statements import ParsedStatement, TableName, Token
from flight_core.adapters.engines.duckdb.types import identifier
from flight_core.domain.dataset import LAKE, LAKE_SCHEMA
from flight_core.domain.system import SYSTEM
from flight_core.infrastructure.duckdb_pool import LAKE_VERSIONS

_LAKES = (LAKE, LAKE_VERSIONS)
_DDL = {"create", "drop", "alter", "comment"}
_DML = {"insert": "into", "merge": "into", "delete": "from", "update": "", "truncate": ""}
BEFORE_COMMON_TABLE = ("with", "recursive", ",")  # whose name may be a verb
_NOISE = {
    "or",
    "replace",
    "temp",
    "temporary",
    "unique",
    "recursive",
    "on",
    "if",
    "not",
    "exists",
    "table",
    "only",
}


_DML_TYPES = {
    StatementType.INSERT,
    StatementType.UPDATE,
    StatementType.DELETE,
    StatementType.MERGE_INTO,
}
_SILENT_TYPES = {
    StatementType.ALTER,
    StatementType.ATTACH,
    StatementType.CREATE,
    StatementType.CREATE_FUNC,
    StatementType.DETACH,
    StatementType.DROP,
    StatementType.PREPARE,
    StatementType.SET,
    StatementType.TRANSACTION,
    StatementType.VACUUM,
    StatementType.VARIABLE_SET,
}
_NAMED_WITHIN = 32  # words after the verb


@dataclass(frozen=True, slots=True)
class Target:
    """`verb` and `kind` are in lower case, such as `create` and `table`. The kind of DML is `table`."""

    verb: str
    kind: str
    name: TableName
    temporary: bool = False


def target(statement: ParsedStatement) -> Target | None:
    """The object that a statement changes; None if it names none."""
    tokens = statement.tokens
    start = _main_verb(tokens)
    if start is None:
        return None
    verb, rest = tokens[start].word, tokens[start + 1 : start + _NAMED_WITHIN]
    words = [token.word for token in rest]
    return _ddl(verb, words, rest) if verb in _DDL else _dml(verb, words, rest)


def in_lake(name: TableName, here: TableName) -> bool:
    """Whether a name refers to the schema of datasets. `here` are the current catalog and schema, which
    unqualified names refer to."""
    catalog, schema = name.catalog.lower(), name.schema.lower()
    if catalog:
        return catalog in _LAKES
    if schema:
        return schema in (*_LAKES, LAKE_SCHEMA)
    return here.catalog in _LAKES and here.schema == LAKE_SCHEMA


def in_system(name: TableName, here: TableName) -> bool:
    """Whether a name refers to the system tables, or to a schema that would hide them."""
    place = name if name.catalog or name.schema else here
    return SYSTEM in (place.catalog.lower(), place.schema.lower())


def returning(statement: ParsedStatement) -> str | None:
    """A SELECT with the same columns as the statement's RETURNING; None if it has none."""
    tokens = statement.tokens
    words = [token.word for token in tokens]
    changed = target(statement)
    if changed is None or changed.verb not in _DML or "returning" not in words:
        return None
    start = len(words) - words[::-1].index("returning")
    parts = (changed.name.catalog, changed.name.schema, changed.name.name)
    name = ".".join(identifier(part) for part in parts if part)
    return f"SELECT {' '.join(token.text for token in tokens[start:])} FROM {name}"


def may_return_rows(statement: ParsedStatement) -> bool:
    """False if the statement certainly returns no rows."""
    if statement.type in _DML_TYPES:
        return _has_returning(statement)
    return statement.type not in _SILENT_TYPES


def counts_rows(statement: ParsedStatement) -> bool:
    """Whether DuckDB's result is the number of changed rows."""
    if statement.type in _DML_TYPES:
        return not _has_returning(statement)
    changed = target(statement)
    return changed is not None and (changed.verb, changed.kind) == ("create", "table")


def attached_name(statement: ParsedStatement) -> str:
    """The name of the catalog that ATTACH adds or DETACH removes."""
    tokens = statement.tokens
    words = [token.word for token in tokens]
    if statement.type == StatementType.ATTACH:
        return _unquoted(tokens[words.index("as") + 1].text).lower() if "as" in words else "memory"
    return _unquoted(tokens[-1].text).lower()


def _has_returning(statement: ParsedStatement) -> bool:
    return any(token.word == "returning" for token in statement.tokens)


def _main_verb(tokens: Sequence[Token]) -> int | None:
    """The index of the main verb, which comes after a leading WITH or PREPARE ... AS."""
    depth = 0
    for index, token in enumerate(tokens):
        depth += (token.text == "(") - (token.text == ")")
        before = tokens[index - 1].word if index else ""
        if depth == 0 and (
            (token.word in _DML and before not in BEFORE_COMMON_TABLE)
            or (token.word in _DDL and before in ("", "as"))
        ):
            return index
    return None


def _ddl(verb: str, words: list[str], tokens: Sequence[Token]) -> Target | None:
    kind = ""
    for index, word in enumerate(words):
        if not kind and word not in _NOISE - {"table"}:
            kind = word
        elif kind and word not in _NOISE:
            parts = _dotted(tokens[index:])
            if kind == "column":  # COMMENT ON COLUMN changes the table
                parts.pop()
            name = _schema_name(parts) if kind == "schema" else table_name_of(parts)
            before = words[:index]
            temporary = "temp" in before or "temporary" in before or name.catalog.lower() == "temp"
            return Target(verb, kind, name, temporary=temporary)
    return None


def _dml(verb: str, words: list[str], tokens: Sequence[Token]) -> Target | None:
    marker = _DML[verb]
    start = words.index(marker) + 1 if marker in words else 0
    if start < len(words) and words[start] in ("table", "only"):
        start += 1
    parts = _dotted(tokens[start:])
    return Target(verb, "table", table_name_of(parts)) if parts else None


def _dotted(tokens: Sequence[Token]) -> list[str]:
    """The parts of a name such as `a."b c".d`."""
    parts: list[str] = []
    for index, token in enumerate(tokens):
        if index % 2 == 1:
            if token.text != ".":
                break
        elif token.kind in ("identifier", "keyword", "string_const"):
            parts.append(_unquoted(token.text))
        else:
            break
    return parts


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def table_name_of(parts: Sequence[str]) -> TableName:
    padded = ["", "", "", *parts][-3:]
    return TableName(*padded)


def _schema_name(parts: list[str]) -> TableName:
    catalog, schema = ["", "", *parts][-2:]
    return TableName(catalog, schema, "")
