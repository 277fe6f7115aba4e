"""`skein datasets`, `describe` and `drop`."""

import sys
from collections.abc import Mapping, Sequence
from json import dumps

import typer

from flight_core.domain.errors import InvalidOption
from schemas.datasets import Dataset, DatasetDescription, DatasetPage, Deleted, Usage
from skein.cli.remote.client import Api, path_of
from skein.cli.terminal.tables import Column, number, show_items
from skein.cli.terminal.wording import as_json, count, short, size, when


def show_datasets(
    api: Api, *, json: bool, search: str | None = None, tags: Sequence[str] = (), owner: str | None = None
) -> None:
    """All of them, by name, or those that fit, the best ones first."""
    datasets = list(
        api.items(DatasetPage, path_of("datasets"), q=search, tag=list(tags) or None, owner=owner)
    )
    if not (datasets or json):
        wanted = search or tags or owner
        found = "none fits" if wanted else "none yet; make one with 'skein ingest FILE --as NAME'"
        typer.echo(found, err=True)
    show_items(
        datasets,
        {
            "name": lambda dataset: dataset.name,
            number("rows"): lambda dataset: f"{dataset.rows:,}",
            number("size"): lambda dataset: size(dataset.size_bytes),
            number("version"): lambda dataset: str(dataset.version),
            "updated": lambda dataset: when(dataset.updated_at),
            Column("description", optional=True): lambda dataset: dataset.description,
        },
        json=json,
    )


def describe(api: Api, name: str, *, version: str | None, json: bool) -> None:
    """One version of a dataset, the current one where none is named."""
    described = api.get(DatasetDescription, path_of("datasets", name), version=version)
    if json:
        typer.echo(as_json(described))
        return
    typer.echo(_headline(described))
    tags = " ".join(f"#{tag}" for tag in described.tags)
    owners = f"owned by {', '.join(described.owners)}" if described.owners else ""
    usage = _usage(api.get(Usage, path_of("datasets", name, "usage")))
    for line in (described.description, tags, owners, usage):
        if line:
            typer.echo(line)
    typer.echo()
    _show_columns(described)
    typer.echo()
    _show_versions(described)


def edit(
    api: Api,
    name: str,
    *,
    description: str | None,
    tags: Sequence[str],
    untag: Sequence[str],
    owners: Sequence[str],
    columns: Mapping[str, str],
) -> None:
    """Change what is said about a dataset; tags and owners are added to those that are there."""
    path = path_of("datasets", name)
    etag = api.etag(path)
    now = api.get(DatasetDescription, path)
    change: dict[str, object] = {} if description is None else {"description": description}
    if tags or untag:
        change["tags"] = [tag for tag in dict.fromkeys([*now.tags, *tags]) if tag not in untag]
    if owners:
        change["owners"] = list(dict.fromkeys([*now.owners, *owners]))
    if columns:
        change["columns"] = dict(columns)
    headers = {"If-Match": etag, "Content-Type": "application/merge-patch+json"}
    content = dumps(change).encode()
    changed = api.send(Dataset, "PATCH", path, headers=headers, content=content)
    typer.echo(f"changed '{changed.name}'")


def delete(api: Api, name: str, *, where: str) -> None:
    """
    Raises:
        CliError: there is no such dataset, or it is no condition.
    """
    deleted = api.post(Deleted, path_of("datasets", name, "delete"), {"where": where})
    typer.echo(f"{deleted.dataset}: deleted {count(deleted.deleted_rows, 'row')}, version {deleted.version}")


def drop(api: Api, name: str, *, sure: bool) -> None:
    """
    Raises:
        CliError: there is no such dataset.
        InvalidOption: nobody is there to be asked.
        typer.Exit: the answer was no.
    """
    if not sure:
        described = api.get(DatasetDescription, path_of("datasets", name))
        if not sys.stdin.isatty():
            raise InvalidOption(f"nobody can be asked whether to drop '{name}'; add --yes")
        versions = count(len(described.versions), "version")
        question = f"Drop '{described.name}', {count(described.rows, 'row')} and {versions}?"
        if not typer.confirm(question, err=True):
            raise typer.Exit(1)
    api.delete(path_of("datasets", name))
    typer.echo(f"dropped '{name}'")


def _headline(described: DatasetDescription) -> str:
    version = f"version {described.version}"
    if described.version != described.current_version:
        version += f" (the current one is {described.current_version})"
    return (
        f"{described.name}: {version}, {count(described.rows, 'row')}, {size(described.size_bytes)},"
        f" committed {when(described.updated_at)}"
    )


def _usage(usage: Usage) -> str:
    if usage.last_queried_at is None:
        return "never read by a query"
    asked = f"{count(usage.queries, 'time')} by {count(usage.identities, 'user')}"
    return f"read {asked}, the last time {when(usage.last_queried_at)}"


def _show_columns(described: DatasetDescription) -> None:
    show_items(
        described.columns,
        {
            "column": lambda column: column.name,
            "type": lambda column: column.type,
            number("nulls"): lambda column: "" if column.null_count is None else f"{column.null_count:,}",
            "minimum": lambda column: _bound(column.minimum, column.type),
            "maximum": lambda column: _bound(column.maximum, column.type),
            Column("~distinct", right=True, optional=True): lambda column: (
                "" if column.distinct is None else f"{column.distinct:,}"
            ),
            number("size"): lambda column: size(column.size_bytes),
            Column("description", optional=True): lambda column: column.description,
        },
    )


def _show_versions(described: DatasetDescription) -> None:
    show_items(
        described.versions,
        {
            number("version"): lambda version: str(version.version),
            number("rows"): lambda version: f"{version.rows:,}",
            number("added"): lambda version: f"{version.added_rows:,}",
            number("size"): lambda version: size(version.size_bytes),
            "operation": lambda version: version.operation,
            "committed": lambda version: when(version.committed_at),
            "source": lambda version: version.info.get("source", ""),
        },
    )


def _bound(value: object, type: str) -> str:
    """Bounds that are not known are left empty."""
    if value is None:
        return ""
    return short(str(value)) if type.startswith("timestamp") else str(value)
