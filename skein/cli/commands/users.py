"""`skein user ...` with its options."""

from typing import Annotated

import typer

from skein.cli.commands.parameters import Data, Datasets, Json, Limits, Offline, Scopes, Server

user = typer.Typer(name="user", help="Say who may log in with a password.", no_args_is_help=True)

UserName = Annotated[str, typer.Argument(help="What they log in with.")]
FromStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password from standard input instead of asking for it."),
]


@user.command("add")
def add_user(
    name: UserName,
    *,
    scopes: Scopes,
    datasets: Datasets = None,
    limits: Limits = None,
    password_stdin: FromStdin = False,
    offline: Offline = False,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Let somebody log in with a name and a password, at every door."""
    from skein.cli.access import desk
    from skein.cli.arguments import grant_of
    from skein.cli.users import add, read_password

    password = read_password(from_stdin=password_stdin)
    with desk(server, data, offline=offline) as access:
        add(access, name, password, grant_of(scopes, datasets, limits), json=json)


@user.command("list")
def list_users(
    *, offline: Offline = False, json: Json = False, server: Server = None, data: Data = None
) -> None:
    """List the users; those of the settings are not among them."""
    from skein.cli.access import desk
    from skein.cli.users import show

    with desk(server, data, offline=offline) as access:
        show(access, json=json)


@user.command("remove")
def remove_user(
    name: UserName, *, offline: Offline = False, server: Server = None, data: Data = None
) -> None:
    """Let somebody in no longer, from the next request on, on all servers."""
    from skein.cli.access import desk
    from skein.cli.users import remove

    with desk(server, data, offline=offline) as access:
        remove(access, name)


@user.command("passwd")
def change_password(
    name: UserName,
    *,
    password_stdin: FromStdin = False,
    offline: Offline = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Give somebody another password. Their logins end."""
    from skein.cli.access import desk
    from skein.cli.users import change_password, read_password

    password = read_password(from_stdin=password_stdin)
    with desk(server, data, offline=offline) as access:
        change_password(access, name, password)
