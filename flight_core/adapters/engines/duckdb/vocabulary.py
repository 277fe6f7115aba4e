"""The keywords and functions of this version of DuckDB."""

import duckdb

from flight_core.application.ports.metadata import SqlVocabulary

_KEYWORDS = "SELECT DISTINCT keyword_name FROM duckdb_keywords() ORDER BY ALL"

# Functions, without operators, macros of PostgreSQL's catalog and internal functions of DuckDB.
_FUNCTIONS = r"""
    SELECT DISTINCT function_name FROM duckdb_functions()
    WHERE function_type IN ('scalar', 'macro') AND regexp_full_match(function_name, '[a-z][a-z0-9_]*')
      AND NOT starts_with(function_name, '__') AND NOT starts_with(function_name, 'pg_')
      AND NOT starts_with(function_name, 'icu_')
      AND {condition}
    ORDER BY ALL
"""
_NUMBER = "'(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*|BIGNUM)'"
_MOMENT = "'(DATE|TIME.*|INTERVAL)'"
_NUMERIC = f"""
    len(parameter_types) > 0 AND regexp_full_match(coalesce(return_type, ''), {_NUMBER})
    AND len(list_filter(parameter_types, lambda t: NOT regexp_full_match(coalesce(t, ''), {_NUMBER}))) = 0
"""
_STRING = "len(list_intersect(categories, ['string', 'regex', 'text_similarity'])) > 0"
_DATETIME = f"""
    regexp_full_match(coalesce(return_type, ''), {_MOMENT})
    OR len(list_filter(parameter_types, lambda t: regexp_full_match(coalesce(t, ''), {_MOMENT}))) > 0
"""
_SYSTEM = r"""
    regexp_full_match(function_name, 'current_(catalog|database|role|schema|schemas|setting|user)'
        || '|session_user|user|version|txid_current|in_search_path|getvariable|nextval|currval|typeof|uuid')
"""

# A value of each type: whether a cast exists is only known by trying it.
_CASTABLE = {
    "BIGINT": "1",
    "BLOB": "'a'",
    "BOOLEAN": "true",
    "DATE": "'2000-01-01'",
    "DECIMAL": "1",
    "FLOAT": "1",
    "INTEGER": "1",
    "INTERVAL": "'1 day'",
    "SMALLINT": "1",
    "TIME": "'00:00:00'",
    "TIMESTAMP": "'2000-01-01'",
    "TINYINT": "1",
    "VARCHAR": "'a'",
}


def vocabulary(cursor: duckdb.DuckDBPyConnection) -> SqlVocabulary:
    def names(sql: str) -> tuple[str, ...]:
        return tuple(name for (name,) in cursor.execute(sql).fetchall())

    def functions(condition: str) -> tuple[str, ...]:
        return names(_FUNCTIONS.format(condition=f"({condition})"))

    return SqlVocabulary(
        version=f"duckdb v{duckdb.__version__}",
        keywords=names(_KEYWORDS),
        numeric_functions=functions(_NUMERIC),
        string_functions=functions(_STRING),
        system_functions=functions(_SYSTEM),
        datetime_functions=functions(_DATETIME),
        casts={
            source: frozenset(target for target in _CASTABLE if _casts(cursor, source, target))
            for source in _CASTABLE
        },
    )


def _casts(cursor: duckdb.DuckDBPyConnection, source: str, target: str) -> bool:
    try:
        cursor.execute(f"SELECT CAST(CAST({_CASTABLE[source]} AS {source}) AS {target})").fetchall()
    except duckdb.Error as error:
        return "Unimplemented" not in str(error)  # otherwise the cast exists, but not for this value
    return True
