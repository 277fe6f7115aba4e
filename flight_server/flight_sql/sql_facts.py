"""What this server and its SQL can do, by the code that GetSqlInfo has for it.

The SQL is DuckDB's. What follows from its version (words, functions, casts) is asked of the engine;
the rest is written down here.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import pyarrow as pa

from flight_core.application.ports.metadata import SqlVocabulary


class Kind(IntEnum):
    """The child of the union that holds a value."""

    TEXT = 0
    FLAG = 1
    LIMIT = 2  # 64 bits; 0 says that there is none, or none that is known
    NUMBER = 3  # 32 bits: of an enumeration, a set of bits, or milliseconds
    WORDS = 4
    CASTS = 5


class Info(NamedTuple):
    kind: Kind
    value: object


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What differs from server to server, and from caller to caller."""

    version: str
    vocabulary: SqlVocabulary
    read_only: bool
    transaction_timeout_s: float
    max_sessions: int
    max_prepared_statements: int


def text(value: str) -> Info:
    return Info(Kind.TEXT, value)


def flag(value: bool) -> Info:
    return Info(Kind.FLAG, value)


def limit(value: int) -> Info:
    return Info(Kind.LIMIT, value)


def number(value: int) -> Info:
    return Info(Kind.NUMBER, value)


def bits(*places: int) -> Info:
    return Info(Kind.NUMBER, sum(1 << place for place in places))


def words(values: tuple[str, ...]) -> Info:
    return Info(Kind.WORDS, list(values))


def infos(facts: ServerFacts) -> dict[int, Info]:
    """Every code there is."""
    return {**_server(facts), **_language(facts.vocabulary), **_limits(facts), **_SYNTAX, **_TRANSACTIONS}


def _server(facts: ServerFacts) -> dict[int, Info]:
    return {
        0: text("Skein"),
        1: text(f"{facts.vocabulary.version} (skein {facts.version})"),  # tools look for "duckdb " in front
        2: text(pa.__version__),
        3: flag(facts.read_only),
        4: flag(True),  # SQL
        5: flag(False),  # Substrait, and the versions of it
        6: text(""),
        7: text(""),
        8: number(1),  # transactions, without savepoints
        9: flag(True),  # cancellation
        10: flag(True),  # bulk ingestion
        11: flag(True),  # and within transactions
        100: number(0),  # statements have all the time they need
        101: number(int(facts.transaction_timeout_s * 1000)),
    }


def _language(vocabulary: SqlVocabulary) -> dict[int, Info]:
    return {
        508: words(vocabulary.keywords),
        509: words(vocabulary.numeric_functions),
        510: words(vocabulary.string_functions),
        511: words(vocabulary.system_functions),
        512: words(vocabulary.datetime_functions),
        517: Info(Kind.CASTS, _casts(vocabulary)),
    }


# DuckDB's types under the numbers that code 517 has for them.
_CONVERTIBLE: dict[int, str] = {
    0: "BIGINT",
    1: "BLOB",  # BINARY
    2: "BOOLEAN",  # BIT
    3: "VARCHAR",  # CHAR
    4: "DATE",
    5: "DECIMAL",
    6: "FLOAT",
    7: "INTEGER",
    8: "INTERVAL",  # of days and time
    9: "INTERVAL",  # of years and months
    10: "BLOB",  # LONGVARBINARY
    11: "VARCHAR",  # LONGVARCHAR
    12: "DECIMAL",  # NUMERIC
    13: "FLOAT",  # REAL
    14: "SMALLINT",
    15: "TIME",
    16: "TIMESTAMP",
    17: "TINYINT",
    18: "BLOB",  # VARBINARY
    19: "VARCHAR",
}


def _casts(vocabulary: SqlVocabulary) -> list[tuple[int, list[int]]]:
    return [
        (source, [target for target, name in _CONVERTIBLE.items() if name in vocabulary.casts[source_name]])
        for source, source_name in _CONVERTIBLE.items()
    ]


def _limits(facts: ServerFacts) -> dict[int, Info]:
    unlimited: dict[int, Info] = {code: limit(0) for code in range(541, 562) if code != 556}
    return unlimited | {
        549: limit(facts.max_sessions),
        556: flag(True),  # blobs would count towards the size of a row
        558: limit(facts.max_prepared_statements),
    }


_CASE_INSENSITIVE = number(1)

_SYNTAX: dict[int, Info] = {
    500: flag(False),  # catalogs are the operator's
    501: flag(True),  # CREATE SCHEMA
    502: flag(True),  # CREATE TABLE
    503: _CASE_INSENSITIVE,
    504: text('"'),
    505: _CASE_INSENSITIVE,  # quoted, too
    506: flag(True),
    507: number(3),  # NULLS LAST, ascending or not
    513: text("\\"),
    514: text("$"),
    515: flag(True),
    516: flag(True),
    518: flag(True),
    519: flag(False),
    520: flag(True),
    521: flag(True),
    522: bits(0, 1),
    523: flag(True),
    524: flag(True),
    525: bits(0, 1, 2),
    526: bits(0),  # SQL-92: entry level
    527: flag(True),  # keys, CHECK and UNIQUE
    528: number(2),  # full outer joins
    529: text("schema"),
    530: text("macro"),
    531: text("catalog"),
    532: flag(True),  # catalog.schema.table
    533: bits(1),  # schemas and catalogs may be named in index definitions
    534: bits(1),
    535: bits(),  # no cursors to position
    536: flag(False),
    537: flag(False),
    538: bits(0, 1, 2, 3),
    539: flag(True),
    540: bits(0, 1),
}

_TRANSACTIONS: dict[int, Info] = {
    562: number(3),  # snapshot isolation, which is at least repeatable read
    563: flag(True),
    564: bits(3),
    565: flag(False),  # DDL is transactional
    566: flag(False),
    567: bits(1),  # results are read forward, once
    568: bits(),
    569: bits(1),
    570: bits(),
    571: bits(),
    572: flag(True),
    573: flag(False),  # DuckDB has no savepoints
    574: flag(True),
    575: flag(False),
    576: flag(False),
}
