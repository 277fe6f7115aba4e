"""The record of who asked for what. For administrators."""

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
    actor: Annotated[str | None, Query(description="Only theirs.")] = None,
    action: Annotated[str | None, Query(description="Only these, such as `open_query`.")] = None,
    decision: Annotated[Decision | None, Query(description="Only these.")] = None,
    dataset: Annotated[str | None, Query(description="Only what names or reads this dataset.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Not what was before.")] = None,
) -> wire.AuditPage:
    """The newest first."""
    wanted = AuditFilter(actor, action, decision, dataset, since)
    (before,) = paging.after(like=(0,)) or (None,)
    found = use_cases.access.read_audit(wanted, actor=caller, limit=paging.limit + 1, before=before)
    entries, following = paging.cut(found, place=lambda entry: (entry.seq,))
    return wire.AuditPage(items=[answers.audit_entry(each) for each in entries], next=following)
