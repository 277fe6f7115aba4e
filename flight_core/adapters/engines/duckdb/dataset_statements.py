"""INSERT, UPDATE, DELETE, CREATE TABLE and DROP TABLE of datasets, taken apart.

Datasets are views that only Skein writes. A statement aimed at one is split into the dataset's name
and a SELECT for the rows; DuckDB runs that, and casts the values as an INSERT would.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import duckdb
from duckdb import StatementType
from duckdb.sqltypes import DuckDBPyType

from flight_core.adapters.engines.duckdb.statements import ParsedStatement, byte_tokens
from flight_core.adapters.engines.duckdb.types import identifier
from flight_core.domain.dataset import LAKE, LAKE_SCHEMA, DatasetName
from flight_core.domain.errors import InvalidSql, StatementNotAllowed
from flight_core.domain.query import PLACE_COLUMNS, DatasetStatement, DatasetVerb

# The view in which DELETE and UPDATE look for rows: the dataset as it is, and where each row is.
PLACED = "temp.main.__skein_placed"

_SHAPE = "__skein_shape"
_REFUSED = {"on conflict", "returning", "default"}
_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")


@dataclass(frozen=True, slots=True)
class _Word:
    start: int  # first byte in the text
    text: str
    depth: int  # of brackets around it

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
            depth -= word in _CLOSING
            self._words.append(_Word(start, word, depth))
            depth += word in _OPENING
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
        """The text before the next `word` outside of brackets, as lines of their own; steps over it."""
        text = self._until(word)
        if not self.accept(word):
            raise InvalidSql(f"{word.upper()} is missing")
        return text and text + "\n"

    def name(self) -> list[str]:
        """`a."b c".d` as its parts."""
        parts = [_unquoted(self._words[self._at].text)]
        self._at += 1
        while self.accept("."):
            parts.append(_unquoted(self._words[self._at].text))
            self._at += 1
        return parts

    def aliased_name(self, *following: str) -> tuple[str, str]:
        """The last part of a name, and what it is called; `following` can come after it."""
        name = alias = self.name()[-1]
        if self.accept("as") or self.peek() not in ("", *following):
            alias = self.name()[-1]
        return name, alias

    def assignments(self) -> tuple[list[str], str, str, str]:
        """`a = 1, b = 2 FROM others WHERE condition`: the columns; the others; all of it but for these, with
        `:` for the signs between columns and values; the condition."""
        start = self._words[self._at].start
        text = bytearray(self._encoded[start:])
        columns = []
        while self.peek() not in ("", "from", "where"):
            columns += self.name()
            if self.peek() != "=" or self._words[self._at + 1].lower == "default":
                raise StatementNotAllowed(
                    "UPDATE of a dataset takes SET column = value, column = value, ..., without DEFAULT"
                )
            text[self._words[self._at].start - start] = ord(":")
            self._until(",", "from", "where")
            self.accept(",")
        others = ""
        if self.peek() == "from":
            first = self._words[self._at].start - start
            self._at += 1
            others = self._until("where")
            end = self._words[self._at].start - start if self.peek() else len(text)
            text[first:end] = bytes(each if each == ord("\n") else ord(" ") for each in text[first:end])
        self.accept("where")
        return columns, others, text.decode().rstrip(), self.rest()

    def _until(self, *words: str) -> str:
        """The text before the next of `words` outside of brackets, or all that is left; steps to it. The FROM
        of IS DISTINCT FROM is another one."""
        first = self._at
        while self._at < len(self._words):
            word = self._words[self._at]
            if word.depth == 0 and word.lower in words and self._words[self._at - 1].lower != "distinct":
                break
            self._at += 1
        return self._text(first, self._at)

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
        case StatementType.UPDATE:
            return _update(scanner, connection)
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
        source = f"SELECT * FROM (\n{scanner.place()}{scanner.rest()}\n) AS __rows{aliases}"
    else:
        source = _empty(connection, columns or "")
    return DatasetStatement(DatasetVerb.CREATE, DatasetName(name[-1]), source, replace, lenient, head_lines=1)


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
    dataset = DatasetName(scanner.name()[-1])
    columns = scanner.names_in_parentheses()
    by_name = scanner.accept("by", "name")
    scanner.accept("by", "position")
    if refused := _REFUSED & scanner.words_left():
        raise StatementNotAllowed(
            f"INSERT into a dataset cannot have {min(refused).upper()}; datasets have no keys and no defaults"
        )
    place, rows = scanner.place(), scanner.rest()
    if by_name:
        columns = connection.sql(f"{prefix}{rows}").columns
    filled = _columns(connection, dataset, columns)
    names = ", ".join(identifier(column) for column, _ in filled)
    head = f"SELECT * REPLACE ({_casts(filled)}) FROM ({prefix}"
    return DatasetStatement(
        DatasetVerb.INSERT,
        dataset,
        f"{head}\n{place}{rows}\n) AS __rows({names})",
        columns=tuple(column for column, _ in filled),
        head_lines=_lines(head),
    )


def _delete(scanner: _Scanner) -> DatasetStatement:
    """The rows are looked up in the view PLACED. The condition is where it was, but some lines further
    down."""
    prefix = ""
    if scanner.accept("truncate"):
        scanner.accept("table")
    else:
        prefix = scanner.skip_to("delete")
        scanner.accept("from")
    name, alias = scanner.aliased_name("where", "using", "returning")
    if refused := {"using", "returning"} & scanner.words_left():
        raise StatementNotAllowed(
            f"DELETE from a dataset cannot have {min(refused).upper()}; write a condition with a subquery,"
            " such as WHERE id IN (SELECT id FROM other)"
        )
    scanner.accept("where")
    place, condition = scanner.place(), scanner.rest() or "true"
    head = f"{prefix}SELECT {', '.join(PLACE_COLUMNS)} FROM {PLACED} AS {identifier(alias)} WHERE ("
    return DatasetStatement(
        DatasetVerb.DELETE,
        DatasetName(name),
        f"{head}\n{place}{condition}\n)",
        condition=condition.removeprefix("(\n").removesuffix("\n)"),
        head_lines=_lines(head),
    )


def _update(scanner: _Scanner, connection: duckdb.DuckDBPyConnection) -> DatasetStatement:
    """`UPDATE x SET a = b WHERE c` is `FROM x SELECT a : b WHERE c`, cast to the types of the columns. Values
    and condition are where they were, but some lines further down."""
    prefix = scanner.skip_to("update")
    name, alias = scanner.aliased_name("set")
    if "returning" in scanner.words_left():
        raise StatementNotAllowed(
            "UPDATE of a dataset cannot have RETURNING; change the rows first, and SELECT them then"
        )
    scanner.accept("set")
    place = scanner.place()
    columns, others, values, condition = scanner.assignments()
    dataset = DatasetName(name)
    changed = _columns(connection, dataset, columns)
    names = ", ".join(identifier(column) for column, _ in changed)
    rows = f"{PLACED} AS {identifier(alias)}{others and f', {others}'}"
    head = (
        f"{prefix}SELECT * REPLACE ({_casts(changed)}) FROM ("
        f"FROM {rows}\nSELECT {identifier(alias)}.* EXCLUDE ({names}),"
    )
    return DatasetStatement(
        DatasetVerb.UPDATE,
        dataset,
        f"{head}\n{place}{values}\n)",
        condition=condition,
        columns=tuple(column for column, _ in changed),
        head_lines=_lines(head),
    )


def _lines(text: str) -> int:
    return text.count("\n") + 1


def _columns(
    connection: duckdb.DuckDBPyConnection, dataset: DatasetName, wanted: Sequence[str] | None = None
) -> list[tuple[str, DuckDBPyType]]:
    """Names and types of the columns wanted, as the dataset has them; None: of all."""
    table = connection.sql(f"FROM {LAKE}.{LAKE_SCHEMA}.{identifier(dataset.value)}")
    known = {name.lower(): (name, type_) for name, type_ in zip(table.columns, table.types, strict=True)}
    keys = [*known] if wanted is None else [name.lower() for name in wanted]
    for key in keys:
        if key not in known:
            raise InvalidSql(f"dataset '{dataset}' has no column '{key[:100]}'")
        if keys.count(key) > 1:
            raise InvalidSql(f"the column '{key[:100]}' is named twice; name it once")
    return [known[key] for key in keys]


def _casts(columns: Sequence[tuple[str, DuckDBPyType]]) -> str:
    """As INSERT and UPDATE cast values."""
    return ", ".join(f"CAST({identifier(name)} AS {type_}) AS {identifier(name)}" for name, type_ in columns)


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text
