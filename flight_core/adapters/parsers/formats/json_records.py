"""Reading the records in JSON text of any size, one at a time."""

import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from typing import Any

from flight_core.domain.errors import InvalidOption, LimitExceeded, UnreadableData

MAX_RECORD_CHARACTERS = 64 << 20

_CHUNK_CHARACTERS = 1 << 20
_MAX_DIGITS = 38
_SPACE = re.compile(r"[ \t\r\n]*")

Record = dict[str, Any]
OnPath = Callable[[str], object]


class WrittenFloat(float):
    """A float that knows how it was written."""

    text: str


# How fractions in a field become text, if they are to be that.
TextOf = Callable[[str], Callable[[WrittenFloat], str] | None]


def as_written(number: WrittenFloat) -> str:
    return number.text


def all_digits(number: WrittenFloat) -> str:
    """Without an exponent, if that takes no more of them than a decimal has."""
    decimal = Decimal(number.text)
    return format(decimal, "f") if abs(decimal.adjusted()) <= _MAX_DIGITS else number.text


class _Reader:
    """A sliding window over JSON text, which moves forward value by value."""

    def __init__(self, source: io.TextIOBase, label: str, text_of: TextOf | None) -> None:
        self._source = source
        self._label = label
        self._text_of = text_of
        self._text = ""
        self._at = 0
        self._line = 1  # of the beginning of the window
        self._ended = False
        # NaN and infinities are null.
        self._decoder = json.JSONDecoder(
            parse_constant=lambda _: None, parse_float=_float if text_of is None else _written
        )

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr] # matches always
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def expect(self, *characters: str) -> str:
        found = self.peek()
        if found not in characters or not found:
            raise self._failure(f"expected {' or '.join(characters)}")
        self._at += 1
        return found

    def value(self) -> Any:
        """Decode the next value, reading more text as necessary."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise UnreadableData(f"{self._label} is nested too deeply to be a table") from None
            except json.JSONDecodeError as error:
                offset = error.pos - self._at
                if not self._more():
                    self._at += offset
                    raise self._failure(error.msg) from None
            else:
                if end < len(self._text) or not self._more():  # a number may go on in the next chunk
                    self._at = end
                    return value

    def _more(self) -> bool:
        if self._ended:
            return False
        if len(self._text) - self._at > MAX_RECORD_CHARACTERS:
            raise LimitExceeded(
                f"{self._label}, line {self.line}: a record is longer than {MAX_RECORD_CHARACTERS >> 20} MiB",
                limit=MAX_RECORD_CHARACTERS,
            )
        chunk = self._source.read(max(_CHUNK_CHARACTERS, len(self._text) - self._at))
        self._ended = not chunk
        self._line += self._text.count("\n", 0, self._at)
        self._text = self._text[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def record(self, value: Any) -> Record:
        if not isinstance(value, dict):
            raise UnreadableData(
                f"{self._label}, line {self.line}: expected a record (an object) and found"
                f" {json.dumps(value)[:60]}; set the option 'record_path' to where the records are",
                line=self.line,
            )
        if self._text_of is not None:
            for name, number in value.items():
                if isinstance(number, WrittenFloat) and (text := self._text_of(name)) is not None:
                    value[name] = text(number)
        return value

    @property
    def line(self) -> int:
        return self._line + self._text.count("\n", 0, self._at)

    def _failure(self, reason: str) -> UnreadableData:
        return UnreadableData(f"{self._label}, line {self.line}: not JSON: {reason}", line=self.line)


def _float(number: str) -> float | str:
    """The number as text if a float cannot represent it."""
    value = float(number)
    return value if isfinite(value) else number


def _written(number: str) -> float | str:
    value = _float(number)
    if isinstance(value, str):
        return value
    written = WrittenFloat(value)
    written.text = number
    return written


def lines(path: Path, label: str, text_of: TextOf | None = None) -> Iterator[Record]:
    """The records of NDJSON in UTF-8: every object is one, and so are the elements of an array.

    Raises as `records`.
    """
    with _opened(path, label, "utf-8", text_of) as reader:
        while start := reader.peek():
            for value in _elements(reader) if start == "[" else (reader.value(),):
                yield reader.record(value)


def records(
    path: Path,
    label: str,
    encoding: str,
    record_path: str | None,
    on_path: OnPath = bool,
    text_of: TextOf | None = None,
) -> Iterator[Record]:
    """The records of a JSON document, or of a sequence of them.

    They are the elements of the top-level array, of the array that `record_path` leads to, of the
    first array of objects in a top-level object (`features` in GeoJSON), or top-level objects.
    `on_path` is told the key of that array.

    Raises:
        UnreadableData: broken, or its elements are not records; names the line.
        InvalidOption: there is no array at `record_path`.
        LimitExceeded: a record of more than 64 MiB.
    """
    with _opened(path, label, encoding, text_of) as reader:
        while reader.peek():
            keys = record_path.split(".") if record_path else []
            for value in _found(reader, keys, label, record_path, on_path):
                yield reader.record(_feature(reader.record(value)))


@contextmanager
def _opened(path: Path, label: str, encoding: str, text_of: TextOf | None) -> Iterator[_Reader]:
    try:
        with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding) as source:
            yield _Reader(source, label, text_of)
    except UnicodeError:
        raise UnreadableData(f"{label} is not {encoding} text; set the option 'encoding'") from None


def _found(
    reader: _Reader, keys: list[str], label: str, record_path: str | None, on_path: OnPath
) -> Iterator[Any]:
    if keys:
        yield from _along(reader, keys, label, record_path)
    elif reader.peek() == "[":
        yield from _elements(reader)
    else:
        yield from _of_object(reader, on_path)


def _elements(reader: _Reader) -> Iterator[Any]:
    reader.expect("[")
    if reader.peek() == "]":
        reader.expect("]")
        return
    while True:
        yield reader.value()
        if reader.expect(",", "]") == "]":
            return


def _members(reader: _Reader) -> Iterator[str]:
    """The keys of an object. The caller has to read each value."""
    reader.expect("{")
    if reader.peek() == "}":
        reader.expect("}")
        return
    while True:
        key = reader.value()
        reader.expect(":")
        yield key
        if reader.expect(",", "}") == "}":
            return


def _of_object(reader: _Reader, on_path: OnPath) -> Iterator[Any]:
    """The elements of the object's first array of objects, which may be huge; otherwise the object itself."""
    rest: Record = {}
    streamed = False
    if reader.peek() != "{":
        yield reader.value()
        return
    for key in _members(reader):
        if not streamed and reader.peek() == "[":
            values = _elements(reader)
            first = list(islice(values, 1))
            if first and isinstance(first[0], dict):
                streamed = True
                on_path(key)
                yield from chain(first, values)
            else:
                rest[key] = [*first, *values]
        else:
            rest[key] = reader.value()
    if not streamed:
        yield rest


def _along(reader: _Reader, keys: list[str], label: str, record_path: str | None) -> Iterator[Any]:
    found = False
    if reader.peek() == "{":
        for key in _members(reader):
            if key != keys[0]:
                reader.value()
            elif len(keys) > 1:
                found = True
                yield from _along(reader, keys[1:], label, record_path)
            elif reader.peek() == "[":
                found = True
                yield from _elements(reader)
            else:
                break
    if not found:
        raise InvalidOption(
            f"{label} has no array at '{record_path}', line {reader.line}; check the option 'record_path'"
        )


def is_feature(record: Record) -> bool:
    return record.get("type") == "Feature" and "properties" in record


def _feature(record: Record) -> Record:
    """A GeoJSON feature as a row: id, properties, and geometry."""
    if not is_feature(record):
        return record
    row = {"id": record["id"]} if "id" in record else {}
    row |= record["properties"] or {}
    return row | {"geometry": record.get("geometry")}
