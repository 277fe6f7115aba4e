"""Files behind URLs: streamed to disk, resumed where they broke off, never trusted."""

import errno
import re
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import stamina

from flight_core.adapters.sources.fields import fields_of
from flight_core.application.ports.sources import Fetched, FetchedFile, Report
from flight_core.domain.errors import (
    DeadlineExceeded,
    InvalidSource,
    LimitExceeded,
    OutOfDisk,
    SourceNotAllowed,
    SourceUnavailable,
)
from flight_core.domain.ingestion import Phase, Progress, SourceSpec
from flight_core.domain.source_state import SourceState
from flight_core.infrastructure.http_client import AddressPolicy, build_client

_MAX_REDIRECTS = 10
_CHUNK_BYTES = 256 << 10
_RETRY_LATER = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524})
_OURS = frozenset(
    {"accept-encoding", "connection", "content-length", "host", "if-range", "range", "transfer-encoding"}
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class HttpSourceOptions:
    """`timeout_s` is for a whole transfer with its retries, `read_timeout_s` for one silence in it.
    `allow_private` opens every address there is, `allow_loopback` only this machine's."""

    allow_private: bool = False
    allow_loopback: bool = False
    max_bytes: int = 64 << 30
    timeout_s: float = 3600.0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    attempts: int = 5
    retry_wait_s: float = 0.5
    max_retry_wait_s: float = 60.0


@dataclass(frozen=True, slots=True)
class HttpSource:
    """See `Source`. Fields: `url`, and `headers` to send to its origin."""

    options: HttpSourceOptions

    def check(self, spec: SourceSpec) -> None:
        _parsed(spec)

    async def fetch(
        self, spec: SourceSpec, folder: Path, report: Report, *, state: SourceState | None = None
    ) -> Fetched:
        options = self.options
        url, headers = _parsed(spec)
        policy = AddressPolicy(allow_private=options.allow_private, allow_loopback=options.allow_loopback)
        client = build_client(
            policy, connect_timeout_s=options.connect_timeout_s, read_timeout_s=options.read_timeout_s
        )
        async with client:
            download = _Download(client, url, headers, folder / "download", options, report)
            try:
                with anyio.fail_after(options.timeout_s):
                    await self._with_retries(download)
            except TimeoutError:
                raise DeadlineExceeded(
                    f"{download.label} was not fetched within {options.timeout_s:g} s;"
                    " raise SKEIN_INGEST_FETCH_TIMEOUT_S",
                ) from None
        return Fetched([FetchedFile(download.path, download.label, download.received, temporary=True)])

    async def _with_retries(self, download: "_Download") -> None:
        options = self.options
        retries = stamina.retry_context(
            on=_wait_before_retry,
            attempts=options.attempts,
            timeout=None,
            wait_initial=options.retry_wait_s,
            wait_max=options.max_retry_wait_s,
            wait_jitter=options.retry_wait_s,
        )
        try:
            async for attempt in retries:
                with attempt:
                    await download.attempt()
        except _Interrupted as error:
            raise SourceUnavailable(
                f"{download.label}: {error}, {options.attempts} times; try again later", url=download.label
            ) from None


class _Interrupted(Exception):
    """It may work the next time, after `wait_s` seconds if the server said so."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def _wait_before_retry(error: Exception) -> bool | float:
    if not isinstance(error, _Interrupted):
        return False
    return True if error.wait_s is None else error.wait_s


class _Download:
    """One file on its way to disk, over any number of attempts."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: httpx.URL,
        headers: Mapping[str, str],
        path: Path,
        options: HttpSourceOptions,
        report: Report,
    ) -> None:
        self.path = path
        self.label = f"{url.host}{url.path}"[:200]
        self.received = 0
        self._total: int | None = None
        self._validator: str | None = None  # what tells that the rest still belongs to the beginning
        self._client = client
        self._url = url
        self._headers = headers
        self._options = options
        self._report = report

    async def attempt(self) -> None:
        try:
            response = await self._open()
            async with aclosing(response):
                self._begin(response)
                await self._receive(response)
        except httpx.TransportError as error:
            if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
                raise InvalidSource(f"{self.label} cannot be requested: {error}") from None
            raise _Interrupted(_reason(error)) from None
        if self._total is not None and self.received != self._total:
            raise _Interrupted(f"it promised {self._total} bytes and sent {self.received}")

    async def _open(self) -> httpx.Response:
        """Ask for what is still missing, following redirects. The caller closes the answer."""
        url, headers = self._url, dict(self._headers)
        for _ in range(_MAX_REDIRECTS + 1):
            request = self._client.build_request("GET", url, headers=headers | self._rest_headers())
            response = await self._client.send(request, stream=True)
            if not response.has_redirect_location:
                return response
            await response.aclose()
            target = url.join(response.headers["location"])
            if target.scheme not in ("http", "https"):
                raise SourceNotAllowed(f"{self.label} redirects to '{target.scheme}:', which is not allowed")
            if _origin(target) != _origin(url):
                headers = {}
            url = target
        raise InvalidSource(f"{self.label} redirects more than {_MAX_REDIRECTS} times; check the URL")

    def _rest_headers(self) -> dict[str, str]:
        if not self.received or self._validator is None:
            return {}
        return {"Range": f"bytes={self.received}-", "If-Range": self._validator}

    def _begin(self, response: httpx.Response) -> None:
        """Decide what the answer means for what is on disk already."""
        status = response.status_code
        if status in _RETRY_LATER:
            raise self._retry_later(response)
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if status == httpx.codes.PARTIAL_CONTENT and match and int(match[1]) == self.received:
            total = match[2]
            self._total = None if total == "*" else int(total)
            return
        self.received = 0
        if status in (httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE):
            self._validator = None
            raise _Interrupted("it could not continue where it had broken off")
        if status != httpx.codes.OK:
            hint = "send credentials in 'headers'" if status in (401, 403) else "check the URL"
            raise InvalidSource(
                f"{self.label} answered {status} {response.reason_phrase}; {hint}", status=status
            )
        self._validator = _validator(response.headers)
        length = response.headers.get("content-length", "")
        self._total = int(length) if length.isdecimal() else None
        self._check_size(self._total or 0)

    def _retry_later(self, response: httpx.Response) -> Exception:
        reason = f"it answered {response.status_code} {response.reason_phrase}"
        wait_s = _retry_after_s(response.headers.get("retry-after", ""))
        if wait_s is not None and wait_s > self._options.max_retry_wait_s:
            return SourceUnavailable(f"{self.label}: {reason} and wants to be left alone for {wait_s:.0f} s")
        return _Interrupted(reason, wait_s)

    async def _receive(self, response: httpx.Response) -> None:
        with self.path.open("r+b" if self.received else "wb") as file:
            if self.received:
                file.seek(self.received)
                file.truncate()
            async for chunk in response.aiter_raw(_CHUNK_BYTES):
                self._check_size(self.received + len(chunk))
                await anyio.to_thread.run_sync(_write, file.write, chunk)
                self.received += len(chunk)
                await self._report(Progress(Phase.FETCHING, self.received, self._total))

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._options.max_bytes:
            raise LimitExceeded(
                f"{self.label} is larger than {self._options.max_bytes} bytes; raise SKEIN_INGEST_MAX_BYTES",
                limit=self._options.max_bytes,
            )


def _parsed(spec: SourceSpec) -> tuple[httpx.URL, Mapping[str, str]]:
    fields = fields_of(spec, "url", "headers")
    given, headers = fields.get("url"), fields.get("headers") or {}
    if not isinstance(given, str):
        raise InvalidSource("a source of kind 'http' needs 'url', an http or https URL")
    try:
        url = httpx.URL(given)
    except httpx.InvalidURL as error:
        raise InvalidSource(f"'{given[:200]}' is not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidSource(f"'{given[:200]}' is not an http or https URL; other schemes are not fetched")
    if not isinstance(headers, Mapping):
        raise InvalidSource("'headers' has to be an object of names and values")
    for name, value in headers.items():
        _check_header(name, value)
    return url, headers


def _check_header(name: object, value: object) -> None:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name) or name.lower() in _OURS:
        raise InvalidSource(f"'{str(name)[:100]}' is not a header that can be set; leave it out")
    if not isinstance(value, str) or not value.isprintable():
        raise InvalidSource(f"the value of the header '{name}' has to be text without line breaks")


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _validator(headers: httpx.Headers) -> str | None:
    etag = headers.get("etag", "")
    if etag and not etag.startswith("W/"):
        return str(etag)
    modified = headers.get("last-modified")
    return None if modified is None else str(modified)


def _retry_after_s(value: str) -> float | None:
    if value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _reason(error: httpx.TransportError) -> str:
    match error:
        case httpx.ConnectTimeout() | httpx.ConnectError():
            return "it cannot be reached"
        case httpx.TimeoutException():
            return "it stopped sending"
        case _:
            return "the connection broke"


def _write(write: Callable[[bytes], int], chunk: bytes) -> None:
    try:
        write(chunk)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OutOfDisk("the disk is full; free some space and start again") from None
        raise
