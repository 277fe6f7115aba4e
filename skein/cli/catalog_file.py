"""`skein catalog export` and `skein catalog import`."""

import sys
from pathlib import Path

import typer

from flight_core.domain.errors import InvalidOption
from schemas.catalog import CatalogFile, ImportedPart, ImportReport
from skein.cli.arguments import document_in
from skein.cli.remote.client import Api, path_of
from skein.cli.terminal.tables import Column, show_table
from skein.cli.terminal.wording import as_json, count

_NOT_DONE = ("conflict", "refused")


def export_catalog(api: Api, file: Path | None) -> None:
    """To the file, or to standard output."""
    found = api.get(CatalogFile, path_of("catalog", "export"))
    text = as_json(found) + "\n"
    if file is None:
        sys.stdout.write(text)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidOption(f"'{file}' cannot be written: {error.strerror}") from None
    typer.echo(f"{file}: {count(len(found.datasets), 'dataset')}, {count(len(found.schedules), 'schedule')}")


def import_catalog(api: Api, file: Path, *, dry_run: bool, overwrite: bool, json: bool) -> None:
    """
    Raises:
        typer.Exit: some of it is not as the file says.
    """
    flags = f"?dry_run={str(dry_run).lower()}&overwrite={str(overwrite).lower()}"
    body = document_in(file, CatalogFile, what="catalog").model_dump(mode="json", exclude_unset=True)
    report = api.post(ImportReport, path_of("catalog", "import") + flags, body)
    if json:
        typer.echo(as_json(report))
    else:
        _show(report)
    if any(part.outcome in _NOT_DONE for part in report.parts):
        raise typer.Exit(1)


def _show(report: ImportReport) -> None:
    columns = [Column(name) for name in ("outcome", "part", "name", "difference")]
    rows = [(part.outcome, part.part, part.name, _difference(part)) for part in report.parts]
    if rows:
        show_table(columns, rows)
    done = [part for part in report.parts if part.outcome not in _NOT_DONE]
    told = f"{count(len(done), 'change')}{' to make' if report.dry_run else ''}, {report.same:,} the same"
    typer.echo(told)


def _difference(part: ImportedPart) -> str:
    if part.problem is not None:
        return part.problem.detail
    before = part.before or {}
    return ", ".join(sorted(key for key, value in part.after.items() if before.get(key) != value))
