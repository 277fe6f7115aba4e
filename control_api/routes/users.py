"""Users who log in with a password. For administrators, but for one's own password."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Depends

from control_api.dependencies import Caller, UseCases, json_body
from control_api.once import OnceOnly
from control_api.paging import Paged
from flight_core.domain.access import Scope
from flight_core.domain.limits import Limits
from flight_core.domain.users import User
from schemas import tokens
from schemas import users as wire
from schemas.http import API

router = APIRouter(prefix=f"{API}/users", tags=["users"])


@router.post("", status_code=201, dependencies=[Depends(json_body)])
async def add_user(
    request: wire.UserRequest, use_cases: UseCases, caller: Caller, once: OnceOnly
) -> wire.User:
    """Somebody who can log in from now on, at every door."""
    add, password = use_cases.access.add_user, request.password.get_secret_value()
    user = await once.in_thread(
        partial(
            add,
            request.name,
            password=password,
            actor=caller,
            scopes=frozenset(map(Scope, request.scopes)),
            datasets=tuple(request.datasets),
            limits=Limits(**request.limits.model_dump()),
        ),
        id_of=lambda made: made.name,
        again=partial(add.again, password=password, actor=caller),
        body=request.model_dump_json().encode(),  # where the password is asterisks
    )
    return _wire(user)


@router.get("")
def list_users(use_cases: UseCases, caller: Caller, paging: Paged) -> wire.UserPage:
    """By name. Those of the settings are not among them."""
    found = use_cases.access.list_users(actor=caller)
    page, following = paging.page(found, place=lambda user: (user.name,))
    return wire.UserPage(items=list(map(_wire, page)), next=following)


@router.delete("/{name}", status_code=204)
def remove_user(name: str, use_cases: UseCases, caller: Caller) -> None:
    """From the next request on neither the password nor a login of theirs is good."""
    use_cases.access.remove_user(name, actor=caller)


@router.put("/{name}/password", status_code=204, dependencies=[Depends(json_body)])
def change_password(name: str, request: wire.PasswordRequest, use_cases: UseCases, caller: Caller) -> None:
    """Another password, which ends all logins with the one before."""
    use_cases.access.change_password(
        name,
        password=request.password.get_secret_value(),
        actor=caller,
        current=request.current.get_secret_value() if request.current else None,
    )


def _wire(user: User) -> wire.User:
    return wire.User(
        name=user.name,
        scopes=list[Any](sorted(user.scopes)),
        datasets=list(user.datasets),
        created_at=user.created_at,
        created_by=user.created_by,
        password_changed_at=user.password_changed_at,
        limits=tokens.Limits.model_validate(user.limits.given()),
    )
