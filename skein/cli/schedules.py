"""What `skein schedule ...` and `skein refresh` do."""

from collections.abc import Mapping

import typer

from schemas.ingestions import Ingestion, IngestionPage
from schemas.schedules import Schedule, SchedulePage
from skein.cli.jobs import summary
from skein.cli.remote.client import Api, path_of
from skein.cli.remote.following import followed
from skein.cli.terminal.tables import show_items
from skein.cli.terminal.wording import span, when


def add(api: Api, request: Mapping[str, object]) -> None:
    schedule = api.post(Schedule, path_of("schedules"), request)
    typer.echo(f"{schedule.name}: {_timing(schedule)}, {_next(schedule)}")


def change(api: Api, name: str, changes: Mapping[str, object]) -> None:
    schedule = api.patch(Schedule, path_of("schedules", name), changes)
    typer.echo(f"{schedule.name}: {_timing(schedule)}, {_next(schedule)}")


def remove(api: Api, name: str) -> None:
    api.delete(path_of("schedules", name))
    typer.echo(f"removed '{name}'; what it has ingested stays")


def run(api: Api, name: str) -> None:
    typer.echo(summary(followed(api, api.post(Ingestion, path_of("schedules", name, "run")))))


def refresh(api: Api, name: str) -> None:
    """Follow the jobs one after the other, which is also how they run where one replaces everything."""
    for job in api.post(IngestionPage, path_of("datasets", name, "refresh")).items:
        typer.echo(summary(followed(api, job)))


def show(api: Api, *, json: bool) -> None:
    found = list(api.items(SchedulePage, path_of("schedules")))
    show_items(
        found,
        {
            "name": lambda schedule: schedule.name,
            "dataset": lambda schedule: schedule.dataset,
            "source": lambda schedule: str(schedule.source["kind"]),
            "when": _timing,
            "next": lambda schedule: "paused" if schedule.next_at is None else when(schedule.next_at),
            "last run": lambda schedule: "" if schedule.last_run is None else when(schedule.last_run.at),
            "outcome": _outcome,
        },
        json=json,
    )


def _timing(schedule: Schedule) -> str:
    if schedule.every_s is not None:
        return f"every {span(schedule.every_s)}"
    return f"{schedule.cron} ({schedule.timezone})"


def _next(schedule: Schedule) -> str:
    return "paused" if schedule.next_at is None else f"next at {when(schedule.next_at)}"


def _outcome(schedule: Schedule) -> str:
    run = schedule.last_run
    if schedule.pause_reason is not None:
        return schedule.pause_reason
    if run is None:
        return ""
    if run.error is not None:
        return f"[{run.error.code}] {run.error.message}"
    if run.version is not None:
        return f"version {run.version}"
    return "nothing new" if run.unchanged else run.state or "forgotten"
