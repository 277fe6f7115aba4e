"""What requests say of the bytes they bring: resumable uploads (IETF draft), digests (RFC 9530)."""

import base64
import binascii
import re
from collections.abc import Mapping

from control_api.errors import HttpProblem, unsupported_coding
from flight_core.application.ingestion.uploads import Part
from flight_core.domain.errors import InvalidRequest
from schemas.uploads import Upload

_DIGEST = re.compile(r"\s*([a-z0-9*-]+)=:([A-Za-z0-9+/=]*):\s*")
_CODINGS = ("gzip", "zstd")
_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}
_FLAGS = {"?0": False, "?1": True}
_MAX_INTEGER = 10**15  # of structured fields


def part_of(headers: Mapping[str, str], *, offset: int | None = None, last: bool | None = None) -> Part:
    """The part in the body, which belongs at `offset`, or where `Upload-Offset` says. `last` is what
    holds where neither `Upload-Complete` nor `Upload-Length` say anything.

    Raises:
        InvalidRequest: a header that is missing or not as it has to be.
    """
    if offset is None:
        offset = _integer(headers, "upload-offset")
        if offset is None:
            raise InvalidRequest("send the header 'Upload-Offset', which HEAD tells, with each part")
    size_bytes = _integer(headers, "upload-length")
    last = _flag(headers, "upload-complete", last if size_bytes is None else None)
    body_bytes = _integer(headers, "content-length")
    if last and size_bytes is None and body_bytes is not None:
        size_bytes = offset + body_bytes
    return Part(
        offset=offset,
        last=last,
        size_bytes=size_bytes,
        digests=_digests(headers, "content-digest"),
        whole_digests=_digests(headers, "repr-digest"),
    )


def has_body(headers: Mapping[str, str]) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def check_type(headers: Mapping[str, str]) -> None:
    """Raises HttpProblem 415: a form has more in it than the file. (`curl --data-binary` and urllib call
    any bytes `application/x-www-form-urlencoded`.) What is compressed is stored like that, and unpacked when
    it is ingested."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        raise HttpProblem(
            415,
            "unsupported_media_type",
            "the body is a form; send the bytes of the file as they are, as 'curl --upload-file' does",
        )
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", *_CODINGS):
        raise unsupported_coding(coding, known=_CODINGS)


def headers_of(upload: Upload, *, max_bytes: int) -> dict[str, str]:
    headers = {
        "Upload-Offset": str(upload.offset),
        "Upload-Complete": "?1" if upload.complete else "?0",
        "Upload-Limit": f"max-size={max_bytes}",
    }
    if upload.size_bytes is not None:
        headers["Upload-Length"] = str(upload.size_bytes)
    return headers


def _integer(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or int(text[:20]) >= _MAX_INTEGER:
        raise InvalidRequest(f"the header '{name}' is {text[:40]!r}, which is not a number of bytes")
    return int(text)


def _flag(headers: Mapping[str, str], name: str, default: bool | None) -> bool | None:
    text = headers.get(name)
    if text is None:
        return default
    if text not in _FLAGS:
        raise InvalidRequest(f"the header '{name}' is {text[:40]!r}; send '?1' for yes or '?0' for no")
    return _FLAGS[text]


def _digests(headers: Mapping[str, str], name: str) -> dict[str, bytes]:
    """Of the algorithms that are known; others may be there as well."""
    digests = {}
    for entry in filter(None, headers.get(name, "").split(",")):
        match = _DIGEST.fullmatch(entry)
        try:
            value = base64.b64decode(match[2], validate=True) if match else None
        except binascii.Error:
            value = None
        if match is None or value is None:
            raise InvalidRequest(
                f"the header '{name}' is {headers[name][:100]!r}; write it like 'sha-256=:<base64>:'"
            )
        if match[1] in _ALGORITHMS:
            digests[_ALGORITHMS[match[1]]] = value
    return digests
