"""`skein query`: run a statement, show or save its result."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from control_api.json_text import plain_text
from flight_core.domain.arrow import is_number
from flight_core.domain.errors import InvalidOption
from schemas.flight import SqlCommand
from skein.cli.arguments import STANDARD_INPUT, value_of
from skein.cli.remote.flight import Result, run_statement
from skein.cli.terminal.formats import WRITERS, format_of
from skein.cli.terminal.output import Output, open_output
from skein.cli.terminal.tables import Column, Row, show_table
from skein.cli.terminal.wording import count, short, size
from skein.settings import ClientSettings

# How far rows that are not shown are counted.
_COUNTED_ROWS = 1_000_000

_BINARY = ("arrow", "parquet")
_PLAN = ["explain_key", "explain_value"]
_COUNT = ["Count"]


def query(
    sql: str,
    settings: ClientSettings,
    *,
    format: str | None,
    output: Path | None,
    limit: int | None,
    max_rows: int,
    params: Sequence[str],
) -> None:
    """`sql` "-" is read from standard input. `format` None: by the name of `output`; without one, a
    table on a terminal and CSV elsewhere.

    Raises:
        CliError, InvalidOption, UnsupportedType
    """
    format = format or _default_format(output)
    _check(format, output)
    text = sys.stdin.read() if sql == STANDARD_INPUT else sql
    command = SqlCommand(sql=text, params=[value_of(param) for param in params], limit=limit)
    with run_statement(settings, command) as result:
        if format == "table":
            _show(result, max_rows)
        else:
            _save(result, format, output)


def _default_format(output: Path | None) -> str:
    if output is not None:
        return format_of(output)
    return "table" if sys.stdout.isatty() else "csv"


def _check(format: str, output: Path | None) -> None:
    if format == "table" and output is not None:
        raise InvalidOption("a table is for looking at; choose csv, json, arrow or parquet for a file")
    if format in _BINARY and output is None and sys.stdout.isatty():
        raise InvalidOption(f"{format} is nothing for a terminal; add -o FILE, or send it into a pipe")


def _show(result: Result, max_rows: int) -> None:
    names = result.schema.names
    if result.changes and names in ([], _COUNT):
        known = result.affected_rows is not None
        typer.echo(f"{count(result.affected_rows or 0, 'row')} changed" if known else "done")
    elif names == _PLAN:
        for batch in result.batches:
            typer.echo("\n".join(map(str, batch.column(1).to_pylist())))
    else:
        _show_rows(result, max_rows)


def _show_rows(result: Result, max_rows: int) -> None:
    first: list[pa.RecordBatch] = []
    total = 0
    for batch in result.batches:
        first.append(batch.slice(0, max_rows - total))
        total += batch.num_rows
        if total >= max_rows:
            break
    columns = [Column(field.name, str(field.type), is_number(field.type)) for field in result.schema]
    hidden = show_table(columns, _rows(first), null="NULL")
    for batch in result.batches:
        total += batch.num_rows
        if total > _COUNTED_ROWS:
            break
    typer.echo(_note(total, min(total, max_rows), hidden, len(columns)), err=True)


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[Row]:
    for batch in batches:
        yield from zip(*(_texts(column) for column in batch.columns), strict=True)


def _texts(column: "pa.Array[Any]") -> list[str | None]:
    texts: list[str | None] = plain_text(column).to_pylist()
    if pa.types.is_timestamp(column.type) or pa.types.is_time(column.type):
        return [text and short(text) for text in texts]
    return texts


def _note(total: int, shown: int, hidden: int, columns: int) -> str:
    of = f"more than {_COUNTED_ROWS:,}" if total > _COUNTED_ROWS else f"{total:,}"
    parts = [count(total, "row") if total == shown else f"{shown:,} of {of} rows; see more with --max-rows"]
    if hidden:
        parts.append(f"{columns - hidden} of {columns} columns; see all with --format csv")
    return "; ".join(parts)


def _save(result: Result, format: str, output: Path | None) -> None:
    started = time.monotonic()
    with open_output(output) as sink, _spinner(output) as progress:
        meter = _Meter(result.batches, sink, progress)
        WRITERS[_writer(format, output)](result.schema, meter, sink)
    if output is not None:
        took_s = time.monotonic() - started
        typer.echo(f"{output}: {count(meter.rows, 'row')}, {size(sink.size_bytes)}, {took_s:.1f} s", err=True)


def _writer(format: str, output: Path | None) -> str:
    """Arrow has a form for files, which can be mapped into memory, and one for streams."""
    streams = output is None or output.suffix.lower() == ".arrows"
    return "arrows" if format == "arrow" and streams else format


class _Meter:
    """Counts the rows that pass, and shows them."""

    def __init__(self, batches: Iterable[pa.RecordBatch], sink: Output, progress: Progress) -> None:
        self._batches = batches
        self._sink = sink
        self._progress = progress
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        task = self._progress.add_task("waiting for the first rows", total=None)
        for batch in self._batches:
            yield batch
            self.rows += batch.num_rows
            self._progress.update(task, description=f"{self.rows:,} rows, {size(self._sink.size_bytes)}")


def _spinner(output: Path | None) -> Progress:
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=output is None or not console.is_terminal,
    )
