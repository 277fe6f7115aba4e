"""`skein preview`: what an ingestion would make of a source."""

import json
from collections.abc import Mapping, Sequence

import typer

from schemas.ingestions import Preview, PreviewCheck
from skein.cli.remote.client import Api, path_of
from skein.cli.terminal.tables import Column, show_table
from skein.cli.terminal.wording import as_json, count


def preview(api: Api, source: Mapping[str, object], request: Mapping[str, object], *, as_json_: bool) -> None:
    """Raises CliError as the server does."""
    found = api.post(Preview, path_of("ingestions", "preview"), {"source": source, **request})
    if as_json_:
        typer.echo(as_json(found))
        return
    options = "".join(f", {name} {json.dumps(value)}" for name, value in sorted(found.options.items()))
    typer.echo(f"{found.format}{options}")
    _show_rows(found)
    if found.check is not None:
        _show_check(found.check)
    for warning in found.warnings:
        typer.echo(f"note: {warning}", err=True)
    if found.sampled:
        typer.echo("note: only the beginning was looked at; what comes later may change types", err=True)


def _show_rows(found: Preview) -> None:
    columns = [Column(column.name, column.type, right=_is_number(column.type)) for column in found.columns]
    names: Sequence[str] = [column.name for column in found.columns]
    rows = [[_text(row.get(name)) for name in names] for row in found.rows]
    hidden = show_table(columns, rows, null="null")
    if hidden:
        typer.echo(f"{hidden} columns in the middle are not shown; --json has them", err=True)


def _show_check(check: PreviewCheck) -> None:
    typer.echo(f"{check.rejected_rows:,} of {count(check.rows, 'row')} would be rejected")
    if check.rejected:
        rows = [
            (_text(row.row), ", ".join(row.rules), json.dumps(row.raw, ensure_ascii=False))
            for row in check.rejected
        ]
        show_table([Column("row", right=True), Column("rules"), Column("values")], rows)
    if check.violation is not None:
        typer.echo(f"an ingestion would fail: {check.violation}")


def _is_number(type: str) -> bool:
    return type.startswith(("int", "uint", "float", "double", "decimal"))


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
