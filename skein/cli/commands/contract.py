"""`skein contract` with its options."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from skein.cli.commands.parameters import Data, Json, Name, Server


def contract(
    action: Annotated[
        Literal["show", "set", "infer", "check", "withdraw", "replay"],
        typer.Argument(
            help="show it, set it from FILE, infer one from the data, check the rows that are there (by FILE"
            " if it is given), withdraw it, or replay the rows that were rejected."
        ),
    ],
    name: Name,
    file: Annotated[Path | None, typer.Argument(help="A contract, in JSON.")] = None,
    *,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """What the rows of a dataset have to be like, and what becomes of those that are not."""
    from skein.cli.contracts import contract
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        contract(api, action, name, file=file, json=json)
