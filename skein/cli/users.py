"""What `skein user ...` asks and prints."""

import sys
from collections.abc import Mapping

import typer

from schemas.users import UserRequest
from skein.cli.access import Desk
from skein.cli.terminal.tables import Column, show_table
from skein.cli.terminal.wording import as_json, when


def read_password(*, from_stdin: bool) -> str:
    """Asked for twice, or the first line of standard input; never an argument, which others could see."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def add(access: Desk, name: str, password: str, grant: Mapping[str, object], *, json: bool) -> None:
    user = access.add_user(UserRequest.model_validate({"name": name, "password": password, **grant}))
    typer.echo(as_json(user) if json else f"added {user.name}")


def show(access: Desk, *, json: bool) -> None:
    found = access.list_users()
    if json:
        typer.echo(as_json(found))
        return
    show_table(
        [Column(title) for title in ("name", "scopes", "datasets", "added", "by", "password of")],
        [
            (
                each.name,
                "+".join(each.scopes),
                " ".join(each.datasets),
                when(each.created_at),
                each.created_by,
                when(each.password_changed_at),
            )
            for each in found
        ],
    )


def remove(access: Desk, name: str) -> None:
    access.remove_user(name)
    typer.echo(f"removed {name}")


def change_password(access: Desk, name: str, password: str) -> None:
    access.change_password(name, password)
    typer.echo(f"changed the password of {name}; what they logged in with before is worthless")
