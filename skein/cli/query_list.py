"""`skein queries` and `skein queries cancel`."""

from collections.abc import Sequence

import typer

from schemas.queries import Query, QueryPage
from skein.cli.remote.client import Api, path_of
from skein.cli.terminal.tables import Column, number, show_items
from skein.cli.terminal.wording import size, when

_SQL = 24  # what a narrow terminal shows of it at least
_PATIENCE = {"Prefer": "wait=10"}


def show_queries(
    api: Api, *, states: Sequence[str], actor: str | None, door: str | None, limit: int, json: bool
) -> None:
    """What runs or ran lately, newest first."""
    page = api.get(
        QueryPage, path_of("queries"), state=list(states) or None, actor=actor, door=door, limit=limit
    )
    show_items(
        page.items,
        {
            "id": lambda query: query.id,
            "state": lambda query: query.state,
            "actor": lambda query: query.actor,
            "door": lambda query: query.door,
            "began": lambda query: when(query.created_at),
            number("progress"): lambda query: "" if query.progress is None else f"{query.progress:.0%}",
            number("rows"): lambda query: f"{query.rows:,}",
            number("bytes"): lambda query: size(query.size_bytes),
            number("lag"): _lag,
            Column("sql", least=_SQL): lambda query: " ".join(query.sql.split()),
        },
        json=json,
    )


def cancel(api: Api, query_id: str) -> None:
    """
    Raises:
        CliError: there is no such query, or it is somebody else's.
    """
    stopped = api.send(Query, "DELETE", path_of("queries", query_id), headers=_PATIENCE)
    typer.echo(f"{stopped.id}: {stopped.state}")


def _lag(query: Query) -> str:
    return "" if query.consumer_lag_s is None else f"{query.consumer_lag_s:.1f}s"
