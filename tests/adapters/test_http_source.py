"""Fetching over HTTP from servers that stall, lie and break off."""

import asyncio
import gzip
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import anyio
import pytest

from flight_core.adapters.sources.http import HttpSource
from flight_core.adapters.sources.web import HttpSourceOptions
from flight_core.domain.errors import (
    DeadlineExceeded,
    InvalidSource,
    LimitExceeded,
    OutOfDisk,
    SourceUnavailable,
)
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.job import Phase, Progress
from tests.adapters.http_fetching import BODY, breaking_off
from tests.adapters.http_server import always, answer, head, in_turn, serving


@pytest.mark.anyio
async def test_a_file_arrives_whole_and_progress_is_told(fetch):
    async with serving(always(answer(BODY))) as server:
        assert await fetch(server.url + "/data.bin") == BODY
    assert {progress.phase for progress in fetch.progress} == {Phase.FETCHING}
    assert {progress.total_bytes for progress in fetch.progress} == {len(BODY)}
    done = [progress.done_bytes for progress in fetch.progress]
    assert done == sorted(done)
    assert done[-1] == len(BODY)


@pytest.mark.anyio
async def test_a_chunked_answer_has_no_total(fetch):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (b"hello ", b"world"))
    content = head(Transfer_Encoding="chunked") + chunks + b"0\r\n\r\n"
    async with serving(always(content)) as server:
        assert await fetch(server.url) == b"hello world"
    assert fetch.progress[-1] == Progress(Phase.FETCHING, 11, None)


@pytest.mark.anyio
async def test_bytes_are_asked_for_and_kept_as_they_are(fetch):
    """What a server compresses on its own is left to the parser, which bounds it."""
    packed = gzip.compress(b"a,b\n1,2\n")
    async with serving(always(answer(packed, Content_Encoding="gzip"))) as server:
        assert await fetch(server.url) == packed
        assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.anyio
@pytest.mark.parametrize("status", ["503 Service Unavailable", "500 Oops", "429 Too Many Requests"])
async def test_a_server_that_recovers_is_asked_again(fetch, status):
    async with serving(in_turn(answer(b"", status), answer(b"", status), answer(BODY))) as server:
        assert await fetch(server.url) == BODY
        assert len(server.requests) == 3


@pytest.mark.anyio
async def test_a_server_that_does_not_recover_is_unavailable(fetch):
    async with serving(always(answer(b"", "503 Service Unavailable"))) as server:
        with pytest.raises(SourceUnavailable, match="answered 503 Service Unavailable, 3 times"):
            await fetch(server.url + "/x?token=secret")
        assert len(server.requests) == 3


@pytest.mark.anyio
async def test_retry_after_is_obeyed(fetch):
    """The wait that the server asks for is longer than the test, so only the deadline ends it."""
    busy = answer(b"", "429 Too Many Requests", Retry_After=30)
    async with serving(in_turn(busy, answer(BODY))) as server:
        with anyio.fail_after(20), pytest.raises(DeadlineExceeded):
            await fetch(server.url, timeout_s=1.0)
        assert len(server.requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "wait", ["86400", format_datetime(datetime.now(UTC) + timedelta(days=1))], ids=["seconds", "date"]
)
async def test_nobody_waits_for_hours(fetch, wait):
    async with serving(always(answer(b"", "503 Busy", Retry_After=wait))) as server:
        with pytest.raises(SourceUnavailable, match="wants to be left alone"):
            await fetch(server.url)
        assert len(server.requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "hint"),
    [("404 Not Found", "check the URL"), ("401 Unauthorized", "credentials"), ("204 No Content", "check")],
)
async def test_an_answer_that_will_not_change_is_final(fetch, status, hint):
    async with serving(always(answer(b"", status))) as server:
        with pytest.raises(InvalidSource, match=f"answered {status}.*{hint}"):
            await fetch(server.url)
        assert len(server.requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("at", [2 << 20, 100_000])
async def test_a_transfer_continues_where_it_broke_off(fetch, at):
    handle, served = breaking_off(at)
    async with serving(handle) as server:
        assert await fetch(server.url) == BODY
    assert served[0] == 0
    assert served[1] > at // 2
    assert fetch.progress[-1] == Progress(Phase.FETCHING, len(BODY), len(BODY))


@pytest.mark.anyio
async def test_a_transfer_starts_again_where_it_cannot_continue(fetch):
    handle, served = breaking_off(2 << 20, ranges=False)
    async with serving(handle) as server:
        assert await fetch(server.url) == BODY
    assert served == [0, 0]


@pytest.mark.anyio
async def test_a_file_that_changes_meanwhile_is_never_mixed(fetch):
    new = BODY[::-1]
    old_part = answer(BODY, ETag='"old"')[: 2 << 20]
    async with serving(in_turn(old_part, answer(new, ETag='"new"'))) as server:
        assert await fetch(server.url) == new
        assert server.requests[1].headers["if-range"] == '"old"'


@pytest.mark.anyio
async def test_a_rest_that_does_not_fit_is_not_taken(fetch):
    wrong = answer(BODY, "206 Partial Content", Content_Range=f"bytes 5-{len(BODY) + 4}/{len(BODY) + 5}")
    first = answer(BODY, ETag='"v1"')[: 2 << 20]
    async with serving(in_turn(first, wrong, answer(BODY))) as server:
        assert await fetch(server.url) == BODY
        assert "range" not in server.requests[2].headers


@pytest.mark.anyio
async def test_a_length_that_is_a_lie_is_found_out(fetch):
    async with serving(always(head(Content_Length=len(BODY) + 1) + BODY)) as server:
        with pytest.raises(SourceUnavailable, match="the connection broke"):
            await fetch(server.url)


@pytest.mark.anyio
async def test_a_server_that_stalls_is_given_up(fetch):
    async def stall(request, writer):
        writer.write(answer(BODY)[: 1 << 20])
        await asyncio.Event().wait()

    async with serving(stall) as server:
        with anyio.fail_after(20), pytest.raises(SourceUnavailable, match="it stopped sending"):
            await fetch(server.url, read_timeout_s=0.1)


@pytest.mark.anyio
async def test_a_drip_feed_ends_at_the_deadline(fetch):
    """Every read is in time, the whole never is."""

    async def drip(request, writer):
        writer.write(head(Content_Length=1 << 30))
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(drip) as server:
        with anyio.fail_after(20), pytest.raises(DeadlineExceeded, match=r"not fetched within 0\.5 s"):
            await fetch(server.url, timeout_s=0.5, read_timeout_s=5.0)


@pytest.mark.anyio
async def test_nobody_there_is_unavailable(fetch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(SourceUnavailable, match=f"] {place}: it cannot be reached"):
            await fetch(f"http://ann:s3cret@{place}?key=s3cret")


@pytest.mark.anyio
@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
async def test_too_much_is_refused(fetch, told):
    content = answer(BODY) if told else head() + BODY
    async with serving(always(content)) as server:
        with pytest.raises(LimitExceeded, match="SKEIN_INGEST_MAX_BYTES"):
            await fetch(server.url, max_bytes=1 << 20)
    assert sum(file.stat().st_size for file in fetch.folder.iterdir()) <= 1 << 20


@pytest.mark.anyio
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
async def test_a_full_disk_is_told(fetch):
    (fetch.folder / "download-0").symlink_to("/dev/full")
    async with serving(always(answer(BODY))) as server:
        with pytest.raises(OutOfDisk, match="the disk is full"):
            await fetch(server.url)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"url": 5},
        {"url": "not a url"},
        {"url": "file:///etc/passwd"},
        {"url": "ftp://example.org/x"},
        {"url": "https://"},
        {"url": "http://0177.0.0.1/"},
        {"url": "http://exa mple.org:port/"},
        {"url": "https://example.org", "headers": {"Host": "other"}},
        {"url": "https://example.org", "headers": {"X": "a\r\nY: b"}},
        {"url": "https://example.org", "headers": {"X Y": "b"}},
        {"url": "https://example.org", "headers": ["x"]},
        {"url": "https://example.org", "headers": {"X": {"secret": 5}}},
        {"url": "https://example.org", "headers": {"X": {"secret": "a", "colour": "red"}}},
        {"url": "https://example.org", "checksum": "sha256:12"},
        {"url": "https://example.org", "checksum": "crc32:12345678"},
        {"url": "https://example.org", "checksum": ["md5:" + "0" * 32] * 2},
        {"url": []},
        {"url": ["https://example.org", "ftp://example.org"]},
        {"url": "https://example.org", "path": "/etc/passwd"},
    ],
    ids=str,
)
def test_a_request_that_cannot_work_is_refused_at_once(fields):
    with pytest.raises(InvalidSource):
        HttpSource(HttpSourceOptions()).check(SourceSpec("http", fields))


@pytest.mark.anyio
async def test_the_label_holds_no_secrets(fetch):
    async with serving(always(answer(BODY))) as server:
        url = server.url.replace("http://", "http://user:hunter2@") + "/data/file.csv?token=hunter3"
        source = HttpSource(HttpSourceOptions(allow_loopback=True))
        (file,) = (await source.fetch(SourceSpec("http", {"url": url}), fetch.folder, fetch.report)).files
        assert file.label == f"{server.url.removeprefix('http://')}/data/file.csv"
        assert "authorization" in server.requests[0].headers


@pytest.mark.anyio
async def test_all_urls_share_one_limit(fetch):
    async with serving(always(answer(BODY))) as server:
        source = HttpSource(HttpSourceOptions(allow_loopback=True, max_bytes=len(BODY) + 10))
        spec = SourceSpec("http", {"url": [server.url, server.url]})
        with pytest.raises(LimitExceeded):
            await source.fetch(spec, fetch.folder, fetch.report)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [{"ETag": '"v2"'}, {"Content_Range": f"bytes {2 << 20}-{len(BODY)}/{len(BODY) + 1}"}],
    ids=["another tag", "another length"],
)
async def test_a_rest_of_another_version_is_not_taken(fetch, headers):
    """From a server that ignores If-Range."""

    async def handle(request, writer):
        if len(server.requests) == 2:
            start = request.start
            told = {
                "ETag": '"v1"',
                "Content_Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}",
                **{name: value.replace(str(2 << 20), str(start)) for name, value in headers.items()},
            }
            writer.write(answer(BODY[start:], "206 Partial Content", **told))
        else:
            content = answer(BODY, ETag='"v1"')
            writer.write(content[: 2 << 20] if len(server.requests) == 1 else content)

    async with serving(handle) as server:
        assert await fetch(server.url) == BODY
        assert len(server.requests) == 3
        assert "range" not in server.requests[2].headers


@pytest.mark.anyio
async def test_a_date_of_the_same_second_does_not_vouch_for_the_beginning(fetch):
    moment = format_datetime(datetime(2026, 1, 1, tzinfo=UTC), usegmt=True)
    first = answer(BODY, Last_Modified=moment, Date=moment)[: 2 << 20]
    async with serving(in_turn(first, answer(BODY))) as server:
        assert await fetch(server.url) == BODY
        assert "range" not in server.requests[1].headers
