"""Checksums of ingested files, for the history of the dataset."""

import hashlib
from collections.abc import Sequence

from flight_core.application.ports.sources import FetchedFile

# Larger files are not read again only for the checksum.
_MAX_BYTES = 256 << 20


def checksum_of(files: Sequence[FetchedFile]) -> str | None:
    """`sha256:` and the digest of the file, or of the digests of several files (one per line); None if
    unknown."""
    if not files or sum(file.size_bytes for file in files if file.sha256 is None) > _MAX_BYTES:
        return None
    digests = [file.sha256 or _digest(file) for file in files]
    if len(digests) == 1:
        return f"sha256:{digests[0]}"
    return f"sha256:{hashlib.sha256(chr(10).join(digests).encode()).hexdigest()}"


def _digest(file: FetchedFile) -> str:
    with file.path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
