"""`skein ingest`, `ingestions` and `cancel`: jobs, followed to their end."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import typer
from rich.progress import TextColumn

from schemas.http import Ingestion, IngestionPage
from skein.cli.arguments import UPLOAD, source_of
from skein.cli.bars import bytes_bar
from skein.cli.client import Api, path_of
from skein.cli.failures import INTERRUPTED, CliError
from skein.cli.tables import Column, show_table
from skein.cli.upload import STANDARD_INPUT, are_files, uploaded
from skein.cli.wording import as_json, count, size, when

# How often the job is looked at; the server notes its progress four times a second.
_POLL_S = 0.2

Show = Callable[[Ingestion], None]


def ingest(api: Api, request: Mapping[str, object], sources: Sequence[str], *, upload: bool) -> None:
    """Start the job and follow it. Files that are here and that the server cannot read are sent first,
    with `upload` all files. Ctrl-C asks it to stop, and waits until it has; another one does not.

    Raises:
        CliError: it could not be started, it failed, or somebody else cancelled it.
        typer.Exit: it was interrupted.
    """
    job, upload_ids = _started(api, request, sources, upload=upload)
    interrupted = False
    with _bar() as show:
        try:
            job = _followed(api, job, show)
        except KeyboardInterrupt:
            interrupted = True
            _ask_to_stop(api, job)
            job = _followed(api, job, show)
    if job.state == "succeeded":
        typer.echo(_summary(job))
    elif job.state == "cancelled" and interrupted:
        typer.echo(f"cancelled; nothing was added to '{job.dataset}'", err=True)
        raise typer.Exit(INTERRUPTED)
    elif job.error is not None:
        if upload_ids:
            typer.echo(f"what was sent is kept for now: skein ingest {' '.join(upload_ids)} ...", err=True)
        raise CliError(job.error.code, job.error.message)
    else:
        raise CliError("cancelled", f"somebody cancelled the ingestion {job.id}; nothing was added")


def _started(
    api: Api, request: Mapping[str, object], sources: Sequence[str], *, upload: bool
) -> tuple[Ingestion, list[str]]:
    """The job, and its uploads, as `ingest` takes them."""
    here = are_files(sources)
    if not (upload or STANDARD_INPUT in sources or (here and not api.local)):
        try:
            return _job(api, request, source_of(sources)), []
        except CliError as error:
            if not here or error.code != "source_not_allowed":
                raise
    uploads = [f"{UPLOAD}{upload_id}" for upload_id in uploaded(api, sources)]
    return _job(api, request, source_of(uploads)), uploads


def _job(api: Api, request: Mapping[str, object], source: Mapping[str, object]) -> Ingestion:
    return api.post(Ingestion, path_of("ingestions"), {**request, "source": source})


def show_ingestions(api: Api, *, dataset: str | None, limit: int, json: bool) -> None:
    """The latest jobs, newest first."""
    page = api.get(IngestionPage, path_of("ingestions"), dataset=dataset, limit=limit)
    if json:
        typer.echo(as_json(page.items))
        return
    columns = ["id", "dataset", "state", "source", "rows", "created", "seconds", "outcome"]
    show_table(
        [Column(name, right=name in ("rows", "seconds")) for name in columns],
        [
            (
                job.id,
                job.dataset,
                job.state,
                job.kind,
                f"{job.rows:,}",
                when(job.created_at),
                _seconds(job),
                _outcome(job),
            )
            for job in page.items
        ],
    )


def cancel(api: Api, ingestion_id: str) -> None:
    """
    Raises:
        CliError: no such job, it has finished, or it is somebody else's.
    """
    job = api.post(Ingestion, path_of("ingestions", ingestion_id, "cancel"))
    typer.echo("cancelled" if job.state == "cancelled" else "asked to stop; it will in a moment")


def _followed(api: Api, job: Ingestion, show: Show) -> Ingestion:
    """The job at its end."""
    while job.finished_at is None:
        show(job)
        time.sleep(_POLL_S)
        job = api.get(Ingestion, path_of("ingestions", job.id))
    return job


def _ask_to_stop(api: Api, job: Ingestion) -> None:
    try:
        api.post(Ingestion, path_of("ingestions", job.id, "cancel"))
    except CliError as error:
        if error.code != "ingestion_finished":
            raise


@contextmanager
def _bar() -> Iterator[Show]:
    """A progress bar for the phase the job is in; nothing where standard error is no terminal."""
    with bytes_bar(TextColumn("{task.fields[rows]:,} rows")) as progress:
        task = progress.add_task("queued", total=None, rows=0)
        phase = None

        def show(job: Ingestion) -> None:
            nonlocal phase
            if job.phase != phase:
                phase = job.phase
                progress.reset(task)  # speed and time left are those of the phase
            progress.update(
                task,
                description=phase or job.state,
                completed=job.bytes,
                total=job.total_bytes,
                rows=job.rows,
            )

        yield show


def _summary(job: Ingestion) -> str:
    return (
        f"{job.dataset}: version {job.version}, {count(job.rows, 'row')} from {size(job.bytes)}"
        f" in {_seconds(job)} s"
    )


def _seconds(job: Ingestion) -> str:
    """From the start of the job to its end."""
    if job.started_at is None or job.finished_at is None:
        return ""
    return f"{(job.finished_at - job.started_at).total_seconds():.1f}"


def _outcome(job: Ingestion) -> str:
    if job.error is not None:
        return f"[{job.error.code}] {job.error.message}"
    return "" if job.version is None else f"version {job.version}"
