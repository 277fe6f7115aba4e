"""`skein serve`, `serve-flight` and `serve-control`: read the settings, serve, tell how to connect."""

import gc
import logging
import os
import signal
from pathlib import Path
from typing import Annotated, NoReturn

import typer

logger = logging.getLogger(__name__)

# What each flag means, and the setting it overrides, is in docs/reference/settings.md.
Data = Annotated[Path | None, typer.Option(help="The data directory.", show_default="skein-data")]
Host = Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")]
FlightPort = Annotated[
    int | None, typer.Option(help="The Flight port; 0 takes a free one.", show_default="8815")
]
HttpPort = Annotated[int | None, typer.Option(help="The HTTP port; 0 takes a free one.", show_default="8816")]
MemoryLimit = Annotated[
    str | None, typer.Option(help="What SQL may hold in memory.", show_default="half of what there is")
]
MaxStreams = Annotated[int | None, typer.Option(help="How many results may be open.", show_default="32")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error.", show_default="info")]
IngestRoots = Annotated[
    str | None,
    typer.Option(
        help="Folders that ingestions may read, as a path list.", show_default="working and home folder"
    ),
]
Demo = Annotated[bool | None, typer.Option("--demo", help="Have a dataset `flights` to play with.")]
DemoRows = Annotated[
    int | None, typer.Option(help="How many rows it has; implies --demo.", show_default="200000")
]


def serve(
    context: typer.Context,
    *,
    data: Data = None,
    host: Host = None,
    flight_port: FlightPort = None,
    http_port: HttpPort = None,
    demo: Demo = None,
    demo_rows: DemoRows = None,
    memory_limit: MemoryLimit = None,
    max_streams: MaxStreams = None,
    ingest_roots: IngestRoots = None,
    log_level: LogLevel = None,
) -> None:
    """Serve Flight and HTTP from one data directory, until Ctrl-C."""
    _serve({"flight", "control"}, context)


def serve_flight(
    context: typer.Context,
    *,
    data: Data = None,
    host: Host = None,
    flight_port: FlightPort = None,
    memory_limit: MemoryLimit = None,
    max_streams: MaxStreams = None,
    log_level: LogLevel = None,
) -> None:
    """Serve Flight alone; `skein serve-control` may use the same data directory."""
    _serve({"flight"}, context)


def serve_control(
    context: typer.Context,
    *,
    data: Data = None,
    host: Host = None,
    http_port: HttpPort = None,
    memory_limit: MemoryLimit = None,
    max_streams: MaxStreams = None,
    ingest_roots: IngestRoots = None,
    log_level: LogLevel = None,
) -> None:
    """Serve HTTP alone, and run ingestions; `skein serve-flight` may use the same data directory."""
    _serve({"control"}, context)


def _leave(_number: int, _frame: object) -> NoReturn:
    """Before there is anything to close."""
    os._exit(0)


def _serve(roles: set[str], context: typer.Context) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    gc.disable()  # what is made until `run` has all of Skein stays for good: looking for garbage is in vain
    from skein.directory import Role
    from skein.lifecycle import end_process, run
    from skein.logging import configure_logging
    from skein.settings import load_settings, unknown_variables
    from skein.welcome import load_demo, welcome

    flags = context.params
    if flags.get("demo_rows"):
        flags["demo"] = True
    settings = load_settings(**flags)
    configure_logging(settings.log_level, settings.log_format)
    for name, nearest in unknown_variables().items():
        logger.warning("no such setting", extra={"variable": name, "did_you_mean": nearest})
    run(settings, {Role(role) for role in roles}, prepare=load_demo, announce=welcome)
    end_process()
