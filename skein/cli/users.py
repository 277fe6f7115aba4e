"""What `skein user ...` asks and prints."""

import sys
from collections.abc import Mapping

import typer

from flight_core.domain.errors import InvalidOption
from schemas.users import UserRequest
from skein.cli.access import Desk
from skein.cli.terminal.tables import show_items
from skein.cli.terminal.wording import as_json, when


def read_password(*, from_stdin: bool) -> str:
    """Asked for twice, or the first line of standard input; never an argument, which others could see.

    Raises:
        InvalidOption: there is nobody to ask.
    """
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise InvalidOption(
            "there is no terminal to ask for the password; send it to standard input, with --password-stdin",
            option="password",
        )
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def add(access: Desk, name: str, password: str, grant: Mapping[str, object], *, json: bool) -> None:
    user = access.add_user(UserRequest.model_validate({"name": name, "password": password, **grant}))
    typer.echo(as_json(user) if json else f"added {user.name}")


def show(access: Desk, *, json: bool) -> None:
    show_items(
        access.list_users(),
        {
            "name": lambda user: user.name,
            "scopes": lambda user: "+".join(user.scopes),
            "datasets": lambda user: " ".join(user.datasets),
            "added": lambda user: when(user.created_at),
            "by": lambda user: user.created_by,
            "password of": lambda user: when(user.password_changed_at),
        },
        json=json,
    )


def remove(access: Desk, name: str) -> None:
    access.remove_user(name)
    typer.echo(f"removed {name}")


def change_password(access: Desk, name: str, password: str) -> None:
    access.change_password(name, password)
    typer.echo(f"changed the password of {name}; what they logged in with before is worthless")
