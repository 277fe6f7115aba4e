"""The audit log. For administrators."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from control_api import answers
from control_api.dependencies import Caller, UseCases
from control_api.paging import Paged
from flight_core.domain.audit import AuditFilter, Decision
from schemas import audit as wire
from schemas.http import API

router = APIRouter(prefix=f"{API}/audit", tags=["audit"])


@router.get("")
def list_audit(
    use_cases: UseCases,
    caller: Caller,
    paging: Paged,
    actor: Annotated[str | None, Query(description="Only entries of this actor.")] = None,
    action: Annotated[str | None, Query(description="Only this action, such as `open_query`.")] = None,
    decision: Annotated[Decision | None, Query(description="Only this decision.")] = None,
    dataset: Annotated[str | None, Query(description="Only entries that name or read this dataset.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Only entries from this time on.")] = None,
) -> wire.AuditPage:
    """Who asked for what, from where, and whether it was allowed; newest first."""
    wanted = AuditFilter(actor, action, decision, dataset, since)
    (before,) = paging.after(like=(0,)) or (None,)
    found = use_cases.access.read_audit(wanted, actor=caller, limit=paging.limit + 1, before=before)
    entries, following = paging.cut(found, place=lambda entry: (entry.seq,))
    return wire.AuditPage(items=[answers.audit_entry(each) for each in entries], next=following)
