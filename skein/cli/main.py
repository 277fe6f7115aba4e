"""`skein`: every command with its options. What a command needs is imported when it runs."""

import os
import sys
import traceback
from contextlib import suppress
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Literal

import typer

from flight_core.domain.errors import FlightCoreError
from skein.cli.catalog_commands import edit
from skein.cli.contract_command import contract
from skein.cli.derivation_commands import derive, derived, lineage, underive
from skein.cli.failures import INTERRUPTED, CliError, one_line
from skein.cli.job_commands import compact, jobs, vacuum
from skein.cli.parameters import Data, Json, Message, Name, Server
from skein.cli.schedule_commands import refresh, schedule
from skein.cli.serve import serve, serve_control, serve_flight
from skein.cli.token_commands import token
from skein.cli.version_commands import diff, history, profile, restore, retention, tag, tags

app = typer.Typer(
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve)
app.command()(edit)
for command in (derive, underive, derived, lineage):
    app.command()(command)
app.command()(serve_flight)
app.command()(serve_control)
app.add_typer(schedule, name="schedule")
for _command in (contract, profile, history, diff, restore, tag, tags, retention, refresh, compact, vacuum):
    app.command()(_command)
app.add_typer(jobs, name="jobs")
app.add_typer(token, name="token")


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"skein {installed_version('skein-flight')}")
        raise typer.Exit


@app.callback()
def skein(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    """Keep big tables as versioned Parquet, ask them in SQL, stream the answers as Arrow."""


@app.command()
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


@app.command()
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


@app.command()
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
    from skein.settings import load_client_settings

    settings = load_client_settings(server=server, data=data)
    query(sql, settings, format=format, output=output, limit=limit, max_rows=max_rows, params=param or [])


@app.command()
def datasets(
    *,
    search: Annotated[
        str | None, typer.Option(help="Words in names, tags, columns, owners and descriptions.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only those with this tag; repeat it.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only those that somebody owns.")] = None,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """List the datasets, or search them."""
    from skein.cli.client import connect
    from skein.cli.datasets import show_datasets

    with connect(server, data) as api:
        show_datasets(api, json=json, search=search, tags=tag or [], owner=owner)


@app.command()
def describe(
    name: Name,
    *,
    version: Annotated[
        str | None,
        typer.Option(
            help="3, v3, a moment such as 2026-01-31T12:00:00Z, or a tag; the current one if left out."
        ),
    ] = None,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Show a dataset's columns with statistics, and its versions."""
    from skein.cli.client import connect
    from skein.cli.datasets import describe

    with connect(server, data) as api:
        describe(api, name, version=version, json=json)


@app.command()
def delete(
    name: Name,
    *,
    where: Annotated[str, typer.Option(help="A condition in SQL, such as 'delay IS NULL'.")],
    server: Server = None,
    data: Data = None,
) -> None:
    """Delete the rows of a dataset for which a condition holds. Older versions still have them."""
    from skein.cli.client import connect
    from skein.cli.datasets import delete

    with connect(server, data) as api:
        delete(api, name, where=where)


@app.command()
def drop(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Forget a dataset with all its versions. Who is reading it reads on."""
    from skein.cli.client import connect
    from skein.cli.datasets import drop

    with connect(server, data) as api:
        drop(api, name, sure=yes)


@app.command()
def doctor(*, server: Server = None, data: Data = None) -> None:
    """Check the installation, the sandbox, the ports, the disk and the server."""
    from skein.cli.doctor import examine

    if not examine(server=server, data=data):
        raise typer.Exit(1)


def run() -> None:
    """What the console script starts."""
    status = _status(sys.argv[1:] or ["--help"])
    if status == INTERRUPTED:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(status)  # a thread may still wait for the server
    sys.exit(status)


def _status(arguments: list[str]) -> int:
    """The exit code: 0, 1 for a failure, 2 for a wrong use, 130 after Ctrl-C."""
    try:
        return app(arguments, prog_name="skein", standalone_mode=False) or 0
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "skein"
        return _told(CliError("usage", f"{error.format_message()} Try '{command} --help'."), error.exit_code)
    except typer.Abort:
        return INTERRUPTED
    except (CliError, FlightCoreError) as error:
        return _told(error)
    except Exception as error:
        return _told(CliError("internal_error", _bug(error)))


def _bug(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno});"
        " see what 'skein doctor' says, or report it"
    )


def _told(error: Exception, status: int = 1) -> int:
    typer.echo(one_line(error), err=True)
    return status
