"""Uploads in folders: one for each upload, with its bytes and a JSON file that describes them.

The size of the file is the offset, so nothing is lost when the process dies.
"""

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from flight_core.domain.access import NO_RIGHTS, rights_document, rights_of
from flight_core.domain.errors import (
    OffsetMismatch,
    OutOfDisk,
    UploadFinished,
    UploadNotFound,
)
from flight_core.domain.system_errors import system_errors
from flight_core.domain.upload import Upload

_ID = re.compile(r"[0-9a-f]{32}")
_DATA, _NOTE = "data", "upload.json"


class FolderUploadStore:
    """See `UploadStore`. One process may append to the uploads of a folder, any number may read them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._writers: dict[str, _Writer] = {}

    def create(self, upload: Upload) -> None:
        folder = self._folder / upload.id
        folder.mkdir(parents=True)
        try:
            free_bytes = shutil.disk_usage(folder).free
            if (upload.size_bytes or 0) > free_bytes:
                raise OutOfDisk(
                    f"the upload has {upload.size_bytes} bytes and the server's disk has {free_bytes} left;"
                    " free some space"
                )
            with system_errors():
                (folder / _DATA).touch()
                _write_note(folder, upload)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def get(self, upload_id: str) -> Upload:
        folder = self._existing(upload_id)
        try:
            note = json.loads((folder / _NOTE).read_bytes())
            status = (folder / _DATA).stat()
        except OSError:  # deleted meanwhile
            raise _not_found(upload_id) from None
        return Upload(
            id=upload_id,
            actor=note["actor"],
            name=note["name"],
            created_at=datetime.fromisoformat(note["created_at"]),
            updated_at=datetime.fromtimestamp(status.st_mtime, UTC),
            offset=status.st_size,
            size_bytes=note["size_bytes"],
            complete=note["complete"],
            rights=rights_of(note["rights"]) if "rights" in note else NO_RIGHTS,
        )

    def list(self) -> Sequence[Upload]:
        found = []
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            with suppress(UploadNotFound):
                found.append(self.get(folder.name))
        return sorted(found, key=lambda upload: upload.created_at, reverse=True)

    @contextmanager
    def append(self, upload_id: str, offset: int) -> Iterator["_Writer"]:
        folder = self._existing(upload_id)
        with (folder / _DATA).open("r+b", buffering=0) as file:
            writer = _Writer(file, folder)
            with self._lock:
                before = self._writers.get(upload_id)
                self._writers[upload_id] = writer
            if before is not None:
                before.dismiss()
            try:
                writer.go_on(self.get(upload_id), offset)
                yield writer
            finally:
                with self._lock:
                    if self._writers.get(upload_id) is writer:
                        del self._writers[upload_id]
                with system_errors():
                    os.fsync(file.fileno())

    def save(self, upload: Upload) -> None:
        with system_errors():
            _write_note(self._existing(upload.id), upload)

    def path(self, upload_id: str) -> Path:
        return self._existing(upload_id) / _DATA

    def delete(self, upload_id: str) -> None:
        with suppress(UploadNotFound):
            shutil.rmtree(self._existing(upload_id), ignore_errors=True)

    def _existing(self, upload_id: str) -> Path:
        folder = self._folder / upload_id
        if not _ID.fullmatch(upload_id) or not (folder / _NOTE).is_file():
            raise _not_found(upload_id)
        return folder


class _Writer:
    """See `UploadWriter`."""

    def __init__(self, file: FileIO, folder: Path) -> None:
        self._file = file
        self._folder = folder
        self._lock = threading.Lock()
        self._dismissed = False

    def dismiss(self) -> None:
        """Refuse further writes."""
        with self._lock:
            self._dismissed = True

    def go_on(self, upload: Upload, offset: int) -> None:
        """
        Raises:
            UploadFinished, OffsetMismatch
        """
        if upload.complete:
            raise UploadFinished(f"upload '{upload.id}' is complete; ingest it, or begin another")
        end = self._file.seek(0, os.SEEK_END)
        if offset != end:
            raise OffsetMismatch(
                f"the upload goes on at {end}, not at {offset}; send what follows there", offset=end
            )

    def write(self, data: bytes | bytearray) -> None:
        with self._held(), system_errors(), memoryview(data) as rest:
            done = 0
            while done < len(rest):
                done += self._file.write(rest[done:])

    def truncate(self, offset: int) -> None:
        with self._held():
            self._file.truncate(offset)

    def complete(self, upload: Upload) -> None:
        with self._held(), system_errors():
            _write_note(self._folder, upload)

    @contextmanager
    def _held(self) -> Iterator[None]:
        with self._lock:
            if self._dismissed:
                end = os.fstat(self._file.fileno()).st_size
                raise OffsetMismatch("another request goes on with the upload", offset=end)
            yield


def _write_note(folder: Path, upload: Upload) -> None:
    note = {
        "actor": upload.actor,
        "name": upload.name,
        "created_at": upload.created_at.isoformat(),
        "size_bytes": upload.size_bytes,
        "complete": upload.complete,
        "rights": rights_document(upload.rights),
    }
    draft = folder / f"{_NOTE}.{threading.get_ident()}"
    with draft.open("w") as file:
        json.dump(note, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / _NOTE)


def _not_found(upload_id: str) -> UploadNotFound:
    return UploadNotFound(
        f"upload '{upload_id[:64]}' does not exist, has expired or has been ingested; begin another",
        id=upload_id[:64],
    )
