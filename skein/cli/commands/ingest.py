"""`skein ingest` and `preview` with their options."""

from pathlib import Path
from typing import Annotated

import typer

from skein.cli.commands.parameters import (
    Data,
    Format,
    FormatOptions,
    Into,
    Json,
    Keys,
    Message,
    Mode,
    Policy,
    Server,
    Types,
)


def ingest(
    source: Annotated[
        list[str],
        typer.Argument(help="Files, folders, patterns, or one http(s) URL; - is standard input."),
    ],
    *,
    dataset: Into,
    mode: Mode = "append",
    keys: Keys = None,
    schema_policy: Policy = "refuse",
    format: Format = None,
    options: FormatOptions = None,
    types: Types = None,
    message: Message = "",
    upload: Annotated[
        bool,
        typer.Option("--upload", help="Send the files, even if the server might read them itself."),
    ] = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Turn files or a URL into a dataset, and watch it happen.

    The server reads the files, from folders that it allows; files here that it cannot reach are sent to it.
    Ctrl-C cancels; the dataset is then as before.
    """
    from skein.cli.arguments import options_of
    from skein.cli.ingest import ingest
    from skein.cli.remote.client import connect

    request = {
        "dataset": dataset,
        "mode": mode,
        "keys": keys or [],
        "schema_policy": schema_policy,
        "format": format,
        "options": options_of(options or [], types=types or []),
        "message": message,
    }
    with connect(server, data) as api:
        ingest(api, request, source, upload=upload)


def preview(
    source: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or one http(s) URL.")],
    *,
    rows: Annotated[int, typer.Option(min=0, max=1000, help="How many rows to show.")] = 10,
    format: Format = None,
    options: FormatOptions = None,
    types: Types = None,
    into: Annotated[
        str | None,
        typer.Option("--as", metavar="DATASET", help="By the types and contract of this dataset."),
    ] = None,
    contract: Annotated[
        Path | None, typer.Option(metavar="FILE", help="By the contract in this file.", dir_okay=False)
    ] = None,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Show what an ingestion would make of a source: format, columns, first rows. Nothing is written."""
    from skein.cli.arguments import options_of, source_of
    from skein.cli.contracts import contract_in
    from skein.cli.preview import preview
    from skein.cli.remote.client import connect

    request = {
        "format": format,
        "options": options_of(options or [], types=types or []),
        "rows": rows,
        "dataset": into,
        "contract": None if contract is None else contract_in(contract),
    }
    with connect(server, data) as api:
        preview(api, source_of(source), request, as_json_=json)
