"""JSON and NDJSON.

The fast way lets Polars infer and read NDJSON. Where it gives up (fields of several types, NaN,
broken lines), the careful way decodes every record in Python: it finds types that fit, or says
which line is at fault. JSON documents become NDJSON first.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from flight_core.adapters.parsers.column_types.floats import watched
from flight_core.adapters.parsers.formats.json_records import (
    OnPath,
    Record,
    TextOf,
    WrittenFloat,
    all_digits,
    as_written,
    lines,
    records,
)
from flight_core.adapters.parsers.formats.json_types import (
    MAX_DEPTH,
    TooDeep,
    conformed,
    fields_of,
    instance,
    merged_fields,
    storable,
    types_of,
)
from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.options import JsonOptions, NdjsonOptions
from flight_core.adapters.parsers.output import RowCounter, Target, write_parquet
from flight_core.adapters.parsers.sniffing import head
from flight_core.adapters.parsers.text import TextFile, as_series, as_utf8, in_parallel, line_chunks
from flight_core.domain.errors import LimitExceeded, UnreadableData
from flight_core.domain.system_errors import system_failure

MAX_COLUMNS = 10_000

# Surrogates that are no half of a pair: beyond what text can hold.
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_HALF_ESCAPED = re.compile(
    rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|[c-fC-F]..(?<!\\u[dD][89abAB]..\\u[dD]...))"
)
_ESCAPED_KEY = r'"[^"\\]*\\.(?:[^"\\]|\\.)*"'  # perhaps another spelling of a field's name
_ROUNDED = "[0-9.]{17,}"  # more than the 15 digits that floats keep, and a point
_REWRITTEN = r"[0-9]+\.[0-9]*0[,}\s]|[0-9.]+[eE]"
_PREPARED = 0.5  # the part of the work that is done when reading proper begins

Types = Mapping[str, pl.DataType]


class _Difficult(Exception):
    """Polars cannot read the file correctly."""


def parse_ndjson(
    files: Sequence[TextFile], options: NdjsonOptions, target: Target, scratch: Path, meter: Meter
) -> None:
    """Write the records of all files to `target`; the fields of all records become columns.

    Raises:
        UnreadableData: broken, not records, nested too deeply; names the line.
        SchemaMismatch: fields whose names differ in case only.
        LimitExceeded: more than 10,000 fields, or a record of more than 64 MiB.
    """
    paths = [as_utf8(file, scratch) for file in files]
    _parse(paths, [file.label for file in files], target, scratch, meter)


def parse_json(
    files: Sequence[TextFile], options: JsonOptions, target: Target, scratch: Path, meter: Meter
) -> JsonOptions:
    """As `parse_ndjson`, and InvalidOption if there is nothing at the record path. The options, with the
    path that was found out."""
    path = scratch / "records.ndjson"
    found: list[str] = []
    _dump(_records(files, options.record_path, found.append, _text_of(target)), path, files[0].label)
    _parse([path], [_all([file.label for file in files])], target, scratch, meter)
    return with_path(options, found) if len(found) == len(files) else options


def with_path(options: JsonOptions, found: Sequence[str]) -> JsonOptions:
    """The options with the record path of all documents, if it can be given as an option."""
    one = len(set(found)) == 1 and "." not in found[0]
    return options.model_copy(update={"record_path": found[0]}) if one else options


def _parse(paths: Sequence[Path], labels: Sequence[str], target: Target, scratch: Path, meter: Meter) -> None:
    """Lines of JSON in UTF-8."""
    label = labels[0]
    try:
        try:
            types = _types(paths, meter)
            _check_fractions(paths, types, target)
            schema = _schema(types, label, target)
            _read(paths, labels, schema, target, meter, exact=False)
        except _Difficult:
            text_of = _text_of(target) or (lambda _: None)
            schema = _schema(types_of(_lines(paths, labels, text_of)), label, target)
            path = scratch / "conforming.ndjson"
            shape = pl.Struct(schema)
            _dump((conformed(record, shape) for record in _lines(paths, labels, text_of)), path, label)
            _read([path], [_all(labels)], schema, target, meter)
    except _Difficult as error:
        raise UnreadableData(f"{label} cannot be read as JSON records") from error
    except TooDeep:
        raise UnreadableData(f"{label} is nested deeper than {MAX_DEPTH} levels; that is no table") from None


def _all(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"


def _lines(paths: Sequence[Path], labels: Sequence[str], text_of: TextOf | None) -> Iterator[Record]:
    for path, label in zip(paths, labels, strict=True):
        yield from lines(path, label, text_of)


def _records(
    files: Sequence[TextFile], record_path: str | None, on_path: OnPath, text_of: TextOf | None
) -> Iterator[Record]:
    for file in files:
        yield from records(file.path, file.label, file.encoding, record_path, on_path, text_of)


def _dump(found: Iterator[Record], path: Path, label: str) -> None:
    empty = True
    with path.open("w", encoding="utf-8") as out:
        for record in found:
            empty = False
            line = json.dumps(record, ensure_ascii=False)
            out.write(_HALF_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", line) + "\n")
    if empty:
        raise UnreadableData(f"{label} holds no records")


def _types(paths: Sequence[Path], meter: Meter) -> Types:
    """The types of all fields, as Polars infers them."""
    types: Types = {}
    escaped = became_text = False
    seen_bytes = 0
    total_bytes = max(1, sum(path.stat().st_size for path in paths))
    chunks = chain.from_iterable(map(line_chunks, paths))
    for found, size_bytes, has_escapes in in_parallel(_types_of_chunk, chunks):
        before, types = types, merged_fields(types, found)
        became_text = became_text or _becomes_text(before, types) or _becomes_text(found, types)
        escaped = escaped or has_escapes
        seen_bytes += size_bytes
        meter.reached(meter.total_bytes * _PREPARED * seen_bytes / total_bytes)
    if escaped and became_text:
        raise _Difficult
    return types


def _becomes_text(some: Types, merged: Types) -> bool:
    """Whether what is nested in one part of the file is text because of another part."""
    for name, type in some.items():
        whole: Any = merged[name]
        while isinstance(type, pl.List) and isinstance(whole, pl.List):
            type, whole = instance(type.inner), instance(whole.inner)
        if type.is_nested() and not whole.is_nested():
            return True
        if isinstance(type, pl.Struct) and _becomes_text(fields_of(type), fields_of(whole)):
            return True
    return False


def _types_of_chunk(chunk: memoryview) -> tuple[Types, int, bool]:
    """Also how many bytes there were, and whether any was a backslash: of arrays and objects that become text
    Polars escapes nothing."""
    lines = bytes(chunk)
    if not lines.strip():
        return {}, len(lines), False
    if _HALF_ESCAPED.search(lines):
        raise _Difficult  # Polars reads something else
    with _translated():
        schema = pl.scan_ndjson(lines, infer_schema_length=None).collect_schema()
    has_escapes = b"\\" in lines
    if has_escapes and _nested_texts(schema, lines):
        raise _Difficult
    return {name: instance(type) for name, type in schema.items()}, len(lines), has_escapes


def _text_of(target: Target) -> TextOf | None:
    if target.inspection is None and not target.types:
        return None

    @cache
    def text_of(name: str) -> Callable[[WrittenFloat], str] | None:
        type = target.type_of(name)
        if type is None:
            return None
        return all_digits if type.is_decimal() else as_written if type == pl.String else None

    return text_of


def _check_fractions(paths: Sequence[Path], types: Types, target: Target) -> None:
    """Raises _Difficult where Polars would make other text of fractions: it reads floats first."""
    texts = _texts_of_numbers(types, target)
    decimals = {name for name in texts if (type := target.type_of(name)) is not None and type.is_decimal()}
    patterns = [
        rf"{_keys(names)}\s*:\s*-?(?:{fraction})"
        for names, fraction in ((texts, _ROUNDED), (texts - decimals, _REWRITTEN))
        if names
    ]
    pattern = "|".join(patterns)
    if not pattern:
        return
    chunks = chain.from_iterable(map(line_chunks, paths))
    with _translated():
        found = any(in_parallel(lambda chunk: as_series(chunk).str.contains(pattern).any(), chunks))
    if found:
        raise _Difficult


def _keys(names: Iterable[str]) -> str:
    """The pattern of these fields' names in a record, and of all that are written with escapes."""
    written = (re.escape(json.dumps(name, ensure_ascii=False)) for name in names)
    return f"(?:{'|'.join((*written, _ESCAPED_KEY))})"


def _nested_texts(schema: Mapping[str, Any], lines: bytes) -> bool:
    """Whether arrays or objects have to become text, since a field of their name is something else
    elsewhere: an array where texts are, or something nested in an array where lists of texts are."""
    texts = list(_texts(schema))
    patterns = [
        _keys(names).encode() + rb"\s*:\s*(?:" + nested + rb")"
        for listed, nested in ((False, rb"[\[{]"), (True, rb"\{|\[(?:[^]\"]|\"(?:[^\"\\]|\\.)*\")*?[\[{]"))
        if (names := {name for name, in_list in texts if in_list is listed})
    ]
    return any(re.search(pattern, lines) for pattern in patterns)


def _texts(fields: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """The names of fields that are text (False) or lists of text (True), at any depth."""
    for name, type in fields.items():
        listed = isinstance(type, pl.List)
        while isinstance(type, pl.List):
            type = type.inner
        if type == pl.String:
            yield name, listed
        elif isinstance(type, pl.Struct):
            yield from _texts({field.name: field.dtype for field in type.fields})


def _schema(types: Types, label: str, target: Target) -> dict[str, pl.DataType]:
    """Numbers are read as text at once where they are to be text, which keeps `1` and `1.5` as they are, and
    fractions where they are to be decimals."""
    if not types:
        raise UnreadableData(f"{label} holds records without any fields")
    if len(types) > MAX_COLUMNS:
        raise LimitExceeded(
            f"{label} has {len(types)} different fields; a table has at most {MAX_COLUMNS} columns",
            limit=MAX_COLUMNS,
        )
    target.types.of(list(types))  # all that are named are there
    texts = _texts_of_numbers(types, target)
    return {name: pl.String() if name in texts else storable(type) for name, type in types.items()}


def _texts_of_numbers(types: Types, target: Target) -> set[str]:
    """The fields that are read as text, including numbers."""
    found = set()
    for name, type in types.items():
        wanted = target.type_of(name)
        decimal = wanted is not None and wanted.is_decimal() and type == pl.Float64
        if type == pl.String or decimal or (wanted == pl.String and not type.is_nested()):
            found.add(name)
    return found


def _read(
    paths: Sequence[Path],
    labels: Sequence[str],
    schema: Types,
    target: Target,
    meter: Meter,
    *,
    exact: bool = True,
) -> None:
    """`exact`: all numbers are known to be of the types in `schema`."""
    scale = meter.total_bytes / max(1, sum(path.stat().st_size for path in paths))
    sample = head(paths[0])
    line_bytes = len(sample) / (sample.count(b"\n") + 1)
    target.row_bytes = line_bytes - sum(len(name) for name in schema)
    counter = RowCounter(
        meter,
        start_bytes=meter.total_bytes * _PREPARED,
        bytes_per_row=scale * (1 - _PREPARED) * line_bytes,
    )
    with _translated():
        scans = [pl.scan_ndjson(str(path), schema=schema) for path in paths]
        frames = scans if exact else [watched(scan) for scan in scans]
        marked = [target.marked(frame, label) for frame, label in zip(frames, labels, strict=True)]
        write_parquet(pl.concat(marked), target, counter)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        if system_failure(error):
            raise
        raise _Difficult from error
