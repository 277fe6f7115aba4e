"""API tokens: handed out, listed, taken back. For administrators."""

from dataclasses import asdict
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends

from control_api.dependencies import Caller, UseCases, json_body
from control_api.once import OnceOnly
from control_api.paging import Paged, Place
from flight_core.domain.access import Scope
from flight_core.domain.limits import Limits
from flight_core.domain.tokens import ApiToken
from schemas import tokens as wire
from schemas.http import API

router = APIRouter(prefix=f"{API}/tokens", tags=["tokens"])


@router.post("", status_code=201, dependencies=[Depends(json_body)])
async def create_token(
    request: wire.TokenRequest, use_cases: UseCases, caller: Caller, once: OnceOnly
) -> wire.CreatedToken:
    """A new token. The answer holds its secret, which is stored nowhere: keep it. The answer to the same
    request with the same `Idempotency-Key` lacks it."""
    create = partial(
        use_cases.access.create_token,
        request.name,
        actor=caller,
        scopes=frozenset(map(Scope, request.scopes)),
        datasets=tuple(request.datasets),
        expires_at=request.expires_at,
        limits=Limits(**request.limits.model_dump()),
    )

    def again(token_id: str) -> tuple[ApiToken, str | None]:
        return next(each for each in use_cases.access.list_tokens(actor=caller) if each.id == token_id), None

    token, secret = await once.in_thread(create, id_of=lambda made: made[0].id, again=again)
    return wire.CreatedToken(**_fields(token), token=secret)


@router.get("")
def list_tokens(use_cases: UseCases, caller: Caller, paging: Paged) -> wire.TokenPage:
    """The newest first, also those that were revoked or have expired."""
    found = use_cases.access.list_tokens(actor=caller)
    page, following = paging.page(found, place=_place, like=(0.0, ""))
    return wire.TokenPage(items=[wire.Token(**_fields(each)) for each in page], next=following)


@router.delete("/{token_id}", status_code=204)
def revoke_token(token_id: str, use_cases: UseCases, caller: Caller) -> None:
    """From the next request on the token is worthless, on all servers of the catalog."""
    use_cases.access.revoke_token(token_id, actor=caller)


def _place(token: ApiToken) -> Place:
    return -token.created_at.timestamp(), token.id


def _fields(token: ApiToken) -> dict[str, Any]:
    return {**asdict(token), "scopes": sorted(token.scopes)}
