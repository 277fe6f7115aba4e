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
    """Export the catalog as one file: descriptions, version tags, retention, contracts and derivations of all
    datasets that the caller sees, and the schedules. It never contains rows, secrets or tokens."""
    response.headers["Content-Disposition"] = 'attachment; filename="skein-catalog.json"'
    return CatalogFiles(use_cases, caller).exported()


@router.post("/import", dependencies=[Depends(json_body)])
def import_catalog(
    file: wire.CatalogFile,
    request: Request,
    use_cases: UseCases,
    caller: Caller,
    dry_run: Annotated[bool, Query(description="Change nothing; only report what would change.")] = False,
    overwrite: Annotated[
        bool, Query(description="Replace what differs on the server; otherwise it is kept, as a conflict.")
    ] = False,
) -> wire.ImportReport:
    """Import an exported file, on the same server or on another one. What the file does not name is left
    alone. Each part succeeds or fails independently; importing a file twice changes nothing more."""
    files = CatalogFiles(use_cases, caller)
    return files.imported(file, request.scope, dry_run=dry_run, overwrite=overwrite)
