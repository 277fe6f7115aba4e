"""Users who log in with a password. For administrators, except for changing one's own password."""

from functools import partial

from fastapi import APIRouter, Depends

from control_api import answers, requests
from control_api.dependencies import Caller, UseCases, json_body
from control_api.once import OnceOnly
from control_api.paging import Paged
from schemas import users as wire
from schemas.http import API

router = APIRouter(prefix=f"{API}/users", tags=["users"])


@router.post("", status_code=201, dependencies=[Depends(json_body)])
async def add_user(
    request: wire.UserRequest, use_cases: UseCases, caller: Caller, once: OnceOnly
) -> wire.User:
    """Add a user, who can log in at every door: HTTP, Flight and Flight SQL. From the first user on a server
    that was open to everybody wants credentials: give that user the scope `admin`."""
    add, password = use_cases.access.add_user, request.password.get_secret_value()
    user = await once.in_thread(
        partial(
            add,
            request.name,
            password=password,
            actor=caller,
            **requests.grant(request),
        ),
        id_of=lambda made: made.name,
        again=partial(add.again, password=password, actor=caller),
        body=request.model_dump_json().encode(),  # where the password is asterisks
    )
    return answers.user(user)


@router.get("")
def list_users(use_cases: UseCases, caller: Caller, paging: Paged) -> wire.UserPage:
    """All users, ordered by name, except those defined in the settings."""
    found = use_cases.access.list_users(actor=caller)
    page, following = paging.page(found, place=lambda user: (user.name,))
    return wire.UserPage(items=list(map(answers.user, page)), next=following)


@router.delete("/{name}", status_code=204)
def remove_user(name: str, use_cases: UseCases, caller: Caller) -> None:
    """Remove a user: the password and all sessions are refused from the next request on."""
    use_cases.access.remove_user(name, actor=caller)


@router.put("/{name}/password", status_code=204, dependencies=[Depends(json_body)])
def change_password(name: str, request: wire.PasswordRequest, use_cases: UseCases, caller: Caller) -> None:
    """Change a password, which ends all sessions that were opened with the old one."""
    use_cases.access.change_password(
        name,
        password=request.password.get_secret_value(),
        actor=caller,
        current=request.current.get_secret_value() if request.current else None,
    )
