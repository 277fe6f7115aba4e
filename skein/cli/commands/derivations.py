"""`skein derive`, `underive`, `derived` and `lineage` with their options."""

from typing import Annotated

import typer

from skein.cli.commands.parameters import Data, Json, Name, Server


def derive(
    name: Name,
    *,
    sql: Annotated[
        str | None, typer.Option(help="One statement that reads; its datasets are the inputs.")
    ] = None,
    step: Annotated[str | None, typer.Option(help="Instead: an installed step, see `skein steps`.")] = None,
    input: Annotated[
        list[str] | None, typer.Option(help="A dataset that the step is given; repeat it for each.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            help="A value for ? or $1, or NAME=VALUE for a step, as JSON or text; repeat it for each."
        ),
    ] = None,
    manual: Annotated[
        bool, typer.Option("--manual", help="Refresh when asked, not whenever an input changes.")
    ] = False,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Append what comes from new rows, where that is enough.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Instead: go on with what was paused; it is yours from then on.")
    ] = False,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Say what makes a dataset; it is made anew whenever an input changes."""
    from skein.cli import derivations
    from skein.cli.arguments import named_values, value_of
    from skein.cli.remote.client import connect

    if resume:
        with connect(server, data) as api:
            derivations.resume(api, name, json=json)
        return
    given = param or []
    named = step is not None
    params = named_values(given, option="--param") if named else [value_of(each) for each in given]
    what = {"sql": sql, "step": step, "inputs": input or [], "params": params}
    what["incremental"] = "append" if incremental else None
    with connect(server, data) as api:
        derivations.derive(api, name, what, manual=manual, json=json)


def steps(*, json: Json = False, server: Server = None, data: Data = None) -> None:
    """List the steps that the operator has installed, to derive datasets with."""
    from skein.cli.derivations import show_steps
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        show_steps(api, json=json)


def underive(name: Name, *, server: Server = None, data: Data = None) -> None:
    """Leave a derived dataset as it is from now on."""
    from skein.cli.derivations import underive
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        underive(api, name)


def derived(*, json: Json = False, server: Server = None, data: Data = None) -> None:
    """List the derived datasets, and how fresh they are."""
    from skein.cli.derivations import show_derivations
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        show_derivations(api, json=json)


def lineage(
    name: Name,
    *,
    version: Annotated[
        str | None, typer.Option(help="3, v3, a moment or a tag; the current one if left out.")
    ] = None,
    depth: Annotated[int, typer.Option(min=0, max=1000, help="At most so many steps away.")] = 10,
    down: Annotated[
        bool, typer.Option("--down", help="What was made from it, not what it was made from.")
    ] = False,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Show where a version comes from, or what was made from it."""
    from skein.cli.derivations import show_lineage
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        show_lineage(api, name, version=version, depth=depth, down=down, json=json)
