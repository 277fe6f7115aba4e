"""Decompressing files, with a limit on the size of the result."""

import bz2
import gzip
import zipfile
import zlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Protocol

import pyarrow as pa

from flight_core.adapters.parsers.sniffing import Compression, compression_of
from flight_core.domain.errors import InvalidOption, LimitExceeded, UnknownFormat, UnreadableData

_ODS = b"application/vnd.oasis.opendocument.spreadsheet"
_CHUNK_BYTES = 1 << 20
_MAGIC_BYTES = 8
_SHOWN_MEMBERS = 20
_RATIO_MATTERS_BYTES = 64 << 20  # the ratio is not limited for smaller results


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    max_bytes: int
    max_ratio: int


@dataclass(frozen=True, slots=True)
class Unpacked:
    path: Path
    label: str
    is_member: bool = False  # of a zip archive


def unpack(
    path: Path,
    label: str,
    compression: Compression,
    folder: Path,
    limits: UnpackLimits,
    *,
    members: str | None = None,
    enough_bytes: int | None = None,
) -> list[Unpacked]:
    """Decompress `path` into `folder`: to one file, or to one for each member of a zip archive that matches
    the pattern `members`. With `enough_bytes`, only so much of each is written, and a truncated file is no
    failure.

    Raises:
        UnreadableData: the file is truncated or damaged.
        LimitExceeded: the result is larger than allowed.
        UnknownFormat: a zip archive that is really an office document, or is encrypted, or what is packed
            is so once more.
        InvalidOption: no member matches.
    """
    bound = _Bound(label, path.stat().st_size, limits)
    try:
        if compression == "zip":
            unpacked = _unpack_zip(path, label, folder, bound, members, enough_bytes)
        else:
            unpacked = [Unpacked(folder / path.name, label)]
            with _opened(path, compression) as packed:
                _copy(packed, unpacked[0].path, bound, enough_bytes)
    except (
        EOFError,
        gzip.BadGzipFile,
        zlib.error,
        zipfile.BadZipFile,
        pa.ArrowException,
        ValueError,
    ) as error:
        raise UnreadableData(f"{label} cannot be decompressed ({compression}): {error}") from None
    except OSError as error:
        if error.errno is not None:  # the disk, not the data
            raise
        raise UnreadableData(f"{label} is damaged {compression} data; fetch it again") from None
    for file in unpacked:
        if enough_bytes is None or file.path.stat().st_size < enough_bytes:
            _check_once(file, label)
    return unpacked


def packing_of(path: Path, sample: bytes) -> Compression | None:
    """How the file is compressed; workbooks count as they are, though they are zip archives."""
    compression = compression_of(sample)
    return None if compression == "zip" and _is_workbook(path) else compression


def check_members(archive: zipfile.ZipFile, label: str, packed_bytes: int, limits: UnpackLimits) -> None:
    """
    Raises:
        LimitExceeded: more comes out than is allowed.
    """
    bound = _Bound(label, packed_bytes, limits)
    for member in archive.infolist():
        bound.add(member.file_size)


def _check_once(file: Unpacked, packed: str) -> None:
    with file.path.open("rb") as content:
        compression = packing_of(file.path, content.read(_MAGIC_BYTES))
    if compression is not None:
        raise UnknownFormat(
            f"{file.label} is compressed itself ({compression}); unpack {packed}, and ingest what is in it"
        )


def _is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "mimetype" in names and archive.getinfo("mimetype").file_size < len(_ODS) + 10:
                return archive.read("mimetype").strip() == _ODS
            return "xl/workbook.xml" in names or "xl/workbook.bin" in names
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, zlib.error):
        return False


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Bound:
    """What may still come out of one compressed file."""

    def __init__(self, label: str, packed_bytes: int, limits: UnpackLimits) -> None:
        self._label = label
        self._limits = limits
        self._ratio_bytes = max(packed_bytes * limits.max_ratio, _RATIO_MATTERS_BYTES)
        self._bytes = 0

    def add(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._limits.max_bytes:
            raise LimitExceeded(
                f"{self._label} decompresses to more than {self._limits.max_bytes} bytes;"
                " raise SKEIN_INGEST_MAX_BYTES",
                limit=self._limits.max_bytes,
            )
        if self._bytes > self._ratio_bytes:
            raise LimitExceeded(
                f"{self._label} decompresses to more than {self._limits.max_ratio} times its size;"
                " if that is right, raise SKEIN_INGEST_MAX_RATIO",
                limit=self._limits.max_ratio,
            )


def _opened(path: Path, compression: Compression) -> AbstractContextManager[Readable]:
    match compression:
        case "gzip":
            return gzip.open(path)
        case "bz2":
            return bz2.open(path)
        case "zstd":
            return pa.input_stream(str(path), compression="zstd")
        case "zip":
            raise AssertionError("an archive has members")


def _copy(packed: Readable, target: Path, bound: _Bound, enough_bytes: int | None) -> None:
    written = 0
    with target.open("xb") as out:
        while enough_bytes is None or written < enough_bytes:
            try:
                chunk = packed.read(_CHUNK_BYTES)
            except (EOFError, OSError):
                if not (enough_bytes and written):
                    raise
                return
            if not chunk:
                return
            bound.add(len(chunk))
            out.write(chunk)
            written += len(chunk)


def _is_hidden(member: zipfile.ZipInfo) -> bool:
    """As what macOS puts into every archive."""
    parts = PurePosixPath(member.filename).parts
    return "__MACOSX" in parts or any(part.startswith(".") and part != ".." for part in parts)


def _unpack_zip(
    path: Path, label: str, folder: Path, bound: _Bound, pattern: str | None, enough_bytes: int | None
) -> list[Unpacked]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not (member.is_dir() or _is_hidden(member))]
        names = [member.filename for member in members]
        if "[Content_Types].xml" in names or "mimetype" in names:
            raise UnknownFormat(f"{label} is an office document, but no workbook; save it as CSV")
        if any(member.flag_bits & 1 for member in members):
            raise UnknownFormat(f"{label} is an encrypted archive; unpack it first")
        if not members:
            raise UnreadableData(f"{label} is an empty archive")
        if pattern is not None:
            members = [member for member in members if fnmatchcase(member.filename, pattern)]
        if not members:
            raise InvalidOption(
                f"no member of {label} is called '{pattern}'; set the option 'members' to a pattern for some"
                f" of {', '.join(repr(name) for name in names[:_SHOWN_MEMBERS])}",
                option="members",
            )
        unpacked = []
        for number, member in enumerate(members):  # never under the name that the archive gives
            target = folder / f"{path.name}-{number}"
            with archive.open(member) as packed:
                _copy(packed, target, bound, enough_bytes)
            unpacked.append(Unpacked(target, f"{label}/{member.filename}", is_member=True))
        return unpacked
