"""`skein query` with its options."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from skein.cli.commands.parameters import Data, Server


def query(
    sql: Annotated[str, typer.Argument(help="One statement; - reads it from standard input.")],
    *,
    format: Annotated[
        Literal["table", "csv", "json", "ndjson", "arrow", "parquet"] | None,
        typer.Option(
            help="json is an array, ndjson one object a line. If left out: by the name of the file; a table"
            " on a terminal; else csv."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; standard output if left out.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Fetch at most so many rows.")] = None,
    max_rows: Annotated[int, typer.Option(min=1, help="How many rows a table shows.")] = 40,
    param: Annotated[
        list[str] | None,
        typer.Option(help="A value for ? or $1, as JSON or text; repeat it for each."),
    ] = None,
    server: Server = None,
    data: Data = None,
) -> None:
    """Run SQL; show the result, or stream it into a file or a pipe."""
    from skein.cli.query import query
    from skein.cli.remote.login import client_settings

    settings = client_settings(server, data)
    query(sql, settings, format=format, output=output, limit=limit, max_rows=max_rows, params=param or [])
