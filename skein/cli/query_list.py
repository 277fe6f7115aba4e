"""`skein queries` and `skein queries cancel`."""

from collections.abc import Sequence

import typer

from schemas.queries import Query, QueryPage
from skein.cli.remote.client import Api, path_of
from skein.cli.terminal.tables import Column, show_table
from skein.cli.terminal.wording import as_json, size, when

_SQL = 60
_PATIENCE = {"Prefer": "wait=10"}


def show_queries(
    api: Api, *, states: Sequence[str], actor: str | None, door: str | None, limit: int, json: bool
) -> None:
    """What runs or ran lately, newest first."""
    page = api.get(
        QueryPage, path_of("queries"), state=list(states) or None, actor=actor, door=door, limit=limit
    )
    if json:
        typer.echo(as_json(page.items))
        return
    columns = ["id", "state", "actor", "door", "began", "progress", "rows", "bytes", "lag", "sql"]
    numbers = ("progress", "rows", "bytes", "lag")
    show_table([Column(name, right=name in numbers) for name in columns], list(map(_row, page.items)))


def cancel(api: Api, query_id: str) -> None:
    """
    Raises:
        CliError: there is no such query, or it is somebody else's.
    """
    stopped = api.send(Query, "DELETE", path_of("queries", query_id), headers=_PATIENCE)
    typer.echo(f"{stopped.id}: {stopped.state}")


def _row(query: Query) -> tuple[str, ...]:
    words = " ".join(query.sql.split())
    return (
        query.id,
        query.state,
        query.actor,
        query.door,
        when(query.created_at),
        "" if query.progress is None else f"{query.progress:.0%}",
        f"{query.rows:,}",
        size(query.size_bytes),
        "" if query.consumer_lag_s is None else f"{query.consumer_lag_s:.1f}s",
        words if len(words) <= _SQL else words[: _SQL - 1] + "…",
    )
