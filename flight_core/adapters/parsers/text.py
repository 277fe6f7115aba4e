"""Text in pieces, and text in other encodings, made UTF-8."""

import codecs
import mmap
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from struct import pack
from typing import TypeVar
from uuid import uuid4

import polars as pl
import pyarrow as pa

from flight_core.domain.errors import UnreadableData

MAX_LINE_BYTES = 64 << 20
WESTERN = "cp1252"

_CHUNK_BYTES = 1 << 20
_LOOK_BACK_LINES = 100_000
_ASCII = 0x7F
_SIGNS = "\N{NO-BREAK SPACE}–—‘’“”„…€£©®°·º«»¿¡§´"  # noqa: RUF001
_FOREIGN_RUN = re.compile(rb"[\x80-\xff]{3}")  # Western words have single letters beyond ASCII


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def fresh_file(folder: Path) -> Path:
    """A path that nothing has; inputs of one job may well share a name."""
    return folder / uuid4().hex


def line_chunks(path: Path, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[memoryview]:
    """About so much at a time of the mapped file, in whole lines unless one is longer than 64 MiB."""
    size_bytes = path.stat().st_size
    if not size_bytes:
        return
    with path.open("rb") as file:
        text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # until nobody has a chunk of it
    start = 0
    while start < size_bytes:
        enough = start + chunk_bytes
        line_end = text.find(b"\n", enough, enough + MAX_LINE_BYTES)
        end = enough + MAX_LINE_BYTES if line_end < 0 else line_end + 1
        yield memoryview(text)[start:end]
        start = end


def as_series(lines: memoryview) -> pl.Series:
    """Without a copy, which Polars makes of a value that stands alone."""
    ends = pa.py_buffer(pack("=3q", 0, len(lines), len(lines)))
    values = pa.Array.from_buffers(pa.large_binary(), 2, [None, ends, pa.py_buffer(lines)])
    return pl.Series(values).cast(pl.String)


def end_of_lines(text: bytes, quote: bytes | None, *, inside: bool = False) -> int:
    """Where the last line ends that does not do so within quotes; 0 if there is none, as far as one looks.

    `inside`: the text begins within quotes."""
    mark = b"\n" if b"\n" in text else b"\r"
    end = len(text)
    quotes = inside + (text.count(quote) if quote else 0)
    for _ in range(_LOOK_BACK_LINES):
        line_end = text.rfind(mark, 0, end)
        if line_end < 0:
            break
        quotes -= text.count(quote, line_end, end) if quote else 0
        if quotes % 2 == 0:
            return line_end + 1
        end = line_end
    return 0


def in_parallel(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """The results in order. Works on all cores, a few items at a time."""
    cores = os.cpu_count() or 1
    rest = iter(items)
    with ThreadPoolExecutor(cores) as pool:
        while batch := list(islice(rest, 4 * cores)):
            yield from pool.map(function, batch)


@dataclass(frozen=True, slots=True)
class TextFile:
    path: Path
    label: str
    encoding: str


def as_utf8(file: TextFile, folder: Path) -> Path:
    """A UTF-8 copy of the file in `folder`; the file itself if it is UTF-8 already (not checked here).

    Raises:
        UnreadableData: the bytes are not in that encoding.
    """
    if file.encoding == "utf-8":
        return file.path
    target = fresh_file(folder)
    decoder = codecs.getincrementaldecoder(file.encoding)()
    line = 1
    try:
        with file.path.open("rb") as source, target.open("w", encoding="utf-8", newline="") as out:
            while chunk := source.read(_CHUNK_BYTES):
                text = decoder.decode(chunk)
                line += text.count("\n")
                out.write(text)
            out.write(decoder.decode(b"", final=True))
    except UnicodeError as error:
        if isinstance(error, UnicodeDecodeError):
            line += error.object[: error.start].decode(file.encoding, "replace").count("\n")
        raise UnreadableData(
            f"{file.label}, line {line}: not {file.encoding}; set the option 'encoding' to what it is",
            line=line,
        ) from None
    return target


def without_lines(path: Path, count: int, folder: Path) -> Path:
    """A copy without the first lines; nothing is left if there are no more."""
    target = fresh_file(folder)
    with path.open("rb") as source, target.open("wb") as out:
        with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as text:
            mark = b"\n" if text.find(b"\n") >= 0 else b"\r"
            start = 0
            for _ in range(count):
                start = text.find(mark, start) + 1 or len(text)
        source.seek(start)
        shutil.copyfileobj(source, out, _CHUNK_BYTES)
    return target


def encoding_that_fits(path: Path, label: str, *, guess: bool) -> str:
    """UTF-8, or with `guess` Windows' Western encoding for text that is clearly that.

    Raises:
        UnreadableData: it is neither; names the first line that tells.
    """
    western = guess
    first_bad_line = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if _is_utf8(line):
                western = western and line.isascii()
                continue
            first_bad_line = first_bad_line or number
            western = western and _is_western(line)
    if not first_bad_line:
        return "utf-8"
    if western:
        return WESTERN
    raise UnreadableData(
        f"{label}, line {first_bad_line}: not UTF-8; set the option 'encoding', for example to"
        " 'cp1252', 'cp1251' or 'shift_jis'",
        line=first_bad_line,
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_western(line: bytes) -> bool:
    if _FOREIGN_RUN.search(line):
        return False
    try:
        text = line.decode(WESTERN)
    except UnicodeDecodeError:
        return False
    return all(character.isalpha() or character in _SIGNS for character in text if ord(character) > _ASCII)
