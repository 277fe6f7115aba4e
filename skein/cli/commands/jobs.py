"""`skein jobs` with its subcommands, `skein compact` and `skein vacuum` with their options."""

from typing import Annotated

import typer

from skein.cli.commands.parameters import Data, Json, Name, Server

jobs = typer.Typer(name="jobs", invoke_without_command=True)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of the job.")]


@jobs.callback()
def list_jobs(
    context: typer.Context,
    *,
    dataset: Annotated[str | None, typer.Option(help="Only those for this dataset.")] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="queued, running, succeeded, failed or cancelled; repeat it for more."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    json: Json = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """List the latest jobs, newest first; or see what there is to do with one of them."""
    if context.invoked_subcommand is not None:
        return
    from skein.cli.jobs import show_jobs
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        show_jobs(api, dataset=dataset, states=state or [], limit=limit, json=json)


@jobs.command()
def log(job: JobId, *, json: Json = False, server: Server = None, data: Data = None) -> None:
    """Print what a job had to say."""
    from skein.cli.jobs import show_log
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        show_log(api, job, json=json)


@jobs.command()
def cancel(job: JobId, *, server: Server = None, data: Data = None) -> None:
    """Ask a job to stop."""
    from skein.cli.jobs import cancel
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        cancel(api, job)


@jobs.command()
def retry(job: JobId, *, server: Server = None, data: Data = None) -> None:
    """Start an ingestion that failed or was cancelled again, and watch it happen."""
    from skein.cli.jobs import retry
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        retry(api, job)


def compact(
    name: Name,
    *,
    sort_by: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Sort the rows by it; repeat it for more.")
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Rewrite large files, too.")] = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Put the rows of a dataset's small files into few large ones."""
    from skein.cli.jobs import maintain
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        maintain(api, name, "compact", {"sort_by": sort_by or [], "everything": everything})


def vacuum(
    name: Name,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; tell what would go.")] = False,
    server: Server = None,
    data: Data = None,
) -> None:
    """Let old versions of a dataset expire, and delete the files that nobody needs any more."""
    from skein.cli.jobs import maintain
    from skein.cli.remote.client import connect

    with connect(server, data) as api:
        maintain(api, name, "vacuum", {"dry_run": dry_run})
