"""Which server the commands talk to, and who they are: the holder of a token, or a user with a password."""

import base64
import sys
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import typer

from flight_core.domain.errors import InvalidOption
from skein.settings import ClientSettings, load_client_settings

_server: ContextVar[str | None] = ContextVar("server", default=None)
_user: ContextVar[str | None] = ContextVar("user", default=None)


def talk_to(server: str) -> None:
    """From now on, where a command names no other."""
    _server.set(server)


def log_in_as(user: str) -> None:
    """From now on, whatever the environment says."""
    _user.set(user)


def client_settings(server: str | None, data: Path | None) -> ClientSettings:
    """Those of the flags and of the environment. Raises InvalidOption."""
    return load_client_settings(server=server or _server.get(), data=data, user=_user.get())


def authorization(settings: ClientSettings) -> str:
    """What the header says; nothing if nobody is named. A password that is not known is asked for, once.

    Raises:
        InvalidOption: there is nobody to ask, or no user can be called that.
    """
    if not settings.user:
        token = settings.token.get_secret_value()
        return f"Bearer {token}" if token else ""
    if ":" in settings.user:
        raise InvalidOption(f"'{settings.user}' is not the name of a user: it has a colon", option="user")
    password = settings.password.get_secret_value() or _asked(settings.user)
    return "Basic " + base64.b64encode(f"{settings.user}:{password}".encode()).decode()


@cache
def _asked(user: str) -> str:
    if not sys.stdin.isatty():
        raise InvalidOption(
            f"the password of '{user}' is not known, and there is no terminal to ask for it; set"
            " SKEIN_PASSWORD",
            option="password",
        )
    return str(typer.prompt(f"Password of {user}", hide_input=True, err=True))
