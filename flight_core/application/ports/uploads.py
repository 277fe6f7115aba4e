"""The store of uploads."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from flight_core.domain.upload import Upload


class UploadWriter(Protocol):
    """Appends to an upload, for one request at a time."""

    def write(self, data: bytes | bytearray) -> None:
        """Append `data`. It survives the end of this process.

        Raises:
            OffsetMismatch: another request has taken over.
            OutOfDisk: some of `data` may have been written.
        """

    def complete(self, upload: Upload) -> None:
        """Mark the upload as complete. Raises as `write`."""

    def truncate(self, offset: int) -> None:
        """Remove the bytes after `offset`. Raises OffsetMismatch as `write`."""


class UploadStore(Protocol):
    """All calls are synchronous and thread-safe."""

    def create(self, upload: Upload) -> None:
        """
        Raises:
            OutOfDisk
        """

    def get(self, upload_id: str) -> Upload:
        """
        Raises:
            UploadNotFound: it does not exist, has expired, or was ingested.
        """

    def list(self) -> Sequence[Upload]:
        """Newest first."""

    def append(self, upload_id: str, offset: int) -> AbstractContextManager[UploadWriter]:
        """Continue at `offset`. Takes over from an earlier request, whose client must be gone.

        The bytes are synced to disk when the context ends.

        Raises:
            UploadNotFound
            UploadFinished: it is complete.
            OffsetMismatch: the upload has another size.
        """

    def save(self, upload: Upload) -> None:
        """Store the changed `size_bytes`. Raises UploadNotFound, OutOfDisk."""

    def path(self, upload_id: str) -> Path:
        """The file with its bytes. Raises UploadNotFound."""

    def delete(self, upload_id: str) -> None:
        """Delete the upload if it exists. Links to its file, and open files, stay valid."""
