"""Files from URLs: streamed to disk, resumed after an interruption, and only fetched again if they have
changed."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread
import httpx

from flight_core.adapters.sources.fields import fields_of
from flight_core.adapters.sources.web import (
    HttpSourceOptions,
    Interrupted,
    NoSecrets,
    Web,
    checked_headers,
    label_of,
    open_web,
    parsed_url,
    refused,
)
from flight_core.application.ports.secrets import Secrets
from flight_core.application.ports.sources import Fetched, FetchedFile, Report
from flight_core.domain.errors import (
    ChecksumMismatch,
    InvalidSource,
    LimitExceeded,
)
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.job import Phase, Progress
from flight_core.domain.source_state import SourceState
from flight_core.domain.system_errors import system_errors

MAX_URLS = 1000

_CHUNK_BYTES = 256 << 10
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_CHECKSUM = re.compile(r"(md5|sha1|sha256|sha512):([0-9a-fA-F]+)")
_STRONG_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class HttpSource:
    """See `Source`. Fields: `url`, one or a list; `headers` for the URLs' origin; `checksum`, one for each
    URL.

    The state has the validators (ETag, Last-Modified) and the SHA-256 of each file. If any file has changed,
    all are fetched.
    """

    options: HttpSourceOptions
    secrets: Secrets = field(default_factory=NoSecrets)

    def check(self, spec: SourceSpec) -> None:
        _parsed(spec, self.secrets)

    async def fetch(
        self, spec: SourceSpec, folder: Path, report: Report, *, state: SourceState | None = None
    ) -> Fetched:
        targets, headers = _parsed(spec, self.secrets)
        known = _known(state, len(targets))
        downloads: list[_Download] = []
        async with open_web(self.options, headers, self.secrets, label_of(targets[0].url)) as web:
            for number, target in enumerate(targets):
                download = _Download(target, folder / f"download-{number}", known[number], report, downloads)
                downloads.append(download)
                await download.run(web)
            if all(download.unchanged for download in downloads):
                return Fetched(())
            for download in downloads:
                if download.unmodified:
                    download.known = {}
                    await download.run(web)
        return Fetched(
            [
                FetchedFile(each.path, each.label, each.received, temporary=True, sha256=each.sha256)
                for each in downloads
            ],
            SourceState(seen={"files": [each.seen for each in downloads]}),
        )

    async def peek(self, spec: SourceSpec, folder: Path, report: Report, *, max_bytes: int) -> Fetched:
        async def enough(progress: Progress) -> None:
            await report(progress)
            if progress.done_bytes >= max_bytes:
                raise _Enough

        targets, headers = _parsed(spec, self.secrets)
        download = _Download(targets[0], folder / "head", {}, enough, ())
        whole = len(targets) == 1
        async with open_web(self.options, headers, self.secrets, label_of(targets[0].url)) as web:
            try:
                await download.run(web)
            except _Enough:
                whole = False
        return Fetched([FetchedFile(download.path, download.label, download.received, True, whole)])


class _Enough(Exception):
    """Enough bytes were received for a preview."""


@dataclass(frozen=True, slots=True)
class _Target:
    url: httpx.URL
    checksum: str | None  # algorithm:hexadecimal


class _Download:
    """Downloads one file in any number of attempts. `known` is its state in an earlier fetch."""

    def __init__(
        self,
        target: _Target,
        path: Path,
        known: Mapping[str, object],
        report: Report,
        earlier: Sequence["_Download"],
    ) -> None:
        self.target = target
        self.path = path
        self.label = label_of(target.url)
        self.known = known
        self.received = 0
        self.unmodified = False  # the server said so, and nothing was downloaded
        self._total: int | None = None
        self._headers = httpx.Headers()  # of the response that the bytes on disk are from
        self._digests = self._new_digests()
        self._report = report
        self._earlier = tuple(earlier)

    @property
    def unchanged(self) -> bool:
        return self.unmodified or (bool(self.received) and self.sha256 == self.known.get("sha256"))

    @property
    def seen(self) -> dict[str, object]:
        validators = {
            name: self._headers[header]
            for name, header in (("etag", "etag"), ("last_modified", "last-modified"))
            if header in self._headers
        }
        return {**validators, "sha256": self.sha256}

    async def run(self, web: Web) -> None:
        """
        Raises:
            ChecksumMismatch: the file has another checksum than the user has given.
        """
        await web.persist(partial(self._attempt, web), self.label)
        self._verify()

    def _verify(self) -> None:
        wanted = self.target.checksum
        if wanted is None or self.unmodified:
            return
        algorithm, _, expected = wanted.partition(":")
        found = self._digests[algorithm].hexdigest()
        if found != expected:
            raise ChecksumMismatch(
                f"the {algorithm} of {self.label} is {found}, not {expected}; check the URL and 'checksum'",
                checksum=f"{algorithm}:{found}",
            )

    async def _attempt(self, web: Web) -> None:
        async with web.ask(self.target.url, headers=self._conditions()) as response:
            self._begin(response, web.options)
            if not self.unmodified:
                await self._receive(response, web.options)
        if self._total is not None and self.received != self._total and not self.unmodified:
            raise Interrupted(f"it promised {self._total} bytes and sent {self.received}")

    def _conditions(self) -> dict[str, str]:
        validator = _strong_validator(self._headers)
        if self.received:
            return {"Range": f"bytes={self.received}-", "If-Range": validator} if validator else {}
        etag, modified = self.known.get("etag"), self.known.get("last_modified")
        if etag:
            return {"If-None-Match": str(etag)}
        return {"If-Modified-Since": str(modified)} if modified else {}

    def _begin(self, response: httpx.Response, options: HttpSourceOptions) -> None:
        """Decide from the response whether the bytes on disk are kept."""
        status = response.status_code
        self.unmodified = status == httpx.codes.NOT_MODIFIED and bool(self.known) and not self.received
        if self.unmodified or (status == httpx.codes.PARTIAL_CONTENT and self._continues(response)):
            return
        self.received, self._digests = 0, self._new_digests()
        if status in (httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE):
            self._headers = httpx.Headers()
            raise Interrupted("it could not continue where it had broken off")
        if status != httpx.codes.OK:
            raise refused(response, self.label)
        self._headers = response.headers
        length = response.headers.get("content-length", "")
        self._total = int(length) if length.isdecimal() else None
        self._check_size(self._total or 0, options)

    def _continues(self, response: httpx.Response) -> bool:
        """Whether the response continues the bytes on disk."""
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if match is None or int(match[1]) != self.received:
            return False
        total = None if match[2] == "*" else int(match[2])
        if self._total is not None and total not in (None, self._total):
            return False
        self._total = total if self._total is None else self._total
        etag = self._headers.get("etag")
        return etag is None or response.headers.get("etag", etag) == etag

    async def _receive(self, response: httpx.Response, options: HttpSourceOptions) -> None:
        before = sum(each.received for each in self._earlier)
        with self.path.open("r+b" if self.received else "wb") as file:
            if self.received:
                file.seek(self.received)
                file.truncate()
            waiting = bytearray()
            try:
                async for piece in response.aiter_raw():
                    self._check_size(self.received + len(waiting) + len(piece), options)
                    waiting += piece
                    if len(waiting) >= _CHUNK_BYTES:
                        await anyio.to_thread.run_sync(self._take, file, waiting)
                        await self._report(self._progress(before))
            finally:  # what comes before a break is not asked for again
                self._take(file, waiting)
            await self._report(self._progress(before))

    def _take(self, file: BinaryIO, waiting: bytearray) -> None:
        with system_errors():
            file.write(waiting)
        for digest in self._digests.values():
            digest.update(waiting)
        self.received += len(waiting)
        waiting.clear()

    def _progress(self, before: int) -> Progress:
        total = None if self._total is None else before + self._total
        return Progress(Phase.FETCHING, before + self.received, total)

    def _check_size(self, size_bytes: int, options: HttpSourceOptions) -> None:
        if sum(each.received for each in self._earlier) + size_bytes > options.max_bytes:
            raise LimitExceeded(
                f"{self.label} is larger than {options.max_bytes} bytes; raise SKEIN_INGEST_MAX_BYTES",
                limit=options.max_bytes,
            )

    def _new_digests(self) -> "dict[str, hashlib._Hash]":
        wanted = (self.target.checksum or "sha256").partition(":")[0]
        return {name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", wanted}}

    @property
    def sha256(self) -> str:
        return self._digests["sha256"].hexdigest()


def _parsed(spec: SourceSpec, secrets: Secrets) -> tuple[list[_Target], Mapping[str, object]]:
    fields = fields_of(spec, "url", "headers", "checksum")
    urls, sums = fields.get("url"), fields.get("checksum")
    given = urls if isinstance(urls, list | tuple) else [urls]
    wanted = sums if isinstance(sums, list | tuple) else [sums] * (1 if sums else len(given))
    if not 1 <= len(given) <= MAX_URLS:
        raise InvalidSource(f"'url' has to be a URL or a list of 1 to {MAX_URLS}; it has {len(given)}")
    if len(wanted) != len(given):
        raise InvalidSource(f"there are {len(wanted)} checksums for {len(given)} URLs; give one for each")
    headers = checked_headers(fields.get("headers"), secrets)
    targets = [
        _Target(parsed_url(url, spec.kind), _checksum(each)) for url, each in zip(given, wanted, strict=True)
    ]
    return targets, headers


def _checksum(given: object) -> str | None:
    if given is None:
        return None
    match = _CHECKSUM.fullmatch(given) if isinstance(given, str) else None
    if match is None or len(match[2]) != 2 * hashlib.new(match[1], usedforsecurity=False).digest_size:
        raise InvalidSource(
            f"'{str(given)[:80]}' is not a checksum; write sha256:, sha512:, sha1: or md5: and the digest"
            " in hexadecimal"
        )
    return f"{match[1]}:{match[2].lower()}"


def _known(state: SourceState | None, count: int) -> list[Mapping[str, object]]:
    files = state.seen.get("files") if state is not None else None
    return files if isinstance(files, list) and len(files) == count else [{}] * count


def _strong_validator(headers: httpx.Headers) -> str | None:
    """A strong validator for resuming the download (RFC 9110, 8.8); None if there is none."""
    etag = headers.get("etag", "")
    if etag:
        return None if etag.startswith("W/") else str(etag)
    modified, date = _moment(headers.get("last-modified")), _moment(headers.get("date"))
    if modified is None or (date is not None and date - modified < _STRONG_AFTER_S):
        return None
    return str(headers["last-modified"])


def _moment(value: str | None) -> float | None:
    try:
        return None if value is None else parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
