"""What a parsing process does: one request, answered with lines of JSON, which are progress and then
`result` or `error`. What libraries print goes to the log of the job.
"""

import base64
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from flight_core.adapters.parsers.checks.rejects import REJECTS_SCHEMA
from flight_core.adapters.parsers.checks.verdict import CheckRequest, finish
from flight_core.adapters.parsers.column_types.given import GivenTypes, stored_types
from flight_core.adapters.parsers.formats.avro import parse_avro
from flight_core.adapters.parsers.formats.columnar import ColumnarFile, parse_arrow, parse_parquet
from flight_core.adapters.parsers.formats.delimited import SAMPLE_ROWS, parse_delimited
from flight_core.adapters.parsers.formats.excel import parse_excel
from flight_core.adapters.parsers.formats.hive import untold
from flight_core.adapters.parsers.formats.json_tables import parse_json, parse_ndjson
from flight_core.adapters.parsers.heads import Heads
from flight_core.adapters.parsers.hints import guesses, hints
from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.options import (
    ColumnarOptions,
    DelimitedOptions,
    ExcelOptions,
    Format,
    FormatOptions,
    JsonOptions,
    NdjsonOptions,
    known_format,
    model_of,
    options_for,
)
from flight_core.adapters.parsers.output import Target
from flight_core.adapters.parsers.sniffing import Content, content_of, head
from flight_core.adapters.parsers.text import TextFile
from flight_core.adapters.parsers.unpacking import Unpacked, UnpackLimits, packing_of, unpack
from flight_core.domain.errors import FlightCoreError, UnknownFormat, UnreadableData
from flight_core.domain.failure_documents import failure_document
from flight_core.domain.system_errors import system_failure

_COLUMNAR = {"parquet": parse_parquet, "arrow": parse_arrow, "avro": parse_avro}


@dataclass(frozen=True, slots=True)
class PreviewOf:
    rows: int
    whole: bool  # whether the files are


@dataclass(frozen=True, slots=True)
class Request:
    files: Sequence[Unpacked]
    folder: Path
    format: Format | None
    options: Mapping[str, object]
    limits: UnpackLimits
    check: CheckRequest | None = None
    preview: PreviewOf | None = None
    stored: pa.Schema | None = None  # of the dataset that the rows are added to

    @property
    def members(self) -> Any:  # as checked
        return self.options.get("members")

    def types(self, options: FormatOptions) -> GivenTypes:
        """Formats that say types themselves mean them."""
        if self.stored is None or isinstance(options, ColumnarOptions):
            return GivenTypes(options.given_types)
        return GivenTypes(options.given_types, stored_types(self.stored))


def parse(request: Request, meter: Meter) -> dict[str, object]:
    """Find out what the files are and write their rows into `folder`."""
    scratch = request.folder / "scratch"
    scratch.mkdir()
    files = _unpacked(request, scratch, meter)
    contents = _contents(request, files)
    format = contents[0].format
    inspection = None if request.check is None else request.check.inspection
    options = options_for(format, request.options)
    target = Target(request.folder, inspection, request.types(options))
    used = _dispatch(files, contents, options, target, scratch, request.limits, meter)
    checked = None if request.check is None else finish(request.check, target)
    row_count = sum(pq.read_metadata(file).num_rows for file in target.files)
    meter.reached(meter.total_bytes, row_count)
    reading = {"format": format, "options": used.model_dump(mode="json", exclude_unset=True)}
    columns = pq.read_schema(target.files[0]).names
    return {
        "files": [str(file.relative_to(request.folder)) for file in target.files],
        "row_count": row_count,
        "nan_columns": sorted(target.nan_columns),
        "reading": reading,
        "warnings": [*guesses(options, used), *untold([file.label for file in request.files], columns)],
        "checked": checked,
    }


def preview(request: Request, wanted: PreviewOf, meter: Meter) -> dict[str, object]:
    """As `parse`, of the beginnings of the files; the first rows are in `folder`/preview.arrow."""
    scratch = request.folder / "scratch"
    scratch.mkdir()
    heads = Heads(scratch, request.limits, request.members)
    files = heads.unpacked(request.files, whole=wanted.whole)
    contents = _contents(request, files)
    format = contents[0].format
    options = options_for(format, request.options)
    short = [heads.shortened(*pair, options, wanted.rows) for pair in zip(files, contents, strict=True)]
    inspection = None if request.check is None else request.check.inspection
    target = Target(request.folder, inspection, request.types(options))
    kinds = [content for _, content in short]
    used = _dispatch(
        [file for file, _ in short],
        kinds,
        _options_as(kinds[0], options),
        target,
        scratch,
        request.limits,
        meter,
    )
    told = heads.told(options).model_dump(mode="json", exclude_unset=True)
    told |= used.model_dump(mode="json", exclude_unset=True)
    if contents[0].encoding not in (None, "utf-8"):
        told["encoding"] = contents[0].encoding
    checked = None if request.check is None else _tried(request.check, target, wanted.rows)
    first = target.scan().head(SAMPLE_ROWS).collect()
    guessed = first.drop(target.typed_columns(first.columns))
    rows = request.folder / "preview.arrow"
    _write_arrow(first.head(wanted.rows).to_arrow(), rows)
    return {
        "rows": rows.name,
        "reading": {"format": format, "options": told},
        "sampled": heads.cut,
        "warnings": [
            *guesses(options, used),
            *untold([file.label for file in request.files], first.columns),
            *hints(guessed),
        ],
        "checked": checked,
    }


def _tried(check: CheckRequest, target: Target, rows: int) -> dict[str, object]:
    """What a check has found, and the first rows that it has rejected, in `rejected`.arrow."""
    found = finish(check, target)
    rejects = check.inspection.rejects
    table = pq.read_table(rejects) if rejects.exists() else REJECTS_SCHEMA.empty_table()
    path = target.folder / "rejected.arrow"
    _write_arrow(table.sort_by([("source", "ascending"), ("row", "ascending")]).slice(0, rows), path)
    return {**found, "rejected": path.name}


def _options_as(content: Content, options: FormatOptions) -> FormatOptions:
    """What is left of the options for data that was brought into another format."""
    model = model_of(content.format)
    if model is type(options):
        return options
    known = {name: value for name, value in options if name in model.model_fields}
    return model.model_construct(_fields_set=options.model_fields_set & known.keys(), **known)


def _write_arrow(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def _contents(request: Request, files: Sequence[Unpacked]) -> list[Content]:
    encoding: Any = request.options.get("encoding")
    contents = []
    for file in files:
        try:
            content = content_of(head(file.path), file.label, given=request.format, encoding=encoding)
        except (UnknownFormat, UnreadableData) as error:
            if not file.is_member:
                raise
            raise type(error)(
                f"{error.message}; the option 'members' leaves it out, such as '*.csv'",
                **error.details,
            ) from None
        contents.append(content)
    _check_alike(files, contents)
    return contents


def _unpacked(request: Request, scratch: Path, meter: Meter) -> list[Unpacked]:
    files: list[Unpacked] = []
    for number, file in enumerate(request.files):
        meter.working_on(file.label)
        compression = packing_of(file.path, head(file.path))
        if compression is None:
            files.append(file)
        else:
            folder = scratch / str(number)
            folder.mkdir()
            files += unpack(
                file.path, file.label, compression, folder, request.limits, members=request.members
            )
    return files


def _check_alike(files: Sequence[Unpacked], contents: Sequence[Content]) -> None:
    for file, content in zip(files, contents, strict=True):
        if content.format != contents[0].format:
            raise UnreadableData(
                f"{file.label} is {content.format} and {files[0].label} is {contents[0].format};"
                " ingest them one by one (of a zip archive by the option 'members')"
            )


def _dispatch(
    files: Sequence[Unpacked],
    contents: Sequence[Content],
    options: FormatOptions,
    target: Target,
    scratch: Path,
    limits: UnpackLimits,
    meter: Meter,
) -> FormatOptions:
    """The options with what was found out."""
    format = contents[0].format
    meter.working_on(files[0].label)
    if isinstance(options, ColumnarOptions):
        columnar = [ColumnarFile(file.path, file.label) for file in files]
        _COLUMNAR[format](columnar, options, target, meter)
        return options
    if isinstance(options, ExcelOptions):
        return parse_excel(files, options, target, limits, meter)
    texts = [
        TextFile(file.path, file.label, content.encoding or "utf-8")
        for file, content in zip(files, contents, strict=True)
    ]
    match options:
        case DelimitedOptions():
            delimiter = options.delimiter or ("\t" if format == "tsv" else None)
            return parse_delimited(
                texts, options.model_copy(update={"delimiter": delimiter}), target, scratch, meter
            )
        case JsonOptions():
            options = parse_json(texts, options, target, scratch, meter)
        case NdjsonOptions():
            parse_ndjson(texts, options, target, scratch, meter)
        case _:
            raise AssertionError(format)
    return options.model_copy(update={"encoding": texts[0].encoding})


def answer(message: dict[str, Any], out: TextIO) -> None:
    request = _request(message)
    meter = Meter(out, sum(file.path.stat().st_size for file in request.files))
    ended = threading.Event()
    teller = threading.Thread(target=meter.tell_until, args=(ended,), daemon=True)
    teller.start()
    last = _answer(request, meter)
    ended.set()
    teller.join()
    meter.tell()
    meter.say(**last)


def _answer(request: Request, meter: Meter) -> dict[str, object]:
    try:
        if request.preview is not None:
            return {"result": preview(request, request.preview, meter)}
        return {"result": parse(request, meter)}
    except FlightCoreError as error:
        _print_traceback()
        return {"error": failure_document(error)}
    except BaseException as error:
        _print_traceback()
        failure = system_failure(error) or FlightCoreError(type(error).__name__)
        return {"error": failure_document(failure)}


def _print_traceback() -> None:
    with suppress(OSError):  # the log is a file, on a disk that may be full
        traceback.print_exc()


def _request(message: dict[str, Any]) -> Request:
    stored, check = message.get("stored"), message.get("check")
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stored))) if stored else None
    return Request(
        files=[Unpacked(Path(path), label) for path, label in message["files"]],
        folder=Path(message["folder"]),
        format=known_format(message["format"]) if message["format"] else None,
        options=message["options"],
        limits=UnpackLimits(**message["limits"]),
        preview=PreviewOf(**message["preview"]) if message.get("preview") else None,
        check=CheckRequest.of(check, Path(message["folder"]), schema) if check else None,
        stored=schema,
    )
