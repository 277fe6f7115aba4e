"""The record of who asked for what. For administrators."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime
from starlette.responses import Response

from control_api import answers
from control_api.dependencies import Caller, UseCases
from control_api.paging import Cursor, Limit, link_after, place_of
from flight_core.domain.audit import AuditFilter, Decision
from schemas import audit as wire
from schemas.http import API

router = APIRouter(prefix=f"{API}/audit", tags=["audit"])


@router.get("")
def list_audit(
    request: Request,
    response: Response,
    use_cases: UseCases,
    caller: Caller,
    actor: Annotated[str | None, Query(description="Only theirs.")] = None,
    action: Annotated[str | None, Query(description="Only these, such as `open_query`.")] = None,
    decision: Annotated[Decision | None, Query(description="Only these.")] = None,
    dataset: Annotated[str | None, Query(description="Only what names or reads this dataset.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Not what was before.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> wire.AuditPage:
    """The newest first."""
    wanted = AuditFilter(actor, action, decision, dataset, since)
    before = int(place_of(cursor, like=(0,))[0]) if cursor else None
    found = use_cases.access.read_audit(wanted, actor=caller, limit=limit + 1, before=before)
    last = (found[limit - 1].seq,) if len(found) > limit else None
    following = link_after(last, request, response)
    return wire.AuditPage(items=[answers.audit_entry(each) for each in found[:limit]], next=following)
