"""INSERT, CREATE TABLE and DROP TABLE of datasets, taken apart.

Datasets are views that only Skein writes. A statement aimed at one is split into the dataset's name
and a SELECT for the rows; DuckDB runs that, and casts the values as an INSERT would.
"""

import re
from dataclasses import dataclass
from itertools import count, pairwise

import duckdb
from duckdb import StatementType

from flight_core.adapters.engines.duckdb.statements import ParsedStatement, byte_tokens
from flight_core.adapters.engines.duckdb.types import identifier
from flight_core.domain.dataset import LAKE, LAKE_SCHEMA, DatasetName
from flight_core.domain.errors import InvalidSql, StatementNotAllowed
from flight_core.domain.query import DatasetStatement, DatasetVerb

_PLACED = re.compile(r"__skein_placed_\d+_")
_SHAPE = "__skein_shape"
_REFUSED = {"on conflict", "returning", "default"}


@dataclass(frozen=True, slots=True)
class _Word:
    start: int  # first byte in the text
    text: str
    depth: int  # of parentheses around it

    @property
    def lower(self) -> str:
        return self.text.lower()


class _Scanner:
    """Walks the words of a statement. Positions are bytes, as DuckDB counts."""

    def __init__(self, sql: str) -> None:
        self._encoded = sql.encode()
        self._words: list[_Word] = []
        depth = 0
        for start, text, kind in byte_tokens(sql):
            if kind == "comment":
                continue
            word = text.strip()
            depth -= word == ")"
            self._words.append(_Word(start, word, depth))
            depth += word == "("
        self._at = 0

    def peek(self) -> str:
        return self._words[self._at].lower if self._at < len(self._words) else ""

    def accept(self, *words: str) -> bool:
        """Step over these words, if they come next."""
        found = [word.lower for word in self._words[self._at : self._at + len(words)]]
        if found != list(words):
            return False
        self._at += len(words)
        return True

    def skip_to(self, word: str) -> str:
        """The text before the next `word` outside of parentheses; steps over it."""
        for index in range(self._at, len(self._words)):
            if self._words[index].lower == word and self._words[index].depth == 0:
                text = self._text(self._at, index)
                self._at = index + 1
                return text
        raise InvalidSql(f"{word.upper()} is missing")

    def name(self) -> list[str]:
        """`a."b c".d` as its parts."""
        parts = [_unquoted(self._words[self._at].text)]
        self._at += 1
        while self.accept("."):
            parts.append(_unquoted(self._words[self._at].text))
            self._at += 1
        return parts

    def names_in_parentheses(self) -> list[str] | None:
        """Of columns, if such a list comes next."""
        start = self._at + 1
        if self.parenthesised() is None:
            return None
        return [_unquoted(word.text) for word in self._words[start : self._at - 1] if word.text != ","]

    def parenthesised(self) -> str | None:
        """The text inside the parentheses that come next, unless they hold a query."""
        if self.peek() != "(" or self._words[self._at + 1].lower in ("select", "values", "from", "with", "("):
            return None
        start = self._at
        depth = self._words[start].depth
        self._at += 1
        while not (self.peek() == ")" and self._words[self._at].depth == depth):
            self._at += 1
        self._at += 1
        return self._text(start + 1, self._at - 1)

    def place(self) -> str:
        """Blanks that lead as far as the next word is: as many lines down, and as far in the last one."""
        start = self._words[self._at].start if self._at < len(self._words) else len(self._encoded)
        before = self._encoded[:start].decode()
        return "\n" * before.count("\n") + " " * len(before.rpartition("\n")[2])

    def rest(self) -> str:
        return self._text(self._at, len(self._words))

    def words_left(self) -> set[str]:
        """Those outside of parentheses, and each with the next one."""
        words = [word.lower for word in self._words[self._at :] if word.depth == 0]
        return {*words, *map(" ".join, pairwise(words))}

    def _text(self, first: int, end: int) -> str:
        if first >= end:
            return ""
        stop = self._words[end].start if end < len(self._words) else len(self._encoded)
        return self._encoded[self._words[first].start : stop].decode().strip()


_numbers = count()


def placed_view(sql: str) -> str | None:
    """The name of the view that a DELETE looks for its rows in; None for other statements."""
    found = _PLACED.search(sql)
    return found and found[0]


def dataset_statement(
    parsed: ParsedStatement, connection: duckdb.DuckDBPyConnection
) -> DatasetStatement | None:
    """Of a statement that is aimed at a dataset; None if it does something else to it."""
    scanner = _Scanner(parsed.sql)
    match parsed.type:
        case StatementType.CREATE:
            return _create(scanner, connection)
        case StatementType.DROP:
            return _drop(scanner)
        case StatementType.INSERT:
            return _insert(scanner, connection)
        case StatementType.DELETE:
            return _delete(scanner)
        case _:
            return None


def _create(scanner: _Scanner, connection: duckdb.DuckDBPyConnection) -> DatasetStatement | None:
    scanner.accept("create")
    replace = scanner.accept("or", "replace")
    if not scanner.accept("table"):
        return None
    lenient = scanner.accept("if", "not", "exists")
    name = scanner.name()
    columns = scanner.parenthesised()
    if scanner.accept("as"):
        aliases = "" if columns is None else f"({columns})"
        source = f"SELECT * FROM ({scanner.rest()}) AS __rows{aliases}"
    else:
        source = _empty(connection, columns or "")
    return DatasetStatement(DatasetVerb.CREATE, DatasetName(name[-1]), source, replace, lenient)


def _empty(connection: duckdb.DuckDBPyConnection, definitions: str) -> str:
    """A SELECT of no rows with the columns that are defined."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_SHAPE} ({definitions})")
    try:
        relation = connection.sql(f"FROM temp.main.{_SHAPE}")
        columns = [
            f"CAST(NULL AS {type_}) AS {identifier(name)}"
            for name, type_ in zip(relation.columns, relation.types, strict=True)
        ]
    finally:
        connection.execute(f"DROP TABLE temp.main.{_SHAPE}")
    return f"SELECT {', '.join(columns)} WHERE false"


def _drop(scanner: _Scanner) -> DatasetStatement | None:
    scanner.accept("drop")
    if not scanner.accept("table"):
        return None
    lenient = scanner.accept("if", "exists")
    name = scanner.name()
    return DatasetStatement(DatasetVerb.DROP, DatasetName(name[-1]), lenient=lenient)


def _insert(scanner: _Scanner, connection: duckdb.DuckDBPyConnection) -> DatasetStatement | None:
    prefix = scanner.skip_to("insert")
    if not scanner.accept("into"):
        return None  # INSERT OR REPLACE, INSERT OR IGNORE: datasets have no keys
    name = scanner.name()
    columns = scanner.names_in_parentheses()
    by_name = scanner.accept("by", "name")
    scanner.accept("by", "position")
    if refused := _REFUSED & scanner.words_left():
        raise StatementNotAllowed(
            f"INSERT into a dataset cannot have {min(refused).upper()}; datasets have no keys and no defaults"
        )
    source = f"{prefix} {scanner.rest()}".strip()
    return DatasetStatement(
        DatasetVerb.INSERT, DatasetName(name[-1]), _fitted(connection, name[-1], source, columns, by_name)
    )


def _delete(scanner: _Scanner) -> DatasetStatement:
    """The rows are looked up in a `placed_view`, which shows the dataset and where each row is. The
    condition is where it was, but a line further down."""
    prefix = ""
    if scanner.accept("truncate"):
        scanner.accept("table")
    else:
        prefix = scanner.skip_to("delete")
        scanner.accept("from")
    name = scanner.name()
    alias = name[-1]
    if scanner.accept("as") or scanner.peek() not in ("", "where", "using", "returning"):
        alias = scanner.name()[-1]
    if refused := {"using", "returning"} & scanner.words_left():
        raise StatementNotAllowed(
            f"DELETE from a dataset cannot have {min(refused).upper()}; write a condition with a subquery,"
            " such as WHERE id IN (SELECT id FROM other)"
        )
    place = "\n"
    condition = "true"
    if scanner.accept("where"):
        place += scanner.place()
        condition = scanner.rest()
    view = f"__skein_placed_{next(_numbers)}_"
    source = (
        f"{prefix} SELECT __skein_file, __skein_row FROM temp.main.{view} AS {identifier(alias)}"
        f" WHERE ({place}{condition}\n)"
    )
    return DatasetStatement(
        DatasetVerb.DELETE,
        DatasetName(name[-1]),
        source.strip(),
        condition=condition.removeprefix("(\n").removesuffix("\n)"),
    )


def _fitted(
    connection: duckdb.DuckDBPyConnection,
    dataset: str,
    source: str,
    columns: list[str] | None,
    by_name: bool,
) -> str:
    """The rows of `source` under the names and with the types of the dataset's columns."""
    table = connection.sql(f"FROM {LAKE}.{LAKE_SCHEMA}.{identifier(dataset)}")
    types = {name.lower(): (name, type_) for name, type_ in zip(table.columns, table.types, strict=True)}
    wanted = connection.sql(source).columns if by_name else columns or table.columns
    for column in wanted:
        if column.lower() not in types:
            raise InvalidSql(f"dataset '{dataset}' has no column '{column[:100]}'")
    chosen = [types[column.lower()] for column in wanted]
    casts = ", ".join(f"CAST({identifier(name)} AS {type_}) AS {identifier(name)}" for name, type_ in chosen)
    names = ", ".join(identifier(name) for name, _ in chosen)
    return f"SELECT {casts} FROM ({source}) AS __rows({names})"


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text
