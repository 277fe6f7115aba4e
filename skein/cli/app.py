"""`skein`: every command by its subject. What a command needs is imported when it runs."""

import errno
import os
import sys
import traceback
from contextlib import suppress
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from flight_core.domain.errors import FlightCoreError
from flight_core.domain.system_errors import system_failure
from skein.cli.commands.audit import audit
from skein.cli.commands.backups import backup
from skein.cli.commands.catalog import catalog, datasets, delete, describe, drop, edit
from skein.cli.commands.contract import contract
from skein.cli.commands.derivations import derive, derived, lineage, steps, underive
from skein.cli.commands.ingest import ingest, preview
from skein.cli.commands.jobs import compact, jobs, vacuum
from skein.cli.commands.parameters import Data, Server
from skein.cli.commands.query import query
from skein.cli.commands.query_list import queries, watch
from skein.cli.commands.schedules import refresh, schedule
from skein.cli.commands.tokens import token
from skein.cli.commands.users import user
from skein.cli.commands.versions import diff, history, profile, restore, retention, tag, tags
from skein.cli.remote.failures import INTERRUPTED, CliError, one_line
from skein.cli.serve import serve, serve_control, serve_flight

app = typer.Typer(
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"skein {installed_version('skein-flight')}")
        raise typer.Exit


@app.callback()
def skein(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_tell_version)
    ] = False,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Log in as this user; the password is SKEIN_PASSWORD, or asked for. SKEIN_USER if left out.",
        ),
    ] = None,
    server: Server = None,
) -> None:
    """Keep big tables as versioned Parquet, ask them in SQL, stream the answers as Arrow."""
    if user is not None or server is not None:
        from skein.cli.remote.login import log_in_as, talk_to

        if user is not None:
            log_in_as(user)
        if server is not None:
            talk_to(server)


def doctor(*, server: Server = None, data: Data = None) -> None:
    """Check the installation, the sandbox, the ports, the disk and the server."""
    from skein.cli.doctor import examine

    if not examine(server=server, data=data):
        raise typer.Exit(1)


_PANELS = {
    "Serve and ask": (serve, query, queries, watch, doctor),
    "Datasets": (datasets, describe, edit, profile, delete, drop, catalog),
    "Bring rows in": (ingest, preview, refresh, schedule, contract, jobs),
    "Versions": (history, diff, restore, tag, tags, retention, compact, vacuum),
    "Derived datasets": (derive, derived, lineage, steps, underive),
    "Operate": (backup, token, user, audit, serve_flight, serve_control),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, rich_help_panel=_panel)
        else:
            app.command(rich_help_panel=_panel)(_command)


def run_command() -> NoReturn:
    """As the command line says."""
    status = _status(sys.argv[1:] or ["--help"])
    if status == INTERRUPTED:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(status)  # a thread may still wait for the server
    sys.exit(status)


def _status(arguments: list[str]) -> int:
    """The exit code: 0, 1 for a failure, 2 for a wrong use, 130 after Ctrl-C."""
    try:
        return app(arguments, prog_name="skein", standalone_mode=False) or 0
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "skein"
        message = error.format_message().replace("Value error, ", "")
        stop = "" if message.endswith((".", "?", "!")) else "."
        return _told(CliError("usage", f"{message}{stop} Try '{command} --help'."), error.exit_code)
    except typer.Abort:
        return INTERRUPTED
    except (CliError, FlightCoreError) as error:
        return _told(error)
    except OSError as error:
        return _told(_of_system(error))
    except Exception as error:
        return _told(CliError("internal_error", _bug(error)))


def _of_system(error: OSError) -> Exception:
    """Disks and files that cannot be used are no bug."""
    if error.filename and (isinstance(error, PermissionError) or error.errno == errno.EROFS):
        return CliError(
            "unusable_file", f"'{error.filename}' cannot be used: {error.strerror}; see whom it belongs to"
        )
    return system_failure(error) or CliError("internal_error", _bug(error))


def _bug(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno});"
        " see what 'skein doctor' says, or report it"
    )


def _told(error: Exception, status: int = 1) -> int:
    typer.echo(one_line(error), err=True)
    return status
