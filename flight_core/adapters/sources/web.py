"""HTTP requests for sources: validation, secrets, redirects and retries."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import anyio
import httpx
import stamina

from flight_core.application.ports.secrets import Secrets
from flight_core.domain.errors import (
    DeadlineExceeded,
    InvalidSource,
    SecretNotFound,
    SourceNotAllowed,
    SourceUnavailable,
)
from flight_core.infrastructure.http_client import AddressPolicy, build_client

_MAX_REDIRECTS = 10
_RETRY_LATER = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524})
_OURS = frozenset(
    {"accept-encoding", "connection", "content-length", "host", "if-range", "range", "transfer-encoding"}
    | {"if-none-match", "if-modified-since"}
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class HttpSourceOptions:
    """`timeout_s` is for a whole fetch with its retries, `read_timeout_s` for a single read.
    `allow_private` allows every address, `allow_loopback` only those of this machine."""

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
class NoSecrets:
    """See `Secrets`. Has no secrets."""

    def require(self, name: str) -> None:
        raise SecretNotFound(f"there is no secret '{name[:64]}'", secret=name[:64])

    def value(self, name: str, *, host: str) -> str:
        self.require(name)
        raise AssertionError


class Interrupted(Exception):
    """The request may be retried, after `wait_s` seconds if the server said so."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def parsed_url(given: object, kind: str) -> httpx.URL:
    """
    Raises:
        InvalidSource: it is not an HTTP URL.
    """
    if not isinstance(given, str):
        raise InvalidSource(f"a source of kind '{kind}' needs 'url', an http or https URL")
    try:
        url = httpx.URL(given)
    except httpx.InvalidURL as error:
        raise InvalidSource(f"'{_bare(given)}' is not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidSource(f"'{_bare(given)}' is not an http or https URL; other schemes are not fetched")
    return url


def label_of(url: httpx.URL) -> str:
    """The URL in error messages: without user, password and query, which may contain secrets."""
    return f"{url.netloc.decode()}{url.path}"[:200]


def checked_headers(given: object, secrets: Secrets) -> Mapping[str, object]:
    """
    Raises:
        InvalidSource, SecretNotFound.
    """
    headers = given or {}
    if not isinstance(headers, Mapping):
        raise InvalidSource("'headers' has to be an object of names and values")
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name) or name.lower() in _OURS:
            raise InvalidSource(f"'{str(name)[:100]}' is not a header that can be set; leave it out")
        check_value(value, f"the value of the header '{name}'", secrets)
    return headers


def check_value(value: object, what: str, secrets: Secrets) -> None:
    """Accepts a text, or `{"secret": NAME, "prefix": TEXT}`."""
    match value:
        case str() if value.isprintable():
            return
        case {"secret": str(name), **rest} if (
            set(rest) <= {"prefix"} and str(rest.get("prefix", "")).isprintable()
        ):
            secrets.require(name)
            return
    raise InvalidSource(f'{what} has to be text without line breaks, or {{"secret": "its name"}}')


def with_secrets(given: Mapping[str, object], secrets: Secrets, host: str) -> dict[str, str]:
    """The values with their secrets, to be sent to `host`."""
    return {name: _revealed(value, secrets, host) for name, value in given.items()}


def _revealed(value: object, secrets: Secrets, host: str) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    secret = secrets.value(str(value["secret"]), host=host)
    if not secret.isascii() or not secret.isprintable():
        raise InvalidSource(f"the secret '{value['secret']}' cannot be sent: it is not one line of ASCII")
    return f"{value.get('prefix', '')}{secret}"


@dataclass(frozen=True, slots=True)
class Web:
    """An open client. `headers` are those of the user, with secrets by name."""

    client: httpx.AsyncClient
    options: HttpSourceOptions
    headers: Mapping[str, object]
    secrets: Secrets

    @asynccontextmanager
    async def ask(
        self,
        url: httpx.URL,
        *,
        home: httpx.URL | None = None,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> AsyncIterator[httpx.Response]:
        """The response after redirects, with an unread body. The user's headers are only sent to the origin
        of `home` (None: of `url`); `headers` are sent to all servers.

        Raises:
            Interrupted: the request may be retried.
            InvalidSource, SourceNotAllowed, SourceUnavailable.
        """
        label = label_of(url)
        try:
            own = self._own_headers(url) if home is None or same_origin(url, home) else {}
            response = await self._follow(url, method, own, headers or {}, body)
            async with aclosing(response):
                if response.status_code in _RETRY_LATER:
                    raise self._retry_later(response, label)
                yield response
        except httpx.TransportError as error:
            if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
                raise InvalidSource(f"{label} cannot be requested: {error}") from None
            raise Interrupted(_reason(error)) from None

    def _own_headers(self, url: httpx.URL) -> Mapping[str, str]:
        return with_secrets(self.headers, self.secrets, url.host)

    async def _follow(
        self, url: httpx.URL, method: str, own: Mapping[str, str], headers: Mapping[str, str], body: object
    ) -> httpx.Response:
        at = url
        for _ in range(_MAX_REDIRECTS + 1):
            request = self.client.build_request(
                method, at, headers={**own, **headers}, json=body if method == "POST" else None
            )
            response = await self.client.send(request, stream=True)
            if not response.has_redirect_location:
                return response
            await response.aclose()
            target = _joined(at, response.headers["location"], label_of(url))
            if not same_origin(target, at):
                own = {}
                if method == "POST":
                    raise SourceNotAllowed(f"{label_of(url)} redirects a POST to another server; use its URL")
            if method == "POST" and response.status_code not in (307, 308):
                method = "GET"
            at = target
        raise InvalidSource(f"{label_of(url)} redirects more than {_MAX_REDIRECTS} times; check the URL")

    def _retry_later(self, response: httpx.Response, label: str) -> Exception:
        reason = f"it answered {response.status_code} {response.reason_phrase}"
        wait_s = _retry_after_s(response.headers.get("retry-after", ""))
        if wait_s is not None and wait_s > self.options.max_retry_wait_s:
            return SourceUnavailable(f"{label}: {reason} and wants to be left alone for {wait_s:.0f} s")
        return Interrupted(reason, wait_s)

    async def persist(self, action: Callable[[], Awaitable[None]], label: str) -> None:
        """Repeat `action` while it raises Interrupted.

        Raises:
            SourceUnavailable: all attempts were interrupted.
        """
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
                    await action()
        except Interrupted as error:
            raise SourceUnavailable(
                f"{label}: {error}, {options.attempts} times; try again later", url=label
            ) from None


@asynccontextmanager
async def open_web(
    options: HttpSourceOptions, headers: Mapping[str, object], secrets: Secrets, label: str
) -> AsyncIterator[Web]:
    """A client for all requests of a fetch, which has a time limit. `label` is its name in error messages.

    Raises:
        DeadlineExceeded: the fetch took too long.
    """
    policy = AddressPolicy(allow_private=options.allow_private, allow_loopback=options.allow_loopback)
    client = build_client(
        policy, connect_timeout_s=options.connect_timeout_s, read_timeout_s=options.read_timeout_s
    )
    try:
        with anyio.fail_after(options.timeout_s):
            async with client:
                yield Web(client, options, headers, secrets)
    except TimeoutError:
        raise DeadlineExceeded(
            f"{label} was not fetched within {options.timeout_s:g} s; raise SKEIN_INGEST_FETCH_TIMEOUT_S",
        ) from None


def refused(response: httpx.Response, label: str) -> InvalidSource:
    """The error for a response for which a retry is pointless."""
    status = response.status_code
    hint = "send credentials in 'headers'" if status in (401, 403) else "check the URL"
    return InvalidSource(f"{label} answered {status} {response.reason_phrase}; {hint}", status=status)


def _joined(base: httpx.URL, location: str, label: str) -> httpx.URL:
    try:
        target = base.join(location)
    except httpx.InvalidURL:
        raise InvalidSource(f"{label} redirects to something that is not a URL") from None
    if target.scheme not in ("http", "https"):
        raise SourceNotAllowed(f"{label} redirects to '{target.scheme}:', which is not allowed")
    return target


def _bare(given: str) -> str:
    """The beginning of a text that is not a URL, without a possible password."""
    return re.sub(r"//[^/@]*@", "//", given.partition("?")[0])[:200]


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def _wait_before_retry(error: Exception) -> bool | float:
    if not isinstance(error, Interrupted):
        return False
    return True if error.wait_s is None else error.wait_s


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
