"""What the commands about versions do."""

import json as jsonlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import typer

from flight_core.domain.errors import InvalidOption
from schemas.versions import (
    ColumnChanges,
    DatasetDiff,
    Difference,
    HistoryEntry,
    Retention,
    RowChanges,
    Tag,
    TagPage,
    Version,
    VersionPage,
)
from skein.cli.arguments import seconds_of
from skein.cli.remote.client import Api, path_of
from skein.cli.terminal.tables import Column, number, show_items, show_table
from skein.cli.terminal.wording import as_json, count, size, span, when

_PAGE = 1000


def show_history(api: Api, name: str, *, limit: int, json: bool) -> None:
    path = path_of("datasets", name, "versions")
    show_items(
        list(islice(api.items(VersionPage, path, limit=min(limit, _PAGE)), limit)),
        {
            number("version"): lambda entry: str(entry.version),
            number("rows"): lambda entry: f"{entry.rows:,}",
            number("added"): lambda entry: f"{entry.added_rows:,}",
            number("removed"): lambda entry: f"{entry.removed_rows:,}",
            number("size"): lambda entry: size(entry.size_bytes),
            "operation": lambda entry: entry.operation,
            "committed": lambda entry: when(entry.committed_at),
            "by": lambda entry: entry.actor,
            "source": lambda entry: entry.source,
            Column("message", optional=True): lambda entry: entry.message,
            Column("state", optional=True): _state,
        },
        json=json,
    )


def _state(entry: HistoryEntry) -> str:
    """Tags, and what is not as usual."""
    state = [] if entry.state == "kept" else [entry.state]
    return " ".join([*state, *(f"@{tag}" for tag in entry.tags)])


def show_diff(
    api: Api, name: str, before: str, after: str | None, *, key: Sequence[str], limit: int, json: bool
) -> None:
    diff = api.get(
        DatasetDiff,
        path_of("datasets", name, "diff"),
        **{"from": before, "to": after, "key": list(key), "limit": limit},
    )
    if json:
        typer.echo(as_json(diff))
        return
    old, new = diff.before, diff.after
    typer.echo(
        f"{diff.dataset}: version {old.version} ({count(old.rows, 'row')}) to"
        f" version {new.version} ({count(new.rows, 'row')})"
    )
    for line in (*_column_changes(diff.columns), *_row_changes(diff.rows)):
        typer.echo(line)
    if diff.sample:
        typer.echo()
        columns = ["change", "key", "before", "after"] if diff.key else ["change", "rows", "row"]
        show_table([Column(column) for column in columns], [_cells(each, columns) for each in diff.sample])


def _column_changes(columns: ColumnChanges) -> Iterator[str]:
    for column in columns.added:
        yield f"+ column {column.name} ({column.type})"
    for column in columns.removed:
        yield f"- column {column.name} ({column.type})"
    for retyped in columns.retyped:
        yield f"~ column {retyped.name}: {retyped.before} to {retyped.after}"


def _row_changes(rows: RowChanges) -> Iterator[str]:
    counts = [f"{rows.added:,} added", f"{rows.removed:,} removed"]
    if rows.changed is not None:
        counts += [f"{rows.changed:,} changed", f"{rows.unchanged:,} unchanged"]
    yield f"rows: {', '.join(counts)}"
    for column, changed in (rows.by_column or {}).items():
        yield f"~ {column}: {count(changed, 'row')} changed"


def _cells(difference: Difference, columns: Sequence[str]) -> list[str]:
    before, after = difference.before, difference.after
    if difference.change == "changed" and before is not None and after is not None:
        differing = [name for name in after if before.get(name) != after[name]]
        before = {name: before.get(name) for name in differing}
        after = {name: after[name] for name in differing}
    cells = {
        "change": difference.change,
        "rows": f"{difference.rows:,}",
        "key": _values(difference.key),
        "before": _values(before),
        "after": _values(after),
        "row": _values(after or before),
    }
    return [cells[column] for column in columns]


def _values(values: Mapping[str, Any] | None) -> str:
    texts = ((name, jsonlib.dumps(value, ensure_ascii=False)) for name, value in (values or {}).items())
    return ", ".join(f"{name}={text}" for name, text in texts)


def restore(api: Api, name: str, version: str, *, message: str) -> None:
    made = api.post(Version, path_of("datasets", name, "restore"), {"version": version, "message": message})
    typer.echo(f"'{name}' is at version {made.version} now, with {count(made.rows, 'row')}")


def set_tag(api: Api, name: str, tag: str, *, version: str | None, message: str) -> None:
    made = api.put(Tag, path_of("datasets", name, "tags", tag), {"version": version, "message": message})
    typer.echo(f"'{name}@{made.name}' is version {made.version}")


def remove_tag(api: Api, name: str, tag: str) -> None:
    api.delete(path_of("datasets", name, "tags", tag))
    typer.echo(f"forgot '{name}@{tag}'")


def show_tags(api: Api, name: str, *, json: bool) -> None:
    show_items(
        list(api.items(TagPage, path_of("datasets", name, "tags"))),
        {
            "tag": lambda tag: tag.name,
            number("version"): lambda tag: str(tag.version),
            "tagged": lambda tag: when(tag.tagged_at),
            "by": lambda tag: tag.actor,
            "message": lambda tag: tag.message,
        },
        json=json,
    )


def retention(
    api: Api,
    name: str,
    *,
    keep_versions: int | None,
    keep_for: str | None,
    keep_all: bool,
    default: bool,
    json: bool,
) -> None:
    """
    Raises:
        InvalidOption: wishes that contradict each other, or a time that is none.
    """
    rules = keep_versions is not None or keep_for is not None
    if rules + keep_all + default > 1:
        raise InvalidOption("--keep-all, --default and rules exclude each other; give one of them")
    path = path_of("datasets", name, "retention")
    if default:
        api.delete(path)
    elif rules or keep_all:
        keep_s = None if keep_for is None else seconds_of(keep_for, option="keep_for")
        api.put(Retention, path, {"keep_versions": keep_versions, "keep_s": keep_s})
    found = api.get(Retention, path)
    typer.echo(as_json(found) if json else f"{name}: {_policy(found)}")


def _policy(found: Retention) -> str:
    rules = []
    if found.keep_versions is not None:
        newest = found.keep_versions
        rules.append("the newest version" if newest == 1 else f"the newest {newest:,} versions")
    if found.keep_s is not None:
        rules.append(f"those that were current within {span(found.keep_s)}")
    what = " and ".join(rules) or "all versions"
    verb = "stays" if what == "the newest version" else "stay"
    return f"{what} {verb}{'' if found.own else ', as for all datasets'}"
