"""Receiving uploads, which can be resumed, and checking their digests."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

import anyio
import anyio.to_thread

from flight_core.application.access.rights import require
from flight_core.application.ports.clock import Clock, NewId
from flight_core.application.ports.uploads import UploadStore, UploadWriter
from flight_core.domain.access import Actor, Scope
from flight_core.domain.errors import (
    ChecksumMismatch,
    InvalidRequest,
    LimitExceeded,
    PermissionDenied,
    UploadFinished,
)
from flight_core.domain.upload import Upload

# Digests by the name of the algorithm in `hashlib`.
Digests = Mapping[str, bytes]

DEFAULT_NAME = "upload"

_WRITE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class UploadLimits:
    max_bytes: int = 64 << 30
    ttl: timedelta = timedelta(days=1)  # since the last byte was received


@dataclass(frozen=True, slots=True)
class CreateUpload:
    """Begin an upload. `size_bytes` is None if the size is unknown.

    Raises:
        LimitExceeded, OutOfDisk, PermissionDenied
    """

    uploads: UploadStore
    limits: UploadLimits
    clock: Clock
    new_id: NewId

    def __call__(self, *, name: str, size_bytes: int | None, actor: Actor) -> Upload:
        require(actor, Scope.INGEST)
        _check_size(size_bytes or 0, self.limits)
        now = self.clock()
        upload = Upload(
            self.new_id(),
            actor.name,
            name or DEFAULT_NAME,
            now,
            now,
            size_bytes=size_bytes,
            rights=actor.rights,
        )
        self.uploads.create(upload)
        return upload


@dataclass(frozen=True, slots=True)
class GetUpload:
    """
    Raises:
        UploadNotFound
        PermissionDenied: it belongs to another user, or to more rights than the actor has.
    """

    uploads: UploadStore

    def __call__(self, upload_id: str, *, actor: Actor) -> Upload:
        require(actor, Scope.INGEST)
        upload = self.uploads.get(upload_id)
        require_owner(upload, actor)
        return upload


@dataclass(frozen=True, slots=True)
class ListUploads:
    """The caller's own, newest first; all of them for an admin."""

    uploads: UploadStore

    def __call__(self, *, actor: Actor) -> Sequence[Upload]:
        require(actor, Scope.INGEST)
        return [upload for upload in self.uploads.list() if _may_use(upload, actor)]


@dataclass(frozen=True, slots=True)
class DeleteUpload:
    """Raises as `GetUpload`."""

    get: GetUpload

    def __call__(self, upload_id: str, *, actor: Actor) -> None:
        self.get.uploads.delete(self.get(upload_id, actor=actor).id)


@dataclass(frozen=True, slots=True)
class Part:
    """What a request says about the bytes that it sends.

    `offset` is their place in the upload. `last`: the upload ends with them; None: it ends if the announced
    size is reached. `digests` are those of the part, `whole_digests` those of the whole upload.
    """

    offset: int
    last: bool | None = None
    size_bytes: int | None = None  # of the whole upload
    digests: Digests = field(default_factory=dict)
    whole_digests: Digests = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReceivePart:
    """Append `chunks` to an upload as they arrive.

    Received bytes are kept, however the request ends, except for a part with a wrong digest.

    Raises:
        UploadNotFound, OffsetMismatch, OutOfDisk, PermissionDenied.
        UploadFinished: the upload is complete.
        LimitExceeded: the upload is larger than allowed.
        InvalidRequest: the upload has another size than was announced.
        ChecksumMismatch: a digest is wrong.
    """

    get: GetUpload
    limits: UploadLimits

    async def __call__(
        self, upload_id: str, part: Part, chunks: AsyncIterator[bytes], *, actor: Actor
    ) -> Upload:
        upload = await anyio.to_thread.run_sync(partial(self.get, upload_id, actor=actor))
        upload = await anyio.to_thread.run_sync(self._announced, upload, part)
        with ExitStack() as held:
            appending = self.get.uploads.append(upload.id, part.offset)
            writer = await anyio.to_thread.run_sync(held.enter_context, appending)
            try:
                upload = await self._receive(writer, upload, part, chunks)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(held.close)
        return upload

    def _announced(self, upload: Upload, part: Part) -> Upload:
        if upload.complete:
            raise UploadFinished(
                f"upload '{upload.id}' is complete; ingest it, or begin another", id=upload.id
            )
        if part.size_bytes is None:
            return upload
        if upload.size_bytes not in (None, part.size_bytes):
            raise InvalidRequest(
                f"the upload was announced with {upload.size_bytes} bytes, and now with {part.size_bytes}"
            )
        _check_size(part.size_bytes, self.limits)
        upload = replace(upload, size_bytes=part.size_bytes)
        self.get.uploads.save(upload)
        return upload

    async def _receive(
        self, writer: UploadWriter, upload: Upload, part: Part, chunks: AsyncIterator[bytes]
    ) -> Upload:
        """The upload after the part was received."""
        hashes = {name: hashlib.new(name) for name in part.digests}
        end = await self._write_all(writer, upload, part.offset, chunks, list(hashes.values()))
        if any(hashes[name].digest() != digest for name, digest in part.digests.items()):
            await anyio.to_thread.run_sync(writer.truncate, part.offset)
            raise ChecksumMismatch("the part is not what its digest says; send it again", offset=part.offset)
        upload = replace(upload, offset=end)
        if part.last or (part.last is None and end == upload.size_bytes):
            upload = await anyio.to_thread.run_sync(self._completed, writer, upload, part.whole_digests)
        return upload

    async def _write_all(
        self,
        writer: UploadWriter,
        upload: Upload,
        offset: int,
        chunks: AsyncIterator[bytes],
        hashes: Sequence["hashlib._Hash"],
    ) -> int:
        """The offset afterwards."""
        end = offset
        waiting = bytearray()
        try:
            async for chunk in chunks:
                end += len(chunk)
                self._check_end(upload, end)
                waiting += chunk
                for each in hashes:
                    each.update(chunk)
                if len(waiting) >= _WRITE_BYTES:
                    data, waiting = waiting, bytearray()
                    await anyio.to_thread.run_sync(writer.write, data)
        finally:
            if waiting:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(writer.write, waiting)
        return end

    def _check_end(self, upload: Upload, end: int) -> None:
        _check_size(end, self.limits)
        if upload.size_bytes is not None and end > upload.size_bytes:
            raise InvalidRequest(f"more bytes arrive than the {upload.size_bytes} that were announced")

    def _completed(self, writer: UploadWriter, upload: Upload, digests: Digests) -> Upload:
        if upload.size_bytes not in (None, upload.offset):
            raise InvalidRequest(
                f"the upload ends at {upload.offset} bytes, {upload.size_bytes} were announced; send the rest"
            )
        path = self.get.uploads.path(upload.id)
        for name, digest in digests.items():
            with path.open("rb") as file:
                found = hashlib.file_digest(file, name).digest()
            if found != digest:
                raise ChecksumMismatch(
                    f"upload '{upload.id}' is not what its digest says; delete it and begin again",
                    id=upload.id,
                )
        upload = replace(upload, size_bytes=upload.offset, complete=True)
        writer.complete(upload)
        return upload


@dataclass(frozen=True, slots=True)
class SweepUploads:
    """Delete uploads that have received nothing for longer than they are kept."""

    uploads: UploadStore
    limits: UploadLimits
    clock: Clock

    def __call__(self) -> None:
        expired = self.clock() - self.limits.ttl
        for upload in self.uploads.list():
            if upload.updated_at < expired:
                self.uploads.delete(upload.id)


def require_owner(upload: Upload, actor: Actor) -> None:
    """
    Raises:
        PermissionDenied
    """
    if not _may_use(upload, actor):
        raise PermissionDenied(
            f"upload '{upload.id}' belongs to another user, or to a token with more rights"
        )


def _may_use(upload: Upload, actor: Actor) -> bool:
    return actor.oversees(upload.actor, upload.rights)


def _check_size(size_bytes: int, limits: UploadLimits) -> None:
    if size_bytes > limits.max_bytes:
        raise LimitExceeded(
            f"the upload is larger than {limits.max_bytes} bytes; raise SKEIN_INGEST_MAX_BYTES",
            limit=limits.max_bytes,
        )
