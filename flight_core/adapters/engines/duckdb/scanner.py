"""Walking the words of a statement that DuckDB has parsed, to take it apart."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import eq

from flight_core.adapters.engines.duckdb.statements import byte_tokens
from flight_core.adapters.engines.duckdb.targets import BEFORE_COMMON_TABLE
from flight_core.domain.dataset import LAKE, LAKE_SCHEMA
from flight_core.domain.errors import StatementNotAllowed

_CLOSING = {"(": ")", "[": "]", "{": "}", "case": "end"}
_BRACKETS = (")", "]", "}")
# Stands before a piece, with its line and column in the statement; after it with zeros. No SQL has a NUL.
_MARK = "\x00{}:{}\x00"
_MARKED = re.compile("\x00([0-9]+):([0-9]+)\x00")


@dataclass(frozen=True, slots=True)
class _Word:
    start: int  # first byte in the text
    text: str
    depth: int  # of brackets, and CASE ... END, around it

    @property
    def lower(self) -> str:
        return self.text.lower()


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a statement. Formatted, it stands on lines of its own."""

    text: str
    line: int
    column: int

    def __str__(self) -> str:
        if not self.text:
            return ""
        return f"\n{_MARK.format(self.line, self.column)}{self.text}\n{_MARK.format(0, 0)}"


def with_lines(sql: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """SQL that holds pieces, ready to run, and where its lines are, as in `DatasetStatement`."""
    lines, places = [], []
    place = (0, 0)
    for line in sql.split("\n"):
        if marked := _MARKED.match(line):
            place = (int(marked[1]), int(marked[2]))
        elif place[0]:
            place = (place[0] + 1, 0)
        places.append(place)
        lines.append(_MARKED.sub("", line))
    return "\n".join(lines), tuple(places)


class Scanner:
    """Walks the words of a statement. Positions are bytes, as DuckDB counts."""

    def __init__(self, sql: str) -> None:
        self._encoded = bytearray(sql.encode())
        self._words: list[_Word] = []
        around: list[str] = []
        before = ""
        for start, token, kind in byte_tokens(sql):
            if kind == "comment":
                continue
            text = token.strip()
            word = "" if before == "." else text.lower()  # x.end is none of its own
            _close(around, word)
            self._words.append(_Word(start, text, len(around)))
            if word in _CLOSING:
                around.append(word)
            before = text
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

    def skip_to(self, verb: str) -> Piece:
        """The WITH before the `verb` of the statement; steps over both."""
        place = next(
            place
            for place, (before, word) in enumerate(pairwise((_Word(0, "", 0), *self._words)))
            if word.depth == 0 and word.lower == verb and before.lower not in BEFORE_COMMON_TABLE
        )
        self._at = place + 1
        return self._piece(0, place)

    def name(self) -> list[str]:
        """`a."b c".d` as its parts."""
        parts = [_unquoted(self._words[self._at].text)]
        self._at += 1
        while self.accept("."):
            parts.append(_unquoted(self._words[self._at].text))
            self._at += 1
        return parts

    def aliased_name(self, *following: str) -> tuple[str, str]:
        """The last part of a dataset's name, and what it is called; `following` can come after it."""
        name = alias = self.name()[-1]
        if self.accept("as") or self.peek() not in ("", *following):
            alias = self.name()[-1]
        self.unqualify(LAKE, LAKE_SCHEMA, name)
        return name, alias

    def unqualify(self, catalog: str, schema: str, table: str) -> None:
        """From here on, columns of `catalog.schema.table`, and of `schema.table`, are those of `table`."""
        for qualifiers in ((catalog, schema), (schema,)):
            wanted = [word for part in (*qualifiers, table) for word in (part.lower(), ".")]
            count = 2 * len(qualifiers)
            while (place := self._find(wanted)) is not None:
                start, end = self._words[place].start, self._words[place + count].start
                self._encoded[start:end] = b" " * (end - start)
                del self._words[place : place + count]

    def _find(self, wanted: Sequence[str]) -> int | None:
        """Where these words come next, the second of which is a dot, with no dot before them."""
        words = self._words
        for place in range(self._at, len(words) - len(wanted)):
            if words[place + 1].text == "." != words[place - 1].text:
                found = (_unquoted(word.text).lower() for word in words[place : place + len(wanted)])
                if all(map(eq, wanted, found)):
                    return place
        return None

    def until(self, *words: str) -> Piece:
        """What comes before the next of `words` outside of brackets, or all that is left; steps to it. The
        FROM of IS DISTINCT FROM is another one."""
        first = self._at
        while self._at < len(self._words):
            word = self._words[self._at]
            if word.depth == 0 and word.lower in words and self._words[self._at - 1].lower != "distinct":
                break
            self._at += 1
        return self._piece(first, self._at)

    def assigned(self, *following: str) -> list[tuple[str, Piece]]:
        """`a = 1, b = 2`: columns and values, up to one of `following`."""
        found = []
        while self.peek() not in ("", *following):
            column = self.name()
            if not self.accept("=") or self.peek() == "default":
                raise StatementNotAllowed(
                    "UPDATE of a dataset takes SET column = value, column = value, ..., without DEFAULT"
                )
            found.append((column[-1], self.until(",", *following)))
            self.accept(",")
        return found

    def before_last(self, *words: str, ahead_of: str) -> Piece:
        """What comes before the last of `words` that comes ahead of the next `ahead_of`; steps to it."""
        outside = [place for place in range(self._at, len(self._words)) if self._words[place].depth == 0]
        end = next(place for place in outside if self._words[place].lower == ahead_of)
        first = self._at
        self._at = max(place for place in outside if place < end and self._words[place].lower in words)
        return self._piece(first, self._at)

    def listed(self) -> list[Piece]:
        """The expressions in the parentheses that come next."""
        depth = self._words[self._at].depth + 1
        found = []
        while not self.accept(")"):
            self._at += 1
            first = self._at
            while self._words[self._at].depth >= depth and not (
                self._words[self._at].depth == depth and self.peek() == ","
            ):
                self._at += 1
            found.append(self._piece(first, self._at))
        return [each for each in found if each.text]

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

    def rest(self) -> Piece:
        return self._piece(self._at, len(self._words))

    def words_left(self) -> set[str]:
        """Those outside of parentheses, and each with the next one."""
        words = [word.lower for word in self._words[self._at :] if word.depth == 0]
        return {*words, *map(" ".join, pairwise(words))}

    def _piece(self, first: int, end: int) -> Piece:
        start = self._words[first].start if first < len(self._words) else len(self._encoded)
        before = self._encoded[:start].decode()
        column = len(before.rpartition("\n")[2])
        return Piece(self._text(first, end), before.count("\n") + 1, column)

    def _text(self, first: int, end: int) -> str:
        if first >= end:
            return ""
        stop = self._words[end].start if end < len(self._words) else len(self._encoded)
        return self._encoded[self._words[first].start : stop].decode().strip()


def _close(around: list[str], word: str) -> None:
    """Take off what `word` closes. A CASE or END within brackets that is no such word ends with them."""
    if word == "end" and around[-1:] == ["case"]:
        around.pop()
    elif word in _BRACKETS:
        while around and _CLOSING[around.pop()] != word:
            pass


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text
