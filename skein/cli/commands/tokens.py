"""`skein token ...` with its options."""

from typing import Annotated

import typer

from skein.cli.commands.parameters import Data, Datasets, Json, Limits, Offline, Scopes, Server

token = typer.Typer(name="token", help="Hand out API tokens, and take them back.", no_args_is_help=True)


@token.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="Who its holder is, in logs and lists.")],
    *,
    scopes: Scopes,
    datasets: Datasets = None,
    expires: Annotated[str | None, typer.Option(help="After how long: 12h, 30d; never if left out.")] = None,
    limits: Limits = None,
    offline: Offline = False,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Make an API token. Its secret is printed once, alone on standard output."""
    from skein.cli.access import desk
    from skein.cli.arguments import grant_of, seconds_of
    from skein.cli.tokens import create

    ttl_s = None if expires is None else seconds_of(expires, option="expires")
    with desk(server, data, offline=offline) as access:
        create(access, name, grant_of(scopes, datasets, limits), ttl_s, json=json)


@token.command("list")
def list_tokens(
    *, offline: Offline = False, json: Json = False, server: Server = None, data: Data = None
) -> None:
    """List the tokens, the newest first; never their secrets."""
    from skein.cli.access import desk
    from skein.cli.tokens import show

    with desk(server, data, offline=offline) as access:
        show(access, json=json)


@token.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(help="As `skein token list` has it.")],
    *,
    offline: Offline = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Make a token worthless from the next request on, on all servers."""
    from skein.cli.access import desk
    from skein.cli.tokens import revoke

    with desk(server, data, offline=offline) as access:
        revoke(access, token_id)
