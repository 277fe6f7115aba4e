"""`skein ingest` and `preview` with their options."""

from typing import Annotated, Literal

import typer

from skein.cli.parameters import Data, Json, Message, Server


def ingest(
    source: Annotated[
        list[str],
        typer.Argument(help="Files, folders, patterns, or one http(s) URL; - is standard input."),
    ],
    *,
    name: Annotated[str, typer.Option("--as", help="The dataset to write.")],
    mode: Annotated[
        Literal["create", "append", "replace", "upsert", "replace_partitions"],
        typer.Option(
            help="create fails if the dataset exists, the others make it. upsert and replace_partitions"
            " replace the rows that have the same --key as a new one."
        ),
    ] = "append",
    key: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Of the mode; repeat it for each column.")
    ] = None,
    schema_policy: Annotated[
        Literal["refuse", "add", "widen"],
        typer.Option(help="What other columns may do to those of the dataset; widen includes add."),
    ] = "refuse",
    format: Annotated[
        str | None,
        typer.Option(help="csv, tsv, ndjson, json, parquet, arrow or excel; found out if left out."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An option of the format, such as delimiter=';'; repeat it."),
    ] = None,
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="COLUMN=TYPE", help="What a column is to be; repeat it for each."),
    ] = None,
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
    from skein.cli.client import connect
    from skein.cli.ingest import ingest

    request = {
        "dataset": name,
        "mode": mode,
        "keys": key or [],
        "schema_policy": schema_policy,
        "format": format,
        "options": options_of(option or [], types=type_ or []),
        "message": message,
    }
    with connect(server, data) as api:
        ingest(api, request, source, upload=upload)


def preview(
    source: Annotated[list[str], typer.Argument(help="Files, folders, patterns, or one http(s) URL.")],
    *,
    rows: Annotated[int, typer.Option(min=0, max=1000, help="How many rows to show.")] = 10,
    format: Annotated[str | None, typer.Option(help="Found out if left out.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An option of the format, such as delimiter=';'; repeat it."),
    ] = None,
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="COLUMN=TYPE", help="What a column is to be; repeat it for each."),
    ] = None,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Show what an ingestion would make of a source: format, columns, first rows. Nothing is written."""
    from skein.cli.arguments import options_of, source_of
    from skein.cli.client import connect
    from skein.cli.preview import preview

    request = {"format": format, "options": options_of(option or [], types=type_ or []), "rows": rows}
    with connect(server, data) as api:
        preview(api, source_of(source), request, as_json_=json)
