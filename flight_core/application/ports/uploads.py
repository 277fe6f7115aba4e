"""Where uploads are kept until they are ingested."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from flight_core.domain.upload import Upload


class UploadWriter(Protocol):
    """The end of an upload, held by one request at a time."""

    def write(self, data: bytes | bytearray) -> None:
        """Append. What `offset` tells afterwards survives the end of this process.

        Raises:
            OffsetMismatch: another request has taken over.
            OutOfDisk: some of `data` may have been written.
        """

    def complete(self, upload: Upload) -> None:
        """Remember that nothing follows. Raises as `write`."""

    def truncate(self, offset: int) -> None:
        """Forget what was written after `offset`. Raises as `write`, but for OutOfDisk."""


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
            UploadNotFound: it never existed, has expired, or has been ingested.
        """

    def list(self) -> Sequence[Upload]:
        """Newest first."""

    def append(self, upload_id: str, offset: int) -> AbstractContextManager[UploadWriter]:
        """Go on at `offset`. A request that still holds the upload loses it: its client is gone.

        What was written is on disk when the context ends.

        Raises:
            UploadNotFound
            UploadFinished: it is complete.
            OffsetMismatch: other bytes have arrived.
        """

    def save(self, upload: Upload) -> None:
        """Remember its `size_bytes`. Raises UploadNotFound, OutOfDisk."""

    def path(self, upload_id: str) -> Path:
        """The file with its bytes. Raises UploadNotFound."""

    def delete(self, upload_id: str) -> None:
        """Nothing happens if it is gone. Who has linked or opened its file keeps that."""
