"""The whole catalog as one file."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from control_api.catalog_file import CatalogFiles
from control_api.dependencies import Caller, UseCases, json_body
from schemas import catalog as wire
from schemas.http import API

router = APIRouter(prefix=f"{API}/catalog", tags=["catalog"])


@router.get("/export")
def export_catalog(response: Response, use_cases: UseCases, caller: Caller) -> wire.CatalogFile:
    """What people said about the datasets that the caller sees: notes, tags of versions, retention,
    contracts and derivations; and schedules. Never rows, secrets or tokens."""
    response.headers["Content-Disposition"] = 'attachment; filename="skein-catalog.json"'
    return CatalogFiles(use_cases, caller).exported()


@router.post("/import", dependencies=[Depends(json_body)])
def import_catalog(
    file: wire.CatalogFile,
    request: Request,
    use_cases: UseCases,
    caller: Caller,
    dry_run: Annotated[bool, Query(description="Only tell what would change.")] = False,
    overwrite: Annotated[
        bool, Query(description="Change what the server says otherwise; else it stays, and is told.")
    ] = False,
) -> wire.ImportReport:
    """Say again what an export said, here or on another server. What the file does not name stays. Each part
    is made or refused on its own; doing it twice changes nothing more."""
    files = CatalogFiles(use_cases, caller)
    return files.imported(file, request.scope, dry_run=dry_run, overwrite=overwrite)
