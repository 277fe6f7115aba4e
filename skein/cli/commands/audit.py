"""`skein audit` with its options."""

from typing import Annotated, Literal

import typer

from skein.cli.commands.parameters import Data, Json, Offline, Server


def audit(
    *,
    actor: Annotated[str | None, typer.Option(help="Only what they did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only these, such as open_query or log_in.")] = None,
    decision: Annotated[
        Literal["allowed", "refused", "failed"] | None, typer.Option(help="Only these.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Only what names or reads this dataset.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    offline: Offline = False,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Tell who asked for what, from where, and how it was decided; the newest first."""
    from skein.cli.access import desk
    from skein.cli.audit import show

    wanted = {"actor": actor, "action": action, "decision": decision, "dataset": dataset}
    with desk(server, data, offline=offline) as access:
        show(access.audit(wanted, limit), json=json)
