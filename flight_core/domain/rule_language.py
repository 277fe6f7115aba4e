"""The language of row rules: SQL conditions over the columns of one row, and nothing else.

    condition   NOT, AND, OR; = <> != < <= > >=; IS [NOT] NULL; [NOT] IN (...); [NOT] BETWEEN ... AND ...
    value       columns (`"quoted"` where they are no plain names), 1, 1.5, 'text', TRUE, FALSE, NULL,
                DATE '2026-01-31', TIMESTAMP '2026-01-31 12:00:00'; + - * / and parentheses
    functions   see `FUNCTIONS`

The logic is three-valued, as in SQL: comparing with a null is unknown, and a rule is only broken if it is
false.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from flight_core.domain.errors import InvalidContract

# The number of arguments of each function.
FUNCTIONS: Mapping[str, range] = {
    "abs": range(1, 2),
    "coalesce": range(1, 17),
    "contains": range(2, 3),
    "day": range(1, 2),
    "ends_with": range(2, 3),
    "length": range(1, 2),
    "lower": range(1, 2),
    "month": range(1, 2),
    "starts_with": range(2, 3),
    "upper": range(1, 2),
    "year": range(1, 2),
}
COMPARISONS = ("=", "<>", "!=", "<", "<=", ">", ">=")

_MAX_LENGTH = 4000
_MAX_DEPTH = 50
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")+")
      | (?P<word>[^\W\d]\w*)
      | (?P<sign><>|!=|<=|>=|[=<>+\-*/(),])
    )""",
    re.VERBOSE,
)
_WORDS = frozenset(["and", "or", "not", "is", "null", "in", "between", "true", "false"])

Scalar = bool | int | float | str | date | datetime | Decimal | None


@dataclass(frozen=True, slots=True)
class Literal:
    value: Scalar


@dataclass(frozen=True, slots=True)
class ColumnName:
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function, or an operator: `and`, `or`, `not`, `is_null`, `in`, `-` with one argument, and so on."""

    name: str
    arguments: tuple["Node", ...]


Node = Literal | ColumnName | Call


def parse_rule(text: str) -> Node:
    """
    Raises:
        InvalidContract: it is not a condition; the message has the position of the error.
    """
    if len(text) > _MAX_LENGTH:
        raise InvalidContract(f"the rule is longer than {_MAX_LENGTH} characters; make several of it")
    return _Parser(text).rule()


def columns_of(node: Node) -> Iterator[str]:
    match node:
        case ColumnName(name):
            yield name
        case Call(_, arguments):
            for argument in arguments:
                yield from columns_of(argument)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int

    @property
    def word(self) -> str:
        return self.text.lower() if self.kind in ("word", "sign") else ""


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._read())
        self._next = 0
        self._depth = 0

    def rule(self) -> Node:
        node = self._condition()
        if self._peek().kind != "end":
            raise self._unexpected("AND, OR, or the end of the rule")
        return node

    def _read(self) -> Iterator[_Token]:
        place = 0
        rest = self._text.rstrip()
        while place < len(rest):
            match = _TOKEN.match(rest, place)
            if match is None or match.lastgroup is None:
                raise self._failure("there is something that is not part of the language", place)
            yield _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup))
            place = match.end()
        yield _Token("end", "", len(rest))

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *words: str) -> bool:
        if self._peek().word in words and self._peek().word:
            self._next += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise self._unexpected(f"'{word.upper()}'")

    def _condition(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._failure("it is nested too deeply", self._peek().place)
        node = self._conjunction()
        while self._take("or"):
            node = Call("or", (node, self._conjunction()))
        self._depth -= 1
        return node

    def _conjunction(self) -> Node:
        node = self._negation()
        while self._take("and"):
            node = Call("and", (node, self._negation()))
        return node

    def _negation(self) -> Node:
        negations = 0
        while self._take("not"):
            negations += 1
        node = self._comparison()
        return Call("not", (node,)) if negations % 2 else node

    def _comparison(self) -> Node:
        left = self._sum()
        sign = self._peek().word
        if sign in COMPARISONS:
            self._next += 1
            return Call("<>" if sign == "!=" else sign, (left, self._sum()))
        if self._take("is"):
            negated = self._take("not")
            self._expect("null")
            return _negated(Call("is_null", (left,)), negated=negated)
        negated = self._take("not")
        if self._take("in"):
            self._expect("(")
            return _negated(Call("in", (left, *self._arguments())), negated=negated)
        if self._take("between"):
            low = self._sum()
            self._expect("and")
            both = Call("and", (Call(">=", (left, low)), Call("<=", (left, self._sum()))))
            return _negated(both, negated=negated)
        if negated:
            raise self._unexpected("'IN' or 'BETWEEN'")
        return left

    def _sum(self) -> Node:
        node = self._product()
        while (sign := self._peek().word) in ("+", "-"):
            self._next += 1
            node = Call(sign, (node, self._product()))
        return node

    def _product(self) -> Node:
        node = self._signed()
        while (sign := self._peek().word) in ("*", "/"):
            self._next += 1
            node = Call(sign, (node, self._signed()))
        return node

    def _signed(self) -> Node:
        if not self._take("-"):
            return self._value()
        node = self._value()
        if isinstance(node, Literal) and isinstance(node.value, int | float | Decimal):
            return Literal(-node.value)
        return Call("-", (node,))

    def _value(self) -> Node:
        token = self._peek()
        if self._take("("):
            node = self._condition()
            self._expect(")")
            return node
        self._next += 1
        match token.kind:
            case "number":
                return Literal(_number(token.text))
            case "text":
                return Literal(token.text[1:-1].replace("''", "'"))
            case "quoted":
                return ColumnName(token.text[1:-1].replace('""', '"'))
            case "word":
                return self._word(token)
        self._next -= 1
        raise self._unexpected("a value")

    def _word(self, token: _Token) -> Node:
        word = token.word
        if word in ("true", "false", "null"):
            return Literal({"true": True, "false": False, "null": None}[word])
        if word in ("date", "timestamp") and self._peek().kind == "text":
            return self._moment(word)
        if self._take("("):
            return self._function(token)
        if word in _WORDS:
            self._next -= 1
            raise self._unexpected("a value")
        return ColumnName(token.text)

    def _moment(self, kind: str) -> Node:
        token = self._peek()
        self._next += 1
        read = date.fromisoformat if kind == "date" else datetime.fromisoformat
        try:
            return Literal(read(token.text[1:-1]))
        except ValueError:
            raise self._failure(f"{token.text} is no {kind}; write it in ISO 8601", token.place) from None

    def _function(self, token: _Token) -> Node:
        name = token.word
        if name not in FUNCTIONS:
            known = ", ".join(FUNCTIONS)
            raise self._failure(f"there is no function '{token.text}'; there are: {known}", token.place)
        arguments = self._arguments()
        if len(arguments) not in FUNCTIONS[name]:
            raise self._failure(f"'{name}' takes another number of arguments", token.place)
        return Call(name, arguments)

    def _arguments(self) -> tuple[Node, ...]:
        arguments = [self._condition()]
        while self._take(","):
            arguments.append(self._condition())
        self._expect(")")
        return tuple(arguments)

    def _unexpected(self, wanted: str) -> InvalidContract:
        token = self._peek()
        found = f"'{token.text[:40]}'" if token.text else "the end"
        return self._failure(f"there is {found} where {wanted} is expected", token.place)

    def _failure(self, what: str, place: int) -> InvalidContract:
        return InvalidContract(
            f"the rule {self._text[:200]!r} is not a condition: at character {place + 1} {what}",
            rule=self._text[:200],
            place=place + 1,
        )


def _negated(node: Node, *, negated: bool) -> Node:
    return Call("not", (node,)) if negated else node


def _number(text: str) -> int | float | Decimal:
    if text.isdecimal():
        return int(text)
    return float(text) if "e" in text.lower() else Decimal(text)
