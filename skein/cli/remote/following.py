"""Jobs, followed to their end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import typer
from rich.progress import TextColumn

from schemas.ingestions import Ingestion
from schemas.jobs import Job, JobLog
from skein.cli.remote.client import Api
from skein.cli.remote.failures import INTERRUPTED, CliError
from skein.cli.terminal.bars import bytes_bar
from skein.cli.terminal.wording import count

# How often the job is looked at; the server notes its progress four times a second.
_POLL_S = 0.2

AnyJob = TypeVar("AnyJob", bound=Job)
Show = Callable[[Job], None]


def followed(api: Api, job: AnyJob) -> AnyJob:
    """The job, once it has succeeded. Ctrl-C asks it to stop, and waits until it has; another one does not.

    Raises:
        CliError: it failed, or somebody else cancelled it.
        typer.Exit: it was interrupted.
    """
    interrupted = False
    with _bar() as show:
        try:
            job = _at_its_end(api, job, show)
        except KeyboardInterrupt:
            interrupted = True
            _ask_to_stop(api, job)
            job = _at_its_end(api, job, show)
    if isinstance(job, Ingestion):
        _tell_rules(job)
    if job.state == "cancelled" and interrupted:
        typer.echo(f"cancelled; '{job.dataset}' is as it was", err=True)
        raise typer.Exit(INTERRUPTED)
    if job.error is not None:
        raise CliError(job.error.code, job.error.message)
    if job.state != "succeeded":
        raise CliError("cancelled", f"somebody cancelled the job {job.id}; '{job.dataset}' is as it was")
    if isinstance(job, Ingestion):
        _tell_warnings(api, job)
    return job


def seconds(job: Job) -> str:
    """From the start of the job to its end."""
    if job.started_at is None or job.finished_at is None:
        return ""
    return f"{(job.finished_at - job.started_at).total_seconds():.1f}"


def _at_its_end(api: Api, job: AnyJob, show: Show) -> AnyJob:
    while job.finished_at is None:
        show(job)
        time.sleep(_POLL_S)
        job = api.get(type(job), job.href)
    return job


def _ask_to_stop(api: Api, job: Job) -> None:
    try:
        api.post(Job, f"{job.href}/cancel")
    except CliError as error:
        if error.code != "ingestion_finished":
            raise


@contextmanager
def _bar() -> Iterator[Show]:
    """A progress bar for the phase the job is in; nothing where standard error is no terminal."""
    with bytes_bar(TextColumn("{task.fields[rows]:,} rows"), TextColumn("{task.fields[pace]}")) as progress:
        task = progress.add_task("queued", total=None, rows=0, pace="")

        def show(job: Job) -> None:
            progress.update(
                task,
                description=job.phase or job.state,
                completed=job.bytes,
                total=job.total_bytes,
                rows=job.rows,
                pace=_pace(job),
            )

        yield show


def _pace(job: Job) -> str:
    """As the server has it: of the last seconds, and what is left of the phase."""
    parts = []
    if job.bytes_per_s:
        parts.append(f"{job.bytes_per_s / 1e6:.1f} MB/s")
    if job.rows_per_s:
        parts.append(f"{job.rows_per_s:,.0f} rows/s")
    if job.eta_s is not None:
        parts.append(f"{job.eta_s:.0f} s left")
    return ", ".join(parts)


def _tell_warnings(api: Api, job: Ingestion) -> None:
    """Those in its log."""
    for line in api.items(JobLog, f"{job.href}/log"):
        if line.level == "warning":
            typer.echo(f"note: {line.message}", err=True)


def _tell_rules(job: Ingestion) -> None:
    """Which rules of the contract rows broke."""
    if job.rejected_rows:
        rejected = count(job.rejected_rows, "row")
        typer.echo(f"{rejected} rejected, see the dataset '{job.dataset}_rejects':", err=True)
    elif job.rules:
        typer.echo("rules of the contract were broken:", err=True)
    for rule in job.rules:
        where = f"{rule.column}." if rule.column else ""
        typer.echo(f"  {where}{rule.rule}: {count(rule.rows, 'row')} ({rule.severity})", err=True)
