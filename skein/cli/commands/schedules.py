"""`skein schedule ...` and `skein refresh` with their options."""

from typing import Annotated

import typer

from skein.cli.commands.parameters import (
    Data,
    Format,
    FormatOptions,
    Into,
    Json,
    Keys,
    Message,
    Mode,
    Name,
    Policy,
    Server,
    Types,
)

schedule = typer.Typer(name="schedule", help="Let ingestions repeat.", no_args_is_help=True)

ScheduleName = Annotated[str, typer.Argument(metavar="NAME", help="The schedule.")]
Every = Annotated[str | None, typer.Option(help="How often: 90s, 15m, 12h, 1d.")]
CronText = Annotated[str | None, typer.Option(help="When: minute, hour, day, month, weekday.")]
Zone = Annotated[str | None, typer.Option(help="Whose clock --cron means, such as Europe/Berlin; else UTC.")]


@schedule.command("add")
def add_schedule(
    name: ScheduleName,
    source: Annotated[
        list[str], typer.Argument(help="Files, folders or patterns; one http(s) URL; or a source in JSON.")
    ],
    *,
    dataset: Into,
    every: Every = None,
    cron: CronText = None,
    timezone: Zone = None,
    mode: Mode = "append",
    keys: Keys = None,
    schema_policy: Policy = "refuse",
    format: Format = None,
    options: FormatOptions = None,
    types: Types = None,
    message: Message = "",
    paused: Annotated[bool, typer.Option("--paused", help="Wait until it is resumed.")] = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Let an ingestion repeat, by --every or by --cron."""
    from skein.cli.arguments import options_of, seconds_of, source_of
    from skein.cli.remote.client import connect
    from skein.cli.schedules import add

    request = {
        "name": name,
        "ingestion": {
            "dataset": dataset,
            "source": source_of(source),
            "mode": mode,
            "keys": keys or [],
            "schema_policy": schema_policy,
            "format": format,
            "options": options_of(options or [], types=types or []),
            "message": message,
        },
        "every_s": None if every is None else seconds_of(every, option="every"),
        "cron": cron,
        "timezone": timezone,
        "paused": paused,
    }
    with connect(server, data) as api:
        add(api, request)


@schedule.command("list")
def list_schedules(*, json: Json = False, server: Server = None, data: Data = None) -> None:
    """List the schedules, with when they are due and how they went."""
    from skein.cli.remote.client import connect
    from skein.cli.schedules import show

    with connect(server, data) as api:
        show(api, json=json)


@schedule.command("change")
def change_schedule(
    name: ScheduleName,
    *,
    every: Every = None,
    cron: CronText = None,
    timezone: Zone = None,
    server: Server = None,
    data: Data = None,
) -> None:
    """Give a schedule another timing."""
    from skein.cli.arguments import seconds_of

    every_s = None if every is None else seconds_of(every, option="every")
    _change(name, {"every_s": every_s, "cron": cron, "timezone": timezone}, server, data)


@schedule.command("pause")
def pause_schedule(name: ScheduleName, *, server: Server = None, data: Data = None) -> None:
    """Let a schedule rest until it is resumed."""
    _change(name, {"paused": True}, server, data)


@schedule.command("resume")
def resume_schedule(name: ScheduleName, *, server: Server = None, data: Data = None) -> None:
    """Wake a schedule; nothing was missed meanwhile."""
    _change(name, {"paused": False}, server, data)


@schedule.command("run")
def run_schedule(name: ScheduleName, *, server: Server = None, data: Data = None) -> None:
    """Run a schedule now, and watch it happen."""
    from skein.cli.remote.client import connect
    from skein.cli.schedules import run

    with connect(server, data) as api:
        run(api, name)


@schedule.command("remove")
def remove_schedule(name: ScheduleName, *, server: Server = None, data: Data = None) -> None:
    """Forget a schedule; what it has ingested stays."""
    from skein.cli.remote.client import connect
    from skein.cli.schedules import remove

    with connect(server, data) as api:
        remove(api, name)


def refresh(name: Name, *, server: Server = None, data: Data = None) -> None:
    """Ingest the sources of a dataset again, and watch it happen. Those with nothing new change nothing."""
    from skein.cli.remote.client import connect
    from skein.cli.schedules import refresh

    with connect(server, data) as api:
        refresh(api, name)


def _change(name: str, changes: dict[str, object], server: Server, data: Data) -> None:
    from skein.cli.remote.client import connect
    from skein.cli.schedules import change

    with connect(server, data) as api:
        change(api, name, changes)
