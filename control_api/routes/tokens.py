"""API tokens: created, listed and revoked. For administrators."""

from functools import partial

from fastapi import APIRouter, Depends

from control_api import answers, requests
from control_api.dependencies import Caller, UseCases, json_body
from control_api.once import OnceOnly
from control_api.paging import Paged, newest_first
from flight_core.domain.tokens import ApiToken
from schemas import tokens as wire
from schemas.http import API

router = APIRouter(prefix=f"{API}/tokens", tags=["tokens"])


@router.post("", status_code=201, dependencies=[Depends(json_body)])
async def create_token(
    request: wire.TokenRequest, use_cases: UseCases, caller: Caller, once: OnceOnly
) -> wire.CreatedToken:
    """Create a token. The response is the only place where its secret is shown. A repetition of the request
    with the same `Idempotency-Key` is answered without the secret. From the first token on a server that was
    open to everybody wants credentials: give it the scope `admin`."""
    create = partial(
        use_cases.access.create_token,
        request.name,
        actor=caller,
        expires_at=request.expires_at,
        **requests.grant(request),
    )

    def again(token_id: str) -> tuple[ApiToken, str | None]:
        return next(each for each in use_cases.access.list_tokens(actor=caller) if each.id == token_id), None

    token, secret = await once.in_thread(create, id_of=lambda made: made[0].id, again=again)
    return answers.created_token(token, secret)


@router.get("")
def list_tokens(use_cases: UseCases, caller: Caller, paging: Paged) -> wire.TokenPage:
    """All tokens, newest first, including revoked and expired ones."""
    found = use_cases.access.list_tokens(actor=caller)
    page, following = paging.page(found, place=newest_first)
    return wire.TokenPage(items=list(map(answers.token, page)), next=following)


@router.delete("/{token_id}", status_code=204)
def revoke_token(token_id: str, use_cases: UseCases, caller: Caller) -> None:
    """Revoke a token: it is refused from the next request on, by all servers that share the catalog."""
    use_cases.access.revoke_token(token_id, actor=caller)
