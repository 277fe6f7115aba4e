"""`skein jobs` and its subcommands, `skein compact` and `skein vacuum`."""

from collections.abc import Mapping, Sequence

import typer

from schemas.ingestions import Ingestion
from schemas.jobs import CheckResult, Job, JobLog, JobPage
from skein.cli.remote.client import Api, path_of
from skein.cli.remote.following import followed, seconds
from skein.cli.terminal.tables import Column, number, show_items
from skein.cli.terminal.wording import count, size, when

_OUTCOME = 12  # "version 1234", "[lossy_type…"


def show_jobs(api: Api, *, dataset: str | None, states: Sequence[str], limit: int, json: bool) -> None:
    """The latest jobs, newest first."""
    page = api.get(JobPage, path_of("jobs"), dataset=dataset, state=states or None, limit=limit)
    show_items(
        page.items,
        {
            "id": lambda job: job.id,
            "state": lambda job: job.state,
            "dataset": lambda job: job.dataset,
            "task": lambda job: job.task,
            number("rows"): lambda job: f"{job.rows:,}",
            number("seconds"): seconds,
            "created": lambda job: when(job.created_at),
            Column("outcome", least=_OUTCOME): _outcome,
        },
        json=json,
    )


def show_log(api: Api, job_id: str, *, json: bool) -> None:
    """What a job had to say: a line each, with the time, the phase and the attempt.

    Raises:
        CliError: there is no such job.
    """
    for line in api.items(JobLog, path_of("jobs", job_id, "log")):
        if json:
            typer.echo(line.model_dump_json())
        else:
            level = "" if line.level == "info" else f" {line.level}"
            typer.echo(f"{line.time:%H:%M:%S.%f} #{line.attempt}{level} {line.message}")


def cancel(api: Api, job_id: str) -> None:
    """
    Raises:
        CliError: no such job, it has finished, or it is somebody else's.
    """
    job = api.post(Job, path_of("jobs", job_id, "cancel"))
    typer.echo("cancelled" if job.state == "cancelled" else "asked to stop; it will in a moment")


def retry(api: Api, job_id: str) -> None:
    """Raises as `cancel` and `followed`."""
    job = followed(api, api.post(Ingestion, path_of("ingestions", job_id, "retry")))
    typer.echo(summary(job))


def maintain(api: Api, name: str, task: str, options: Mapping[str, object] | None) -> None:
    """Queue the job and follow it. Raises as `followed`."""
    job = followed(api, api.post(Job, path_of("datasets", name, task), options))
    if (job.options or {}).get("dry_run"):
        typer.echo("dry run: nothing was deleted", err=True)
    counts = job.result if isinstance(job.result, dict) else {}
    done = ", ".join(f"{what.replace('_', ' ')} {number:,}" for what, number in counts.items() if number)
    typer.echo(f"{job.dataset}: {done or 'there was nothing to do'}")


def summary(job: Ingestion) -> str:
    if job.version is None:
        return f"{job.dataset}: the source has nothing new"
    return (
        f"{job.dataset}: version {job.version}, {count(job.rows, 'row')} from {size(job.bytes)}"
        f" in {seconds(job)} s"
    )


def _outcome(job: Job) -> str:
    if job.error is not None:
        return f"[{job.error.code}] {job.error.message}"
    if job.unchanged:
        return "nothing new" if job.task == "ingest" else "nothing to do"
    if isinstance(job.result, CheckResult):
        return f"{count(job.result.rejected_rows, 'row')} would be rejected"
    return "" if job.version is None else f"version {job.version}"
