"""Uploads as a source."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from flight_core.adapters.sources.fields import fields_of
from flight_core.application.ingestion.uploads import require_owner
from flight_core.application.ports.sources import Fetched, FetchedFile, Report
from flight_core.application.ports.uploads import UploadStore
from flight_core.domain.access import Actor
from flight_core.domain.errors import InvalidSource, UploadNotFound
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.job import Phase, Progress
from flight_core.domain.source_state import SourceState
from flight_core.domain.upload import Upload


@dataclass(frozen=True, slots=True)
class UploadSource:
    """See `OwnedSource`. Fields: `id`, one or a list, and `keep`, so that the upload is not deleted
    afterwards."""

    uploads: UploadStore

    def check(self, spec: SourceSpec) -> None:
        for upload_id in _ids(spec):
            self._complete(upload_id)

    def check_owner(self, spec: SourceSpec, *, actor: Actor) -> None:
        for upload_id in _ids(spec):
            require_owner(self._complete(upload_id), actor)

    async def fetch(
        self, spec: SourceSpec, folder: Path, report: Report, *, state: SourceState | None = None
    ) -> Fetched:
        files = []
        for number, upload_id in enumerate(_ids(spec)):
            files.append(await anyio.to_thread.run_sync(self._linked, upload_id, folder / str(number)))
            size_bytes = sum(file.size_bytes for file in files)
            await report(Progress(Phase.FETCHING, size_bytes, size_bytes))
        return Fetched(files)

    def spent(self, spec: SourceSpec) -> None:
        if not spec.fields.get("keep"):
            for upload_id in _ids(spec):
                self.uploads.delete(upload_id)

    def _complete(self, upload_id: str) -> Upload:
        try:
            upload = self.uploads.get(upload_id)
        except UploadNotFound as error:
            raise InvalidSource(error.message, id=upload_id[:64]) from None
        if not upload.complete:
            raise InvalidSource(
                f"upload '{upload.id}' is not complete: {upload.offset} bytes have arrived; send the rest",
                offset=upload.offset,
            )
        return upload

    def _linked(self, upload_id: str, path: Path) -> FetchedFile:
        """Link the file into the job's folder, so that it stays if the upload is deleted."""
        upload = self._complete(upload_id)
        try:
            source = self.uploads.path(upload.id)
            try:
                os.link(source, path)
            except OSError:  # a file system without links
                shutil.copyfile(source, path)
        except (FileNotFoundError, UploadNotFound):
            raise InvalidSource(f"upload '{upload.id}' was deleted meanwhile") from None
        return FetchedFile(path, upload.name, upload.offset, temporary=True)


def _ids(spec: SourceSpec) -> list[str]:
    fields = fields_of(spec, "id", "keep")
    value = fields.get("id")
    ids = value if isinstance(value, list | tuple) else [value]
    if not ids or not all(isinstance(each, str) for each in ids) or len(set(ids)) < len(ids):
        raise InvalidSource("a source of kind 'upload' needs 'id', the id of a complete upload, or a list")
    if not isinstance(fields.get("keep", False), bool):
        raise InvalidSource("'keep' of a source of kind 'upload' is true or false")
    return list(ids)
