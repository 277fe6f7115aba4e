"""Parsing bytes in this process: what the parsing process does, without the process."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.unpacking import Unpacked, UnpackLimits
from flight_core.adapters.parsers.worker import Request, parse

LIMITS = UnpackLimits(max_bytes=1 << 30, max_ratio=250)


def parsed(*contents: bytes | Path, format=None, limits=LIMITS, **options) -> pa.Table:
    """The table that files of that content become; they are called f0, f1, ..."""
    with stored(*contents, format=format, limits=limits, **options) as files:
        return pa.concat_tables(map(pq.read_table, files))


@contextmanager
def stored(*contents: bytes | Path, format=None, limits=LIMITS, **options) -> Iterator[list[Path]]:
    """The Parquet files that files of that content become."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # a failed sink lets go a bit later
        files = []
        for number, content in enumerate(contents):
            path = content if isinstance(content, Path) else Path(folder) / f"f{number}.bin"
            if isinstance(content, bytes):
                path.write_bytes(content)
            files.append(Unpacked(path, f"f{number}"))
        meter = Meter(io.StringIO(), sum(file.path.stat().st_size for file in files))
        out = Path(folder) / "out"
        out.mkdir()
        answer = parse(Request(files, out, format, options, limits), meter)
        written = [out / name for name in answer["files"]]
        assert answer["row_count"] == sum(pq.read_metadata(file).num_rows for file in written)
        yield written


def format_of(content: bytes, **options) -> str:
    return reading_of(content, **options)["format"]


def reading_of(content: bytes, **options) -> dict:
    """What was found out: the format and its options."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "f0"
        path.write_bytes(content)
        request = Request([Unpacked(path, "f0")], Path(folder), None, options, LIMITS)
        return parse(request, Meter(io.StringIO(), len(content)))["reading"]


def types(table: pa.Table) -> dict[str, str]:
    """Column names and types, all kinds of text being one."""
    return {field.name: str(field.type).replace("large_", "") for field in table.schema}
