"""`skein datasets`, `describe`, `edit`, `delete`, `drop` and `catalog` with their options."""

from pathlib import Path
from typing import Annotated

import typer

from skein.cli.commands.parameters import Data, Json, Name, Server

catalog = typer.Typer(name="catalog", help="The whole catalog as one file.", no_args_is_help=True)


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
    from skein.cli.datasets import show_datasets
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        show_datasets(api, json=json, search=search, tags=tag or [], owner=owner)


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
    from skein.cli.datasets import describe
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        describe(api, name, version=version, json=json)


def edit(
    name: Name,
    *,
    description: Annotated[str | None, typer.Option(help="What the dataset is.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag to add; repeat it.")] = None,
    untag: Annotated[list[str] | None, typer.Option(help="A tag to take away; repeat it.")] = None,
    owner: Annotated[list[str] | None, typer.Option(help="An owner to add; repeat it.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="What a column is; repeat it.")
    ] = None,
    server: Server = None,
    data: Data = None,
) -> None:
    """Say what a dataset is: description, tags, owners, columns."""
    from skein.cli.arguments import texts_by_name
    from skein.cli.datasets import edit
    from skein.cli.remote.client import connect

    columns = texts_by_name(column or [], option="--column")
    with connect(server, data) as api:
        edit(
            api,
            name,
            description=description,
            tags=tag or [],
            untag=untag or [],
            owners=owner or [],
            columns=columns,
        )


def delete(
    name: Name,
    *,
    where: Annotated[str, typer.Option(help="A condition in SQL, such as 'delay IS NULL'.")],
    server: Server = None,
    data: Data = None,
) -> None:
    """Delete the rows of a dataset for which a condition holds. Older versions still have them."""
    from skein.cli.datasets import delete
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        delete(api, name, where=where)


def drop(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Forget a dataset with all its versions. Who is reading it reads on."""
    from skein.cli.datasets import drop
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        drop(api, name, sure=yes)


@catalog.command("export")
def export_catalog(
    file: Annotated[
        Path | None, typer.Argument(help="Where to write it; standard output if left out.")
    ] = None,
    *,
    server: Server = None,
    data: Data = None,
) -> None:
    """Write what was said about all datasets to one file: no rows, no secrets, no tokens."""
    from skein.cli.catalog_file import export_catalog
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        export_catalog(api, file)


@catalog.command("import")
def import_catalog(
    file: Annotated[Path, typer.Argument(help="What an export wrote; - is standard input.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Change what the server says otherwise; else it stays.")
    ] = False,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Say what a file says, here or on another server; what it does not name stays. 1: something differs."""
    from skein.cli.catalog_file import import_catalog
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        import_catalog(api, file, dry_run=dry_run, overwrite=overwrite, json=json)
