"""`skein ingest`: a job, from its files to its end."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from flight_core.domain.errors import InvalidSource
from schemas.ingestions import Ingestion
from skein.cli.arguments import STANDARD_INPUT, UPLOAD, source_of
from skein.cli.jobs import summary
from skein.cli.remote.client import Api, path_of
from skein.cli.remote.failures import CliError
from skein.cli.remote.following import followed
from skein.cli.remote.upload import are_files, uploaded

_PATTERN = set("*?[")  # one that stands for many files


def ingest(api: Api, request: Mapping[str, object], sources: Sequence[str], *, upload: bool) -> None:
    """Start the job and follow it. Files that are here and that the server cannot read are sent first,
    with `upload` all files. Ctrl-C asks it to stop, and waits until it has; another one does not.

    Raises:
        InvalidSource: a file does not exist.
        CliError: it could not be started, it failed, or somebody else cancelled it.
        typer.Exit: it was interrupted.
    """
    upload_ids: list[str] = []
    try:
        job = followed(api, _started(api, request, sources, upload_ids, upload=upload))
    except CliError:
        if upload_ids:
            typer.echo(f"what was sent is kept for now: skein ingest {' '.join(upload_ids)} ...", err=True)
        raise
    typer.echo(summary(job))


def _started(
    api: Api, request: Mapping[str, object], sources: Sequence[str], upload_ids: list[str], *, upload: bool
) -> Ingestion:
    """The job. What is sent for it is added to `upload_ids`, as `ingest` takes it."""
    here = are_files(sources)
    if not (upload or STANDARD_INPUT in sources or (here and not api.local)):
        try:
            return _job(api, request, source_of(sources))
        except CliError as error:
            if error.code != "source_not_allowed":
                raise
            if not here:
                _refuse_missing(sources)
                raise
    upload_ids += [f"{UPLOAD}{upload_id}" for upload_id in uploaded(api, sources)]
    return _job(api, request, source_of(upload_ids))


def _refuse_missing(sources: Sequence[str]) -> None:
    """Whether a folder may be read is not what matters to who asks for a file that is not there.

    Raises:
        InvalidSource
    """
    for source in sources:
        if not (Path(source).expanduser().exists() or _PATTERN & set(source)):
            raise InvalidSource(f"'{source}' does not exist; check the path")


def _job(api: Api, request: Mapping[str, object], source: Mapping[str, object]) -> Ingestion:
    return api.post(Ingestion, path_of("ingestions"), {**request, "source": source})
