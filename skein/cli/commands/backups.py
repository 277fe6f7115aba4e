"""`skein backup ...` with its options."""

from pathlib import Path
from typing import Annotated

import typer

backup = typer.Typer(
    name="backup", help="Copy a data directory, and start from the copy.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Argument(help="The folder of the backup.")]
Data = Annotated[
    Path | None, typer.Option(help="The data directory; SKEIN_DATA if left out, else skein-data.")
]


@backup.command("create")
def create_backup(folder: Folder, *, data: Data = None) -> None:
    """Copy a data directory, while servers use it or not. An earlier backup is brought up to date."""
    from skein.backup import back_up
    from skein.cli.backups import copying, summary
    from skein.directory import DataDirectory
    from skein.settings import load_settings

    settings = load_settings(data=data)
    with copying("backup") as advance:
        made = back_up(
            DataDirectory(settings.data), folder, catalog=settings.catalog_url is None, advance=advance
        )
    typer.echo(f"{folder}: {summary(made)}")


@backup.command("check")
def check_backup(folder: Folder) -> None:
    """Look whether a backup has all that it needs to start from."""
    from skein.backup import check
    from skein.cli.backups import summary

    typer.echo(f"{folder}: {summary(check(folder))}")


@backup.command("restore")
def restore_backup(
    folder: Folder,
    *,
    data: Annotated[Path, typer.Option(help="A new data directory, to be filled.")],
) -> None:
    """Fill a new data directory from a backup; then `skein serve --data` it."""
    from skein.backup import restore
    from skein.cli.backups import copying, summary
    from skein.directory import DataDirectory

    with copying("restore") as advance:
        made = restore(folder, DataDirectory(data), advance=advance)
    typer.echo(f"{data}: {summary(made)}")
