"""`skein edit`: what people say about datasets."""

from typing import Annotated

import typer

from skein.cli.parameters import Data, Name, Server


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
    from flight_core.domain.errors import InvalidOption
    from skein.cli.client import connect
    from skein.cli.datasets import edit

    columns = {}
    for each in column or []:
        found, equals, text = each.partition("=")
        if not equals:
            raise InvalidOption(f"'{each}' is not NAME=TEXT")
        columns[found] = text
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
