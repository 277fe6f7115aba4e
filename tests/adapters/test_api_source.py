"""APIs that send their records page by page, in every style, and with every bad manner."""

import json
from contextlib import asynccontextmanager, closing
from dataclasses import asdict
from urllib.parse import urlencode

import pytest

from flight_core.adapters.secrets.named import NamedSecrets
from flight_core.adapters.sources import api
from flight_core.adapters.sources.api import ApiSource
from flight_core.adapters.sources.web import HttpSourceOptions
from flight_core.domain.errors import (
    InvalidSource,
    LimitExceeded,
    SecretNotFound,
    SourceNotAllowed,
    SourceUnavailable,
)
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.source_state import SourceState
from tests.adapters.http_server import always, answer, head, in_turn, serving
from tests.adapters.ingestion_stack import IngestionStack

RECORDS = [{"n": number, "t": f"ä{number}"} for number in range(1, 24)]
PAGE = 10
PAGE_STYLE = {"style": "page", "size": PAGE, "size_param": "per_page"}


def sent(value: object, status: str = "200 OK", **headers: object) -> bytes:
    return answer(json.dumps(value).encode(), status, Content_Type="application/json", **headers)


class Client:
    """Fetches into a folder; `state` goes from one fetch to the next."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.state: SourceState | None = None
        self.options = {"allow_loopback": True, "retry_wait_s": 0.01, "attempts": 3}
        self.secrets = NamedSecrets({"my_token": "hunter2"})
        self.now = 0.0
        self.waits: list[float] = []
        self.progress = []

    async def __call__(self, url: str, **fields) -> list[dict] | None:
        """The records; None if there is nothing new."""
        source = ApiSource(HttpSourceOptions(**self.options), self.secrets, lambda: self.now, self._sleep)
        spec = SourceSpec("api", {"url": url, **fields})
        source.check(spec)
        (self.folder / "records.ndjson").unlink(missing_ok=True)
        fetched = await source.fetch(spec, self.folder, self._report, state=self.state)
        if fetched.unchanged:
            return None
        self.state = SourceState(**json.loads(json.dumps(asdict(fetched.state))))
        (file,) = fetched.files
        assert file.size_bytes == file.path.stat().st_size
        return [json.loads(line) for line in file.path.read_text().splitlines()]

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def _report(self, progress) -> None:
        self.progress.append(progress)


@pytest.fixture
def fetch(tmp_path):
    return Client(tmp_path)


@asynccontextmanager
async def paged(respond):
    """`respond` turns a request into what is sent."""

    async def handle(request, writer):
        writer.write(respond(request))

    async with serving(handle) as server:
        yield server


def by_page(request, records=RECORDS, cap=PAGE):
    page, size = int(request.query.get("page", 1)), min(cap, int(request.query.get("per_page", cap)))
    return sent({"data": {"items": records[(page - 1) * size : page * size]}})


def by_offset(request):
    start, size = int(request.query["skip"]), int(request.query["take"])
    return sent(RECORDS[start : start + size])


def by_cursor(request):
    start = int(request.query.get("cursor", "c0")[1:])
    following = f"c{start + PAGE}" if start + PAGE < len(RECORDS) else None
    return sent({"rows": RECORDS[start : start + PAGE], "meta": {"next": following}})


def by_last_id(request):
    after = int(request.query.get("starting_after", 0))
    rest = [record for record in RECORDS if record["n"] > after]
    return sent({"rows": rest[:PAGE], "has_more": len(rest) > PAGE})


def by_cursor_in_body(request):
    asked = json.loads(request.body)
    assert (request.method, asked["filter"]) == ("POST", "all")
    start = asked.get("after", 0)
    following = start + PAGE if start + PAGE < len(RECORDS) else ""
    return sent({"rows": RECORDS[start : start + PAGE], "next": following})


def by_link(request):
    start = int(request.query.get("start", 0))
    query = urlencode({"start": start + PAGE, "q": request.query["q"]})
    more = {"Link": f'</items?{query}>; rel="next", </items>; rel="first"'}
    return sent(RECORDS[start : start + PAGE], **(more if start + PAGE < len(RECORDS) else {}))


def by_url(request):
    start = int(request.query.get("start", 0))
    following = f"?start={start + PAGE}" if start + PAGE < len(RECORDS) else None
    return sent({"rows": RECORDS[start : start + PAGE], "links": {"next": following}})


STYLES = {
    "page": (by_page, {"record_path": "data.items", "pagination": PAGE_STYLE}, 4),
    "offset": (
        by_offset,
        {"pagination": {"style": "offset", "param": "skip", "size": PAGE, "size_param": "take"}},
        4,
    ),
    "cursor": (by_cursor, {"record_path": "rows", "pagination": {"style": "cursor", "path": "meta.next"}}, 3),
    "last id": (
        by_last_id,
        {
            "record_path": "rows",
            "pagination": {
                "style": "cursor",
                "path": "rows.-1.n",
                "param": "starting_after",
                "more": "has_more",
            },
        },
        3,
    ),
    "body": (
        by_cursor_in_body,
        {
            "method": "POST",
            "body": {"filter": "all"},
            "record_path": "rows",
            "pagination": {"style": "cursor", "path": "next", "param": "after", "in": "body"},
        },
        3,
    ),
    "link": (by_link, {"params": {"q": "a b&c"}, "pagination": {"style": "link"}}, 3),
    "next url": (
        by_url,
        {"record_path": "rows", "pagination": {"style": "next_url", "path": "links.next"}},
        3,
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("style", STYLES)
async def test_all_pages_come_in_order(fetch, style):
    respond, fields, requests = STYLES[style]
    async with paged(respond) as server:
        assert await fetch(server.url + "/items", **fields) == RECORDS
        assert len(server.requests) == requests
    last = fetch.progress[-1]
    assert (last.rows, last.total_bytes) == (len(RECORDS), last.done_bytes)


@pytest.mark.anyio
@pytest.mark.parametrize("style", STYLES)
async def test_a_page_that_fails_is_asked_for_again_and_the_others_are_kept(fetch, style):
    respond, fields, requests = STYLES[style]
    asked = []

    def flaky(request):
        asked.append(request)
        if len(asked) == 2:
            return sent({}, "503 Service Unavailable")
        return respond(request)[:-3] if len(asked) == 3 else respond(request)

    async with paged(flaky) as server:
        assert await fetch(server.url + "/items", **fields) == RECORDS
        assert len(server.requests) == requests + 2
        assert server.requests[1].path == server.requests[2].path == server.requests[3].path


@pytest.mark.anyio
async def test_a_server_that_caps_the_size_of_pages_loses_nothing(fetch):
    async with paged(lambda request: by_page(request, cap=7)) as server:
        fields = {"record_path": "data.items", "pagination": {**PAGE_STYLE, "size": 100}}
        assert await fetch(server.url, **fields) == RECORDS


@pytest.mark.anyio
async def test_a_last_page_may_be_missing(fetch):
    def respond(request):
        return by_page(request) if int(request.query["page"]) < 4 else sent({"detail": "no"}, "404 Not Found")

    async with paged(respond) as server:
        assert await fetch(server.url, record_path="data.items", pagination=PAGE_STYLE) == RECORDS
        with pytest.raises(InvalidSource, match="answered 404"):
            await fetch(server.url, pagination={**PAGE_STYLE, "start": 4})


@pytest.mark.anyio
async def test_one_request_is_enough_without_pagination(fetch):
    async with serving(
        in_turn(sent(RECORDS), sent({"a": 1}), sent({"a": [None, {"b": [{"c": 1}]}]}))
    ) as server:
        assert await fetch(server.url) == RECORDS
        assert await fetch(server.url) == [{"a": 1}]
        assert await fetch(server.url, record_path="a.1.b") == [{"c": 1}]


# -- bad manners ------------------------------------------------------------------------------


CURSOR = {"record_path": "rows", "pagination": {"style": "cursor", "path": "next"}}
NEXT_URL = {"record_path": "rows", "pagination": {"style": "next_url", "path": "next"}}
BAD_MANNERS = {
    "deaf": (sent(RECORDS), {"pagination": PAGE_STYLE}, r"page 2 .* is the same as the one before.*'page'"),
    "same cursor": (sent({"rows": RECORDS, "next": "x"}), CURSOR, r"page 2 .* leads back"),
    "same link": (sent(RECORDS, Link='</>; rel="next"'), {"pagination": {"style": "link"}}, "leads back"),
    "no path": (sent({"data": []}), {"record_path": "rows"}, "nothing at 'rows'; it has: data"),
    "no array": (sent({"data": RECORDS}), {"pagination": PAGE_STYLE}, r"name the array.*'record_path': data"),
    "scalars": (sent([1, 2]), {}, "not objects"),
    "odd cursor": (sent({"rows": [], "next": {"a": 1}}), CURSOR, "neither text nor number"),
    "long cursor": (sent({"rows": RECORDS, "next": "x" * 70_000}), CURSOR, "cannot be asked with these"),
    "odd url": (sent({"rows": [], "next": "file:///etc/passwd"}), NEXT_URL, "not an http or https URL"),
    "html": (answer(b"<html>"), {}, "not JSON"),
    "deep": (answer(b"[" * 100_000), {}, "not JSON"),
    "401": (sent({}, "401 Unauthorized"), {}, "credentials"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("manners", BAD_MANNERS)
async def test_an_api_that_does_not_fit_its_description_is_a_failure_that_says_so(fetch, manners):
    content, fields, complaint = BAD_MANNERS[manners]
    async with serving(always(content)) as server:
        with pytest.raises(InvalidSource, match=complaint):
            await fetch(server.url, **fields)


@pytest.mark.anyio
async def test_an_answer_that_was_cut_off_without_anybody_telling_is_asked_for_again(fetch):
    whole = json.dumps(RECORDS).encode()
    async with serving(in_turn(head() + whole[:50], head() + whole)) as server:
        assert await fetch(server.url) == RECORDS
    async with serving(always(head() + whole[:50])) as server:
        with pytest.raises(SourceUnavailable, match=r"not JSON.*3 times"):
            await fetch(server.url)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("bound", "complaint"), [({"max_pages": 2}, "more than 2 pages"), ({"max_records": 15}, "15 records")]
)
async def test_too_much_is_a_failure(fetch, bound, complaint):
    async with paged(by_cursor) as server:
        fields = STYLES["cursor"][1]
        with pytest.raises(LimitExceeded, match=complaint):
            await fetch(server.url, **fields, **bound)
        fetch.options["max_bytes"] = 300
        with pytest.raises(LimitExceeded, match="SKEIN_INGEST_MAX_BYTES"):
            await fetch(server.url, **fields)


@pytest.mark.anyio
async def test_a_huge_page_is_refused(fetch, monkeypatch):
    monkeypatch.setattr(api, "MAX_PAGE_BYTES", 1000)
    async with serving(always(sent(["x" * 2000]))) as server:
        with pytest.raises(LimitExceeded, match="smaller ones"):
            await fetch(server.url)


@pytest.mark.anyio
async def test_the_rate_is_kept_and_so_is_retry_after(fetch):
    async with paged(by_cursor) as server:
        assert await fetch(server.url, **STYLES["cursor"][1], requests_per_s=4) == RECORDS
    assert fetch.waits == [0.25, 0.25]
    busy = sent({}, "429 Too Many Requests", Retry_After=100_000)
    async with serving(always(busy)) as server:
        with pytest.raises(SourceUnavailable, match="left alone for 100000 s"):
            await fetch(server.url)


# -- credentials ------------------------------------------------------------------------------

TOKEN = {"secret": "my-token"}


@pytest.mark.anyio
async def test_credentials_go_with_every_page_of_the_origin_and_nowhere_else(fetch):
    async with serving(always(sent([{"n": 3}]))) as elsewhere:
        leads = {"Link": f'<{elsewhere.url}/x>; rel="next"'}
        own = {"Link": '</2>; rel="next"'}
        async with serving(in_turn(sent([{"n": 1}], **own), sent([{"n": 2}], **leads))) as server:
            found = await fetch(
                server.url,
                headers={"X-Token": TOKEN},
                params={"key": {**TOKEN, "prefix": "k-"}},
                pagination={"style": "link"},
            )
            assert [request.headers["x-token"] for request in server.requests] == ["hunter2"] * 2
            assert server.requests[0].query == {"key": "k-hunter2"}
        (request,) = elsewhere.requests
        assert "x-token" not in request.headers
        assert request.query == {}
    assert [record["n"] for record in found] == [1, 2, 3]


@pytest.mark.anyio
async def test_a_next_page_at_a_private_address_is_refused(fetch):
    link = {"Link": '<http://169.254.169.254/latest>; rel="next"'}
    async with serving(always(sent([{"n": 1}], **link))) as server:
        with pytest.raises(SourceNotAllowed, match="SKEIN_INGEST_ALLOW_PRIVATE"):
            await fetch(server.url, pagination={"style": "link"})


@pytest.mark.anyio
async def test_nothing_is_posted_to_another_server(fetch):
    async with serving(always(sent([]))) as elsewhere:
        link = {"Link": f'<{elsewhere.url}>; rel="next"'}
        async with serving(always(sent([{"n": 1}], **link))) as server:
            with pytest.raises(SourceNotAllowed, match="nothing is posted"):
                await fetch(server.url, method="POST", body={"key": 1}, pagination={"style": "link"})
        async with serving(always(answer(b"", "307 Moved", Location=elsewhere.url))) as server:
            with pytest.raises(SourceNotAllowed, match="redirects a POST"):
                await fetch(server.url, method="POST", body={"key": 1})
        assert elsewhere.requests == []


@pytest.mark.anyio
async def test_a_missing_secret_is_named(fetch):
    with pytest.raises(SecretNotFound, match="'other'"):
        await fetch("https://example.org", params={"key": {"secret": "other"}})


# -- what is new ------------------------------------------------------------------------------


class Orders:
    """Answers with what is not older than `since`; `strict` leaves out its own moment, `deaf` ignores it."""

    def __init__(self, *, strict=False, deaf=False) -> None:
        self.records: list[dict] = []
        self.strict, self.deaf = strict, deaf
        self.asked: list[str | None] = []

    def add(self, number: int, at: object) -> None:
        self.records.append({"id": number, "changed": {"at": at}})

    def __call__(self, request) -> bytes:
        since = request.query.get("since")
        self.asked.append(since)
        return sent([record for record in self.records if self._fits(record, since)])

    def _fits(self, record, since) -> bool:
        if since is None or self.deaf:
            return True
        at = record["changed"]["at"]
        return at > since or (at == since and not self.strict)


NEW = {"incremental": {"field": "changed.at", "param": "since"}}


@pytest.mark.anyio
@pytest.mark.parametrize("server_style", [{}, {"strict": True}, {"deaf": True}], ids=str)
async def test_no_record_comes_twice_whatever_the_server_makes_of_since(fetch, server_style):
    orders = Orders(**server_style)
    orders.add(1, "2026-01-01T00:00:00Z")
    orders.add(2, "2026-01-02T00:00:00Z")
    async with paged(orders) as server:
        assert [r["id"] for r in await fetch(server.url, **NEW)] == [1, 2]
        assert await fetch(server.url, **NEW) is None
        orders.add(3, "2026-01-03T00:00:00Z")
        assert [r["id"] for r in await fetch(server.url, **NEW)] == [3]
        assert await fetch(server.url, **NEW) is None
    assert orders.asked == [None, *["2026-01-02T00:00:00Z"] * 2, "2026-01-03T00:00:00Z"]


@pytest.mark.anyio
async def test_a_record_of_the_same_moment_that_comes_later_is_not_missed(fetch):
    orders = Orders()
    orders.add(1, "2026-01-02")
    async with paged(orders) as server:
        await fetch(server.url, **NEW)
        orders.add(2, "2026-01-02")
        assert [r["id"] for r in await fetch(server.url, **NEW)] == [2]
        assert await fetch(server.url, **NEW) is None


@pytest.mark.anyio
async def test_times_compare_as_times_and_numbers_as_numbers(fetch):
    for values, largest in (
        (["2026-01-01T23:00:00-05:00", "2026-01-02T03:00:00Z"], "2026-01-01T23:00:00-05:00"),
        (["9", "10"], "10"),
        ([9, 10.5], 10.5),
    ):
        orders = Orders(deaf=True)
        for number, value in enumerate(values):
            orders.add(number, value)
        fetch.state = None
        async with paged(orders) as server:
            await fetch(server.url, **NEW)
        assert fetch.state.cursor["since"] == largest


@pytest.mark.anyio
async def test_the_first_time_begins_where_the_user_says(fetch):
    orders = Orders()
    orders.add(1, "2026-01-01")
    orders.add(2, "2026-02-01")
    async with paged(orders) as server:
        fields = {"incremental": {**NEW["incremental"], "start": "2026-01-15"}}
        assert [r["id"] for r in await fetch(server.url, **fields)] == [2]
    assert orders.asked == ["2026-01-15"]


@pytest.mark.anyio
@pytest.mark.parametrize("value", [None, True, "yesterday"])
async def test_a_record_that_cannot_be_compared_is_a_failure(fetch, value):
    orders = Orders()
    orders.add(1, "2026-01-01")
    orders.add(2, value)
    async with paged(orders) as server:
        with pytest.raises(InvalidSource, match=r"'changed\.at'.*cannot be compared"):
            await fetch(server.url, **NEW)


@pytest.mark.anyio
async def test_equal_records_are_nothing_new(fetch):
    async with serving(in_turn(sent(RECORDS), sent(RECORDS), sent(RECORDS[1:]))) as server:
        assert await fetch(server.url) == RECORDS
        assert await fetch(server.url) is None
        assert await fetch(server.url) == RECORDS[1:]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"url": "ftp://example.org"},
        {"url": "https://e.org", "method": "PUT"},
        {"url": "https://e.org", "body": {}},
        {"url": "https://e.org", "method": "POST", "body": [1]},
        {"url": "https://e.org", "params": ["a"]},
        {"url": "https://e.org", "params": {"a": None}},
        {"url": "https://e.org", "pagination": {"style": "guess"}},
        {"url": "https://e.org", "pagination": {"style": "link", "param": "x"}},
        {"url": "https://e.org", "pagination": {"style": "cursor"}},
        {"url": "https://e.org", "pagination": {"style": "page", "size": 5}},
        {"url": "https://e.org", "pagination": {"style": "page", "start": -1}},
        {"url": "https://e.org", "pagination": {"style": "offset", "in": "body"}},
        {"url": "https://e.org", "incremental": {"field": "a"}},
        {"url": "https://e.org", "incremental": {"field": "a", "param": "b", "in": "header"}},
        {"url": "https://e.org", "requests_per_s": 0},
        {"url": "https://e.org", "max_pages": 0},
        {"url": "https://e.org", "record_path": 5},
        {"url": "https://e.org", "colour": "red"},
    ],
    ids=str,
)
def test_a_description_that_cannot_work_is_refused_at_once(fields):
    with pytest.raises(InvalidSource):
        ApiSource(HttpSourceOptions()).check(SourceSpec("api", fields))


@pytest.mark.anyio
async def test_a_single_record_is_a_row_whatever_lists_it_holds(tmp_path):
    orders = [{"id": 1, "items": [{"sku": "a"}, {"sku": "b"}]}]
    stack = IngestionStack(tmp_path)
    stack.sources = {"http": ApiSource(HttpSourceOptions(allow_loopback=True))}
    with closing(stack):
        async with paged(lambda _: sent(orders)) as server, stack.working():
            for id in (1, 2):
                orders[0]["id"] = id
                incremental = {"field": "id", "param": "after"}
                await stack.until(stack.start("orders", url=server.url, incremental=incremental))
        assert stack.table("orders").to_pylist() == [
            {"id": id, "items": [{"sku": "a"}, {"sku": "b"}]} for id in (1, 2)
        ]
