"""Detecting the format of a file from its first bytes, never from its name."""

import codecs
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flight_core.adapters.parsers.formats.json_records import is_feature
from flight_core.adapters.parsers.options import Format
from flight_core.domain.errors import UnknownFormat, UnreadableData

SAMPLE_BYTES = 1 << 20
Compression = Literal["gzip", "zstd", "bz2", "zip"]

_COMPRESSIONS: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bz2"),
    (b"PK\x03\x04", "zip"),
)
_FORMATS: tuple[tuple[bytes, Format], ...] = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),  # the stream's continuation marker
    (b"Obj\x01", "avro"),
    (b"PK\x03\x04", "excel"),  # archives that are none have been unpacked
    (b"\xd0\xcf\x11\xe0", "excel"),
)
_FOREIGN = (
    (b"%PDF", "a PDF document"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"ORC", "an ORC file"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x04\x22\x4d\x18", "an lz4 archive"),
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_JSON_FORMATS = ("json", "ndjson")


@dataclass(frozen=True, slots=True)
class Content:
    """The format of a file. `encoding` is that of text, guessed from its beginning; None for binary
    formats."""

    format: Format
    encoding: str | None = None


def head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SAMPLE_BYTES)


def needs_whole_file(path: Path) -> bool:
    """Whether the format cannot be read from the beginning of the file alone."""
    with path.open("rb") as file:
        return file.read(8).startswith((b"PAR1", b"ARROW1", b"PK", b"\xd0\xcf\x11\xe0"))


def compression_of(sample: bytes) -> Compression | None:
    return next((name for magic, name in _COMPRESSIONS if sample.startswith(magic)), None)


def content_of(sample: bytes, label: str, *, given: Format | None, encoding: str | None) -> Content:
    """The content type of the file, which must match the format that the caller has given.

    Raises:
        UnreadableData: the file is empty, or has another format than the given one.
        UnknownFormat: the format is not supported.
    """
    if not sample.strip():
        raise UnreadableData(f"{label} is empty")
    found = _content(sample, label, encoding)
    if given is None or given == found.format:
        return found
    if given in _JSON_FORMATS and found.format in _JSON_FORMATS:
        return Content(given, found.encoding)
    if given in ("csv", "tsv") and found.format == "csv":
        return Content(given, found.encoding)
    raise UnreadableData(
        f"{label} is not {given}: its content looks like {found.format};"
        f" leave the format out, or say '{found.format}'",
        given=given,
        found=found.format,
    )


def _content(sample: bytes, label: str, encoding: str | None) -> Content:
    for magic, format in _FORMATS:
        if sample.startswith(magic):
            return Content(format)
    if sample[257:262] == b"ustar":
        raise UnknownFormat(f"{label} is a tar archive, which cannot be read; make it a zip archive")
    for magic, what in _FOREIGN:
        if sample.startswith(magic):
            raise UnknownFormat(f"{label} is {what}, which cannot be read; convert it to CSV or Parquet")
    encoding = encoding or _encoding(sample)
    text = sample.decode(encoding, errors="replace").lstrip("\ufeff \t\r\n")
    if encoding == "utf-8" and "\x00" in text:
        raise UnknownFormat(f"{label} holds binary data in no format that can be read; use Parquet or text")
    if text[:100].lower().startswith(("<!doctype", "<html", "<?xml", "<head")):
        raise UnknownFormat(f"{label} is a web page or XML, not data; check what the source really answers")
    return Content(_text_format(text), encoding)


def _encoding(sample: bytes) -> str:
    for bom, encoding in _BOMS:
        if sample.startswith(bom):
            return encoding
    nulls = [sample[0:4096:2].count(0), sample[1:4096:2].count(0)]  # ASCII in UTF-16 has every other byte 0
    if max(nulls) > len(sample[:4096]) // 8 and min(nulls) == 0:
        return "utf-16-le" if nulls[1] else "utf-16-be"
    return "utf-8"


def _text_format(text: str) -> Format:
    if not _looks_like_json(text):
        return "csv"
    first, newline, rest = text.partition("\n")
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return "json"
    more = newline and _looks_like_json(rest.lstrip())
    return "ndjson" if isinstance(record, dict) and more and not is_feature(record) else "json"


def _looks_like_json(text: str) -> bool:
    follows = text[1:].lstrip()[:1]
    if text.startswith("{"):
        return follows in ('"', "}")
    return text.startswith("[") and (follows in tuple('{["-]tfn') or follows.isdigit())
