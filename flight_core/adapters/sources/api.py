"""Records from a paged JSON API, written to disk as NDJSON."""

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import httpx

from flight_core.adapters.sources.api_call import ApiCall, in_query, parsed_call
from flight_core.adapters.sources.pages import (
    Json,
    PageAnswer,
    PageRequest,
    dig,
)
from flight_core.adapters.sources.watermark import Watermark
from flight_core.adapters.sources.web import (
    HttpSourceOptions,
    Interrupted,
    NoSecrets,
    Web,
    label_of,
    open_web,
    refused,
    same_origin,
    with_secrets,
)
from flight_core.application.ports.secrets import Secrets
from flight_core.application.ports.sources import Fetched, FetchedFile, Report
from flight_core.domain.errors import InvalidSource, LimitExceeded, SourceNotAllowed
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.job import Phase, Progress
from flight_core.domain.source_state import SourceState
from flight_core.domain.system_errors import system_errors

MAX_PAGE_BYTES = 32 << 20

_FORMAT = "ndjson"

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ApiSource:
    """See `Source`. Fetches all records as NDJSON; with `incremental` only new ones.

    A page that fails is requested again; earlier ones are kept. `clock` (monotonic seconds) and `sleep` are
    for the rate limit.
    """

    options: HttpSourceOptions
    secrets: Secrets = field(default_factory=NoSecrets)
    clock: Callable[[], float] = time.monotonic
    sleep: Sleep = anyio.sleep

    def check(self, spec: SourceSpec) -> None:
        parsed_call(spec, self.secrets)

    async def fetch(
        self, spec: SourceSpec, folder: Path, report: Report, *, state: SourceState | None = None
    ) -> Fetched:
        call = parsed_call(spec, self.secrets)
        watermark = Watermark(call.incremental, state)
        async with open_web(self.options, call.headers, self.secrets, label_of(call.url)) as web:
            run = _Run(call, web, folder / "records.ndjson", watermark, report, self)
            await run.to_the_end()
        sha256 = run.digest.hexdigest()
        known = state.seen.get("sha256") if state is not None else None
        if (call.incremental is not None and not run.records) or sha256 == known:
            return Fetched(())
        file = FetchedFile(run.path, run.label, run.size_bytes, temporary=True)
        if call.incremental is not None:
            return Fetched([file], SourceState(cursor=watermark.cursor), _FORMAT)
        return Fetched([file], SourceState(seen={"sha256": sha256}), _FORMAT)


class _Run:
    """Fetches all pages, one after another, into one file."""

    def __init__(
        self, call: ApiCall, web: Web, path: Path, watermark: Watermark, report: Report, source: ApiSource
    ) -> None:
        self.path = path
        self.label = label_of(call.url)
        self.records = 0  # written
        self.size_bytes = 0
        self.digest = hashlib.sha256()
        self._call = call
        self._web = web
        self._watermark = watermark
        self._report = report
        self._source = source
        self._taken = 0  # received, new or not
        self._asked: set[bytes] = set()
        self._previous = b""  # the digest of the last page
        self._next_at = float("-inf")

    async def to_the_end(self) -> None:
        """
        Raises:
            LimitExceeded, InvalidSource, SourceNotAllowed, SourceUnavailable, OutOfDisk.
        """
        self.path.touch()
        request: PageRequest | None = self._watermark.asked(self._call.pagination.first())
        number = 0
        while request is not None:
            number += 1
            self._check_request(request, number)
            page: list[PageAnswer] = []
            await self._web.persist(partial(self._turn, request, number, page), self.label)
            if not page:
                return
            request = self._call.pagination.after(request, page[0], self._taken)
            await self._report(Progress(Phase.FETCHING, self.size_bytes, None, self.records))
        await self._report(Progress(Phase.FETCHING, self.size_bytes, self.size_bytes, self.records))

    def _check_request(self, request: PageRequest, number: int) -> None:
        if number > self._call.max_pages:
            raise LimitExceeded(
                f"{self.label} has more than {self._call.max_pages} pages; raise 'max_pages', or check"
                " 'pagination'"
            )
        mark = hashlib.sha256(repr((str(request.url), request.query, request.body)).encode()).digest()
        if mark in self._asked:
            raise InvalidSource(
                f"page {number - 1} of {self.label} leads back to a page that has been fetched; check"
                " 'pagination'"
            )
        self._asked.add(mark)

    async def _turn(self, request: PageRequest, number: int, page: list[PageAnswer]) -> None:
        """Add the page to the file, and to the list `page`, unless the server says that there is none."""
        await self._wait()
        url, body = self._target(request)
        async with self._web.ask(url, home=self._call.url, method=self._call.method, body=body) as response:
            missing = response.status_code == httpx.codes.NOT_FOUND
            if missing and number > 1 and self._call.pagination.numbered:
                return  # with some servers, the response after the last page
            if response.status_code != httpx.codes.OK:
                raise refused(response, self.label)
            content = await self._content(response)
        taken = partial(self._take, content, number, response)
        page.append(await anyio.to_thread.run_sync(taken))

    def _target(self, request: PageRequest) -> tuple[httpx.URL, Json]:
        call = self._call
        if request.url is not None:
            if call.method == "POST" and not same_origin(request.url, call.url):
                raise SourceNotAllowed(f"{self.label} leads to another server, to which nothing is posted")
            return request.url, dict(call.body)
        params = with_secrets(call.params, self._source.secrets, call.url.host)
        query = {name: in_query(value) for name, value in request.query.items()}
        try:
            return call.url.copy_merge_params({**params, **query}), {**call.body, **request.body}
        except httpx.InvalidURL as error:  # the server chooses cursors
            raise InvalidSource(f"{self.label} cannot be asked with these parameters: {error}") from None

    async def _wait(self) -> None:
        rate = self._call.requests_per_s
        if rate is None:
            return
        now = self._source.clock()
        if now < self._next_at:
            await self._source.sleep(self._next_at - now)
        self._next_at = max(now, self._next_at) + 1 / rate

    async def _content(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_PAGE_BYTES:
                raise LimitExceeded(
                    f"a page of {self.label} is larger than {MAX_PAGE_BYTES} bytes; ask for smaller ones with"
                    " 'size' of 'pagination'"
                )
        return bytes(content)

    def _take(self, content: bytes, number: int, response: httpx.Response) -> PageAnswer:
        """Process a page. Runs in a worker thread, since a page may have many records."""
        body = self._decoded(content, response)
        records = self._records_of(body, number)
        same = hashlib.sha256(content).digest()
        if records and self._call.pagination.numbered and same == self._previous:
            raise InvalidSource(
                f"page {number} of {self.label} is the same as the one before; does the server know the"
                f" parameter '{self._call.pagination.param}'?"
            )
        self._previous = same
        self._taken += len(records)
        if self._call.max_records is not None and self._taken > self._call.max_records:
            raise LimitExceeded(
                f"{self.label} has more than {self._call.max_records} records; raise 'max_records'"
            )
        self._write(self._watermark.new_ones(records, self.label))
        link = response.links.get("next", {}).get("url")
        return PageAnswer(number, response.url, body, len(records), link)

    def _decoded(self, content: bytes, response: httpx.Response) -> Json:
        try:
            return json.loads(content, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            reason = f"its answer is not JSON ({str(error)[:100]})"
            if "content-length" not in response.headers and "transfer-encoding" not in response.headers:
                raise Interrupted(reason) from None  # it may have been cut off
            raise InvalidSource(f"{self.label}: {reason}; check the URL") from None

    def _records_of(self, body: Json, number: int) -> list[Mapping[str, Json]]:
        path = self._call.record_path
        found = dig(body, path)
        if found is None and path and not self._is_null(body, path):
            keys = ", ".join(list(body)[:20]) if isinstance(body, Mapping) else "an array"
            raise InvalidSource(f"page {number} of {self.label} has nothing at '{path}'; it has: {keys}")
        if isinstance(found, Mapping) and not path and self._call.pagination.style != "none":
            raise InvalidSource(
                f"page {number} of {self.label} is an object; name the array in it with 'record_path':"
                f" {', '.join(list(found)[:20])}"
            )
        records = [] if found is None else found if isinstance(found, list) else [found]
        if not all(isinstance(record, Mapping) for record in records):
            raise InvalidSource(f"page {number} of {self.label} has records that are not objects at '{path}'")
        return records

    @staticmethod
    def _is_null(body: Json, path: str) -> bool:
        parent, _, key = path.rpartition(".")
        holder = dig(body, parent)
        return isinstance(holder, Mapping) and key in holder

    def _write(self, records: list[Mapping[str, Json]]) -> None:
        lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records).encode()
        limit = self._web.options.max_bytes
        if self.size_bytes + len(lines) > limit:
            raise LimitExceeded(f"{self.label} is larger than {limit} bytes; raise SKEIN_INGEST_MAX_BYTES")
        with system_errors(), self.path.open("ab") as file:
            file.write(lines)
        self.digest.update(lines)
        self.size_bytes += len(lines)
        self.records += len(records)


def _no_number(text: str) -> None:
    """NaN and infinities become null, as in JSON files."""
