"""Uploads on disk, and what sweeps them away."""

import errno
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flight_core.adapters.uploads.folder import FolderUploadStore
from flight_core.application.ingestion.uploads import SweepUploads, UploadLimits
from flight_core.domain.errors import OffsetMismatch, OutOfDisk, UploadFinished, UploadNotFound
from flight_core.domain.upload import Upload

NOW = datetime.now(UTC)
UPLOAD = Upload("a" * 32, "ann", "data.csv", NOW, NOW, size_bytes=10)


@pytest.fixture
def store(tmp_path):
    store = FolderUploadStore(tmp_path / "uploads")
    store.create(UPLOAD)
    return store


def test_what_was_written_is_there_for_another_process(store, tmp_path):
    with store.append(UPLOAD.id, 0) as writer:
        writer.write(b"12345")
    found = FolderUploadStore(tmp_path / "uploads").get(UPLOAD.id)
    assert replace(found, updated_at=NOW) == replace(UPLOAD, offset=5)
    assert store.path(UPLOAD.id).read_bytes() == b"12345"


def test_only_the_latest_writer_writes(store):
    with store.append(UPLOAD.id, 0) as stale:
        stale.write(b"12")
        with store.append(UPLOAD.id, 2) as writer:
            with pytest.raises(OffsetMismatch):
                stale.write(b"x")
            with pytest.raises(OffsetMismatch):
                stale.truncate(0)
            with pytest.raises(OffsetMismatch):
                stale.complete(UPLOAD)
            writer.write(b"34")
    assert store.path(UPLOAD.id).read_bytes() == b"1234"


def test_a_writer_that_comes_too_late_finds_the_upload_complete(store):
    with store.append(UPLOAD.id, 0) as writer:
        writer.complete(replace(UPLOAD, complete=True))
    with pytest.raises(UploadFinished), store.append(UPLOAD.id, 0):
        pass


def test_a_full_disk_keeps_what_fits_and_says_so(store, monkeypatch):
    with store.append(UPLOAD.id, 0) as writer:
        writer.write(b"123")

        class Full:
            def write(self, data):
                raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(writer, "_file", Full())
            with pytest.raises(OutOfDisk):
                writer.write(b"456")
    assert store.get(UPLOAD.id).offset == 3


def test_an_upload_that_cannot_fit_is_refused_at_once(store):
    huge = replace(UPLOAD, id="b" * 32, size_bytes=1 << 60)
    with pytest.raises(OutOfDisk):
        store.create(huge)
    assert [upload.id for upload in store.list()] == [UPLOAD.id]


@pytest.mark.parametrize("upload_id", ["", ".", "..", "../uploads/" + "a" * 32, "b" * 32])
def test_other_ids_lead_nowhere(store, upload_id):
    with pytest.raises(UploadNotFound):
        store.get(upload_id)
    store.delete(upload_id)
    assert store.get(UPLOAD.id)


def test_only_what_nothing_was_added_to_for_long_is_swept(store):
    limits = UploadLimits(ttl=timedelta(hours=1))
    written_at = datetime.now(UTC)  # what the file says
    SweepUploads(store, limits, lambda: written_at + timedelta(minutes=59))()
    assert store.get(UPLOAD.id)
    SweepUploads(store, limits, lambda: written_at + timedelta(minutes=61))()
    assert store.list() == []
