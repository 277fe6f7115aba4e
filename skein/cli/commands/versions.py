"""`skein profile`, `history`, `diff`, `restore`, `tag`, `tags` and `retention` with their options."""

from typing import Annotated

import typer

from skein.cli.commands.parameters import Data, Json, Message, Name, Server

_VERSION = "3, v3, a moment such as 2026-01-31T12:00:00Z, or a tag"


def history(
    name: Name,
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many versions.")] = 20,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """List what happened to a dataset, newest first: who, why, and what."""
    from skein.cli.remote.client import connect
    from skein.cli.versions import show_history

    with connect(server, data) as api:
        show_history(api, name, limit=limit, json=json)


def profile(
    name: Name,
    *,
    version: Annotated[str | None, typer.Option(help=f"{_VERSION}; the current version if left out.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Show this column only; repeat it for several.")
    ] = None,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Show what the values of each column are like. The first time, the server reads all of them."""
    from skein.cli.profiles import show_profile
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        show_profile(api, name, version=version, columns=column or [], json=json)


def diff(
    name: Name,
    before: Annotated[str, typer.Argument(help=f"The older version: {_VERSION}.")],
    after: Annotated[str | None, typer.Argument(help="The newer one; the current one if left out.")] = None,
    *,
    key: Annotated[
        list[str] | None,
        typer.Option(help="A column that tells rows apart; repeat it where it takes several."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, max=10_000, help="How many differences to show.")] = 20,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Compare two versions of a dataset: columns, counts of rows, and some of the differences."""
    from skein.cli.remote.client import connect
    from skein.cli.versions import show_diff

    with connect(server, data) as api:
        show_diff(api, name, before, after, key=key or [], limit=limit, json=json)


def restore(
    name: Name,
    version: Annotated[str, typer.Argument(help=f"{_VERSION[0].upper()}{_VERSION[1:]}.")],
    *,
    message: Message = "",
    server: Server = None,
    data: Data = None,
) -> None:
    """Make an older version current again, as a new version. Nothing is copied, and nothing lost."""
    from skein.cli.remote.client import connect
    from skein.cli.versions import restore

    with connect(server, data) as api:
        restore(api, name, version, message=message)


def tag(
    name: Name,
    tag: Annotated[str, typer.Argument(help="The name that the version gets.")],
    *,
    version: Annotated[str | None, typer.Option(help=f"{_VERSION}; the current version if left out.")] = None,
    message: Message = "",
    delete: Annotated[bool, typer.Option("--delete", help="Forget the tag.")] = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Name a version, or move a name to it; a version with a tag is kept. In SQL: "flights@golden"."""
    from skein.cli.remote.client import connect
    from skein.cli.versions import remove_tag, set_tag

    with connect(server, data) as api:
        if delete:
            remove_tag(api, name, tag)
        else:
            set_tag(api, name, tag, version=version, message=message)


def tags(name: Name, *, json: Json = False, server: Server = None, data: Data = None) -> None:
    """List the tags of a dataset's versions."""
    from skein.cli.remote.client import connect
    from skein.cli.versions import show_tags

    with connect(server, data) as api:
        show_tags(api, name, json=json)


def retention(
    name: Name,
    *,
    keep_versions: Annotated[
        int | None, typer.Option(min=1, help="Keep so many of the newest versions.")
    ] = None,
    keep_for: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Keep those that were current within 30d, 12h, 45m or 90s."),
    ] = None,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Keep every version.")] = False,
    default: Annotated[bool, typer.Option("--default", help="Keep what is set for all datasets.")] = False,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Show which versions of a dataset stay, or say which. A version stays if any rule keeps it."""
    from skein.cli.remote.client import connect
    from skein.cli.versions import retention

    with connect(server, data) as api:
        retention(
            api,
            name,
            keep_versions=keep_versions,
            keep_for=keep_for,
            keep_all=keep_all,
            default=default,
            json=json,
        )
