"""Which statements clients may run.

The settings of DuckDB confine SQL to the lake's folder. This module also refuses to read and write files in
there by path, settings of the whole server, and statements that are hidden in others. A SELECT is checked by
its syntax tree, any other statement by its tokens.
"""

import re
from collections.abc import Sequence

from duckdb import StatementType

from flight_core.adapters.engines.duckdb.statements import Json, ParsedStatement, Parser, Token, walk
from flight_core.domain.dataset import LAKE
from flight_core.domain.errors import StatementNotAllowed
from flight_core.domain.system import SYSTEM
from flight_core.infrastructure.duckdb_pool import (
    LAKE_VERSIONS,
    RESERVED_SETTINGS,
    SESSION_SETTINGS,
    WORKSPACE,
)

_FILES = (
    "is not available to clients; ingest files, and take results as Parquet, CSV or JSON over HTTP, or with"
    " 'skein query -o FILE'"
)
_FILE_BY_NAME = "files cannot be read by name; ingest them and use the dataset"
_EXTENSIONS = "is not available to clients; json, parquet and icu are built in, and nothing else is loaded"
_TYPES = {
    StatementType.COPY: f"COPY {_FILES}",
    StatementType.EXPORT: f"EXPORT {_FILES}",
    StatementType.LOAD: f"LOAD or INSTALL {_EXTENSIONS}",
    StatementType.EXTENSION: f"INSTALL {_EXTENSIONS}",
    StatementType.COPY_DATABASE: "COPY DATABASE is not available to clients; copy table by table",
    StatementType.LOGICAL_PLAN: "a logical plan is not available to clients; send SQL",
    StatementType.RELATION: "a relation is not available to clients; send SQL",
}
_HIDDEN = {"copy", "export", "attach", "detach", "load", "install", "import"}
_OPENERS = {"(", "as", "analyze", "explain", "materialized"}

# Functions that open files or sockets, access the memory of the process, change something for everybody, or
# run SQL that is only built at run time, so that it cannot be checked here.
_FUNCTION = re.compile(
    r"read_\w+|parquet_\w+|sniff_csv|glob|st_read\w*|\w*arrow_scan\w*|pandas_scan|python_map_function|seq_scan"
    r"|query|query_table|(pragma_)?json_execute_serialized_sql|(enable|disable)_(logging|profiling|profile)"
    r"|truncate_duckdb_logs|write_log|force_checkpoint|getenv|which_secret|duckdb_secrets"
    r"|(create|destroy|register|deregister)_external_resource\w*|duckdb_external_\w+"
)
# Functions and views that reveal paths of the server, and what to use instead.
_WHERE = dict.fromkeys(("duckdb_databases", "pragma_database_list"), "; SHOW DATABASES lists the catalogs")
_WHERE |= dict.fromkeys(
    ("duckdb_settings", "duckdb_profiling_settings", "pg_settings"),
    "; current_setting('TimeZone') tells a setting of the session",
)
_WHERE["duckdb_temporary_files"] = ""
_OWN_SETTINGS = {name.lower() for name in SESSION_SETTINGS}

_READER = re.compile(r"read_|parquet_|sniff_csv|st_read")
_PRAGMAS = {
    "collations",
    "database_size",
    "functions",
    "metadata_info",
    "platform",
    "show",
    "show_databases",
    "show_tables",
    "show_tables_expanded",
    "storage_info",
    "table_info",
    "user_agent",
    "version",
}
# DuckDB's self-checks and progress bars, and LOAD of built-in extensions: scripts are full of these, and they
# make no difference here.
_IGNORED = re.compile(
    r"pragma\s+((enable|disable)_(verification|progress_bar|print_progress_bar|object_cache)"
    r"|(disable_)?verify_(external|parallelism|serializer|fetch_row))|load\s+'?(json|parquet|icu|core_functions)'?",
    re.IGNORECASE,
)
_NO_OPERATION = "SET VARIABLE __skein_ignored = NULL"
_BEFORE_KIND = {"or", "replace", "temp", "temporary", "persistent"}  # words between CREATE and what is made
_EXPLAIN = re.compile(r"\s*explain(?:\s+analyze)?(?:\s*\([^()]*\))?\s+", re.IGNORECASE)


def approve(statement: ParsedStatement, parser: Parser) -> ParsedStatement:
    """The statement, changed if necessary so that it only affects its own session.

    Raises:
        StatementNotAllowed
    """
    if statement.tree is not None:
        _check_tree(statement)
        return statement
    if _is_ignored(statement):
        return _rewritten(statement, r"(?s).*", _NO_OPERATION)
    refusal = _TYPES.get(statement.type)
    if refusal:
        raise StatementNotAllowed(refusal)
    if statement.type == StatementType.EXPLAIN:
        return _explained(statement, parser)
    _check_tokens(statement)
    if statement.type == StatementType.SET:
        return _session_setting(statement)
    return statement


def _is_ignored(statement: ParsedStatement) -> bool:
    kinds = (StatementType.PRAGMA, StatementType.LOAD)
    return statement.type in kinds and _IGNORED.fullmatch(statement.sql) is not None


def _check_tree(statement: ParsedStatement) -> None:
    if "COPY_QUERY_NODE" in statement.nodes:
        raise StatementNotAllowed(f"COPY {_FILES}")
    for function in statement.functions:
        _check_function(function)
    if statement.tree is not None and "current_setting" in statement.functions:
        _check_settings(statement.tree)
    for table in statement.tables:
        _check_place(table.name)
        if not table.schema and ("/" in table.name or "\\" in table.name or ":" in table.name.split("@")[0]):
            raise StatementNotAllowed(_FILE_BY_NAME)


def _check_place(name: str) -> None:
    if name.lower() in _WHERE:
        raise StatementNotAllowed(f"'{name}' is not available to clients{_WHERE[name.lower()]}")


def _check_settings(tree: Json) -> None:
    for node, _ in walk(tree):
        if str(node.get("function_name")).lower() == "current_setting":
            literals = [each["expression"].get("literal", {}) for each in node.get("arguments", ())]
            _check_setting(literals[0].get("text") if len(literals) == 1 else None)


def _check_setting(name: object) -> None:
    if str(name).lower() not in _OWN_SETTINGS:
        raise StatementNotAllowed(
            "current_setting(...) takes the name of a setting of the session, such as 'TimeZone'"
        )


def _check_function(name: str) -> None:
    _check_place(name)
    if _FUNCTION.fullmatch(name):
        instead = "; ingest the file and use the dataset" if _READER.match(name) else ""
        raise StatementNotAllowed(f"the function '{name}' is not available to clients{instead}")


def _check_tokens(statement: ParsedStatement) -> None:
    tokens = statement.tokens
    words = [token.word for token in tokens]
    check = _BY_TYPE.get(statement.type)
    if check:
        check(words)
    for index, token in enumerate(tokens):
        before = words[index - 1] if index else ""
        if token.kind in ("identifier", "keyword"):
            _check_name(token.word.strip('"'), words[index + 1 : index + 4])
        elif token.kind == "string_const" and before in ("from", "join"):
            raise StatementNotAllowed(_FILE_BY_NAME)
        if before in _OPENERS and token.word in _HIDDEN and _opens_statement(tokens, index):
            raise StatementNotAllowed(f"{token.word.upper()} is not available to clients")


def _check_name(name: str, following: Sequence[str]) -> None:
    """Check a name by the words that follow it."""
    _check_place(name)
    if name == "current_setting":
        _check_setting(following[1].strip("'") if following[2:] == [")"] else None)
    if following[:1] == ["("]:
        _check_function(name)


def _opens_statement(tokens: Sequence[Token], index: int) -> bool:
    """Whether the word at `index` begins a statement; otherwise it is a column of that name."""
    if index + 1 == len(tokens):
        return False
    following = tokens[index + 1]
    return following.text == "(" or following.kind in ("identifier", "string_const")


def _check_attach(words: list[str]) -> None:
    if "':memory:'" not in words[1:6]:
        raise StatementNotAllowed("only ':memory:' can be attached")
    _check_detach(words)


def _check_detach(words: list[str]) -> None:
    taken = {word.strip('"') for word in words} & {LAKE, LAKE_VERSIONS, WORKSPACE, SYSTEM}
    if taken:
        raise StatementNotAllowed(f"the catalog '{min(taken)}' stays attached as it is; choose another name")


def _check_pragma(words: list[str]) -> None:
    name = words[1].strip('"') if len(words) > 1 else ""
    if name not in _PRAGMAS:
        raise StatementNotAllowed(f"PRAGMA {name[:60]} is not available to clients")


def _check_create(words: list[str]) -> None:
    kind = next((word for word in words[1:] if word not in _BEFORE_KIND), "")
    if kind == "secret":
        raise StatementNotAllowed("secrets are not available to clients")


_BY_TYPE = {
    StatementType.ATTACH: _check_attach,
    StatementType.DETACH: _check_detach,
    StatementType.PRAGMA: _check_pragma,
    StatementType.CREATE: _check_create,
    StatementType.DROP: _check_create,
}


def _explained(statement: ParsedStatement, parser: Parser) -> ParsedStatement:
    prefix = _EXPLAIN.match(statement.sql)
    if prefix is None:
        raise StatementNotAllowed("EXPLAIN must come first, without comments before the statement")
    (inner,) = parser.parse(statement.sql[prefix.end() :])
    approve(inner, parser)
    return ParsedStatement(
        statement.sql, statement.type, inner.kind, inner.tables, inner.functions, inner.nodes
    )


def _session_setting(statement: ParsedStatement) -> ParsedStatement:
    """SET and RESET with the scope SESSION, since without it most settings would be global."""
    words = [token.word for token in statement.tokens]
    if words[0] not in ("set", "reset", "pragma"):
        return statement  # USE
    if words[1:3] == ["time", "zone"]:
        return _rewritten(statement, r"set\s+time\s+zone\s*(=|to\b)?", "SET SESSION TimeZone = ")
    scope = words[1] if len(words) > 1 else ""
    if scope == "global":
        raise StatementNotAllowed(
            "settings of the whole server are not available to clients; leave out GLOBAL"
        )
    reserved = {word.strip('"') for word in words}.intersection(RESERVED_SETTINGS)
    if reserved:
        raise StatementNotAllowed(
            f"{min(reserved)} is a setting of the server, which is not available to clients"
        )
    if scope in ("session", "local", "variable"):
        return statement
    verb = "RESET" if words[0] == "reset" else "SET"
    return _rewritten(statement, r"\b(set|reset|pragma)\b", f"{verb} SESSION")


def _rewritten(statement: ParsedStatement, pattern: str, replacement: str) -> ParsedStatement:
    sql = re.sub(pattern, replacement, statement.sql, count=1, flags=re.IGNORECASE)
    return ParsedStatement(sql, statement.type, statement.kind, tokens=statement.tokens)
