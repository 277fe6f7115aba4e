"""`skein queries` and `skein watch` with their options."""

from typing import Annotated

import typer

from skein.cli.commands.parameters import Data, Json, Server

queries = typer.Typer(name="queries", invoke_without_command=True)


@queries.callback()
def list_queries(
    context: typer.Context,
    *,
    state: Annotated[
        list[str] | None,
        typer.Option(help="queued, running, succeeded, failed or cancelled; repeat it for more."),
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Only those of this user.")] = None,
    door: Annotated[str | None, typer.Option(help="http, websocket, flight or flight_sql.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """List the queries that run or ran lately, newest first; or stop one."""
    if context.invoked_subcommand is not None:
        return
    from skein.cli.query_list import show_queries
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        show_queries(api, states=state or [], actor=actor, door=door, limit=limit, json=json)


@queries.command()
def cancel(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The id of the query.")],
    *,
    server: Server = None,
    data: Data = None,
) -> None:
    """Stop a query, and tell how it ended."""
    from skein.cli.query_list import cancel
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        cancel(api, query)


def watch(
    *,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only about these, such as 'sales_*'; repeat it.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only such as dataset.committed or 'ingestion.*'; repeat it.")
    ] = None,
    job: Annotated[list[str] | None, typer.Option(help="Only of these jobs; repeat it.")] = None,
    after: Annotated[
        str | None,
        typer.Option(help="Begin after this event; 0: with the oldest one kept. Else from now on."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Print what happens to datasets and jobs, as it happens, until Ctrl-C."""
    from skein.cli.remote.client import connect
    from skein.cli.watch import watch

    wanted = {"dataset": dataset or [], "kind": kind or [], "job": job or []}
    with connect(server, data) as api:
        watch(api, wanted, after=after, count=count, as_json=json)
